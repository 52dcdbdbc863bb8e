// SPDX-License-Identifier: GPL-2.0-only
//! The payload's CPUs.

use super::call::{self, psci};
use super::harness;
use super::machine::{after, now, read};
use core::sync::atomic::{AtomicU64, Ordering};

/// Most CPUs.
pub const MAX: usize = 8;

/// What one CPU keeps; TPIDR_EL1 points at it. Assembly reads and writes it by the offsets that rt.rs hands over.
#[repr(C, align(128))]
pub struct Cpu {
    /// Where to go on after an expected exception; 0: none is expected.
    pub fixup: AtomicU64,
    /// The instruction that may fault.
    pub expected_pc: AtomicU64,
    /// PSTATE before the exception.
    pub before: AtomicU64,
    /// Number of the vector, 0 to 15.
    pub vector: AtomicU64,
    /// PSTATE in the vector.
    pub state: AtomicU64,
    /// ESR_EL1.
    pub esr: AtomicU64,
    /// FAR_EL1.
    pub far: AtomicU64,
    /// ELR_EL1.
    pub elr: AtomicU64,
    /// SPSR_EL1.
    pub spsr: AtomicU64,
    /// x0 to x2 at the exception.
    pub x: [AtomicU64; 3],
    /// Exceptions so far.
    pub count: AtomicU64,
    /// Optional bits of PSTATE that this CPU has: PAN, UAO, DIT, SSBS, TCO.
    pub features: AtomicU64,
    /// x19 to x30 and SP of `catch`.
    pub jump: [AtomicU64; 13],
    /// x0 as PSCI started the CPU.
    pub context: AtomicU64,
    /// PSTATE then: exception level, stack and masks.
    pub start_state: AtomicU64,
    /// SCTLR_EL1 then.
    pub start_sctlr: AtomicU64,
    /// All of x1 to x30 then, ORed.
    pub start_others: AtomicU64,
    /// How often it was started.
    pub starts: AtomicU64,
    /// What it has to do: a `fn(usize)`, or 0.
    work: AtomicU64,
}

#[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
const ZERO: AtomicU64 = AtomicU64::new(0);
#[expect(clippy::declare_interior_mutable_const, reason = "an initial value")]
const NEW: Cpu = Cpu {
    fixup: ZERO,
    expected_pc: ZERO,
    before: ZERO,
    vector: ZERO,
    state: ZERO,
    esr: ZERO,
    far: ZERO,
    elr: ZERO,
    spsr: ZERO,
    x: [ZERO; 3],
    count: ZERO,
    features: ZERO,
    jump: [ZERO; 13],
    context: ZERO,
    start_state: ZERO,
    start_sctlr: ZERO,
    start_others: ZERO,
    starts: ZERO,
    work: ZERO,
};

/// All CPUs, by MPIDR_EL1.Aff0.
pub static CPUS: [Cpu; MAX] = [NEW; MAX];

unsafe extern "C" {
    fn secondary_entry();
}

/// Where PSCI has to start a CPU.
pub fn entry() -> u64 {
    secondary_entry as *const () as u64
}

/// The number of the CPU that runs this.
pub fn index() -> usize {
    (read!("mpidr_el1") & 0xFF) as usize
}

/// The CPU that runs this.
pub fn this() -> &'static Cpu {
    &CPUS[index()]
}

/// Affinity of CPU `cpu`: on `virt`, clusters of 16 (GICv3) or 8.
pub fn mpidr(cpu: usize) -> u64 {
    cpu as u64
}

impl Cpu {
    /// Finds out which optional bits of PSTATE there are.
    pub fn learn_features(&self) {
        let pfr0 = read!("id_aa64pfr0_el1");
        let pfr1 = read!("id_aa64pfr1_el1");
        let field = |register: u64, low: u32| (register >> low) & 0xF;
        let there = [
            field(read!("id_aa64mmfr1_el1"), 20) != 0,
            field(read!("id_aa64mmfr2_el1"), 4) != 0,
            field(pfr0, 48) != 0,
            field(pfr1, 4) >= 2,
            field(pfr1, 8) != 0,
        ];
        let bits = there.iter().enumerate().map(|(bit, &there)| u64::from(there) << bit).sum();
        self.features.store(bits, Ordering::Relaxed);
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.work.load(Ordering::Acquire) == 0
    }
}

/// The life of every CPU but the first.
pub extern "C" fn secondary() -> ! {
    let me = this();
    me.learn_features();
    me.starts.fetch_add(1, Ordering::Release);
    loop {
        let work = me.work.load(Ordering::Acquire);
        if work == 0 {
            core::hint::spin_loop();
            continue;
        }
        // SAFETY: stored by `give_work`.
        let work: fn(usize) = unsafe { core::mem::transmute::<usize, fn(usize)>(work as usize) };
        work(index());
        me.work.store(0, Ordering::Release);
    }
}

/// Has CPU `cpu`, which is on or will be, call `work` with its number.
pub fn give_work(cpu: usize, work: fn(usize)) {
    CPUS[cpu].work.store(work as usize as u64, Ordering::Release);
}

/// Forgets what CPU `cpu`, which is off, had to do.
pub fn forget_work(cpu: usize) {
    CPUS[cpu].work.store(0, Ordering::Release);
}

/// Waits until `done`; panics after `seconds`, or if another CPU has panicked.
pub fn wait_until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let end = after(seconds);
    while !done() {
        assert!(!harness::is_broken(), "another CPU has failed");
        assert!(now() < end, "{what}: not in {seconds} s");
        core::hint::spin_loop();
    }
}

/// Waits until CPU `cpu` has done its work.
pub fn wait_for(cpu: usize) {
    wait_until("work of another CPU", 60, || CPUS[cpu].is_idle());
}

/// Asks PSCI to switch CPU `cpu` on, with `context`.
pub fn ask_to_start(cpu: usize, context: u64) -> i64 {
    call::psci(psci::CPU_ON_64, [mpidr(cpu), entry(), context])
}

/// How often CPU `cpu` was started.
pub fn starts(cpu: usize) -> u64 {
    CPUS[cpu].starts.load(Ordering::Acquire)
}

/// Switches CPU `cpu` on and waits until it is there.
pub fn start(cpu: usize) {
    let before = starts(cpu);
    forget_work(cpu);
    assert_eq!(ask_to_start(cpu, 0), psci::SUCCESS);
    wait_until("start of a CPU", 10, || starts(cpu) == before + 1);
}

/// Work: the CPU switches itself off.
pub fn leave(_: usize) {
    let result = call::psci(psci::CPU_OFF, [0; 3]);
    panic!("CPU_OFF has returned {result}");
}

/// Switches CPU `cpu` off and waits until it is.
pub fn stop(cpu: usize) {
    give_work(cpu, leave);
    wait_until("end of a CPU", 10, || call::psci(psci::AFFINITY_INFO_64, [mpidr(cpu), 0, 0]) == psci::OFF);
    forget_work(cpu);
}
