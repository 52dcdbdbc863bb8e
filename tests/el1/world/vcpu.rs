// SPDX-License-Identifier: GPL-2.0-only
//! What the host keeps of a vCPU.

use super::exit::KINDS;
use super::memory;
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use corevisor::abi::run_page;

/// What a vCPU is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Not switched on.
    Off,
    /// Any CPU may run it.
    Ready,
    /// A CPU runs it, or serves its exit.
    Running,
    /// It waits for an interrupt.
    Waiting,
}

impl State {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Off,
            1 => Self::Ready,
            2 => Self::Running,
            _ => Self::Waiting,
        }
    }
}

/// No CPU.
pub const NOWHERE: usize = usize::MAX;

/// A vCPU. Who sets it to Running has its run page to himself.
pub struct Vcpu {
    state: AtomicU8,
    /// Its run page.
    page: AtomicU64,
    /// SGIs and PPIs that wait for a list register, a bit each.
    pending: AtomicU64,
    /// The CPU that runs it.
    on: AtomicUsize,
    /// The CPU that has run it last.
    last: AtomicUsize,
    /// How often it went to another CPU.
    moves: AtomicU64,
    /// Virtual count at which it must wake up.
    wake_at: AtomicU64,
    /// How often it left for each kind of exit; the last: VCPU_RUN was refused.
    exits: [AtomicU64; KINDS],
}

impl Vcpu {
    /// One that does not exist yet.
    #[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
    pub const NEW: Self = Self {
        state: AtomicU8::new(State::Off as u8),
        page: AtomicU64::new(0),
        pending: AtomicU64::new(0),
        on: AtomicUsize::new(NOWHERE),
        last: AtomicUsize::new(NOWHERE),
        moves: AtomicU64::new(0),
        wake_at: AtomicU64::new(u64::MAX),
        exits: [const { AtomicU64::new(0) }; KINDS],
    };

    /// Begins anew, switched off, with the run page at `page`, which is zeroed.
    pub fn reset(&self, page: u64) {
        (page..page + 4096).step_by(8).for_each(|at| memory::write(at, 0));
        self.page.store(page, Ordering::SeqCst);
        self.pending.store(0, Ordering::SeqCst);
        self.on.store(NOWHERE, Ordering::SeqCst);
        self.last.store(NOWHERE, Ordering::SeqCst);
        self.moves.store(0, Ordering::SeqCst);
        self.wake_at.store(u64::MAX, Ordering::SeqCst);
        self.exits.iter().for_each(|count| count.store(0, Ordering::SeqCst));
        self.set_state(State::Off);
    }

    /// What it is at.
    pub fn state(&self) -> State {
        State::from(self.state.load(Ordering::SeqCst))
    }

    /// Sets it to `state`. Only for who has it Running, or if nobody can.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Takes it from one state to another; whether it was in that state.
    pub fn change_state(&self, from: State, to: State) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Address of its run page.
    pub fn page(&self) -> u64 {
        self.page.load(Ordering::SeqCst)
    }

    /// A word of its run page, at a byte offset of `abi::run_page`.
    pub fn word(&self, offset: u64) -> u64 {
        memory::read(self.page() + offset)
    }

    /// Writes a word of its run page.
    pub fn set_word(&self, offset: u64, value: u64) {
        memory::write(self.page() + offset, value);
    }

    /// General register `n` in the run page.
    pub fn set_x(&self, n: usize, value: u64) {
        if n < 31 {
            self.set_word(run_page::X + 8 * n as u64, value);
        }
    }

    /// Where it starts: `pc`, at EL1 with all masked, with `x0`.
    pub fn set_start(&self, pc: u64, x0: u64) {
        const EL1H_MASKED: u64 = 0x3C5;
        self.set_word(run_page::PC, pc);
        self.set_word(run_page::PSTATE, EL1H_MASKED);
        self.set_x(0, x0);
    }

    /// Notes that CPU `cpu` runs it now.
    pub fn note_run(&self, cpu: usize) {
        self.on.store(cpu, Ordering::SeqCst);
        let last = self.last.swap(cpu, Ordering::SeqCst);
        if last != cpu && last != NOWHERE {
            self.moves.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Notes that it came back, with an exit of `kind`.
    pub fn note_exit(&self, kind: usize) {
        self.on.store(NOWHERE, Ordering::SeqCst);
        self.exits[kind].fetch_add(1, Ordering::SeqCst);
    }

    /// The CPU that runs it, or [`NOWHERE`].
    pub fn on(&self) -> usize {
        self.on.load(Ordering::SeqCst)
    }

    /// How often it went to another CPU.
    pub fn moves(&self) -> u64 {
        self.moves.load(Ordering::SeqCst)
    }

    /// How often it left by exits of `kind` ([`super::exit::NAMES`]).
    pub fn exits(&self, kind: usize) -> u64 {
        self.exits[kind].load(Ordering::SeqCst)
    }

    /// Interrupts that wait for a list register.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::SeqCst)
    }

    /// Adds an interrupt, which may be there already.
    pub fn set_pending(&self, intid: u32) {
        self.pending.fetch_or(1 << intid, Ordering::SeqCst);
    }

    /// Takes interrupt `intid` away.
    pub fn clear_pending(&self, intid: u32) {
        self.pending.fetch_and(!(1 << intid), Ordering::SeqCst);
    }

    /// Virtual count at which it must wake up.
    pub fn wake_at(&self) -> u64 {
        self.wake_at.load(Ordering::SeqCst)
    }

    /// Sets that.
    pub fn set_wake_at(&self, count: u64) {
        self.wake_at.store(count, Ordering::SeqCst);
    }
}
