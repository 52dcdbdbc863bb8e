// SPDX-License-Identifier: GPL-2.0-only
//! What each CPU has of its own; TPIDR_EL2 points to it.

use crate::MAX_CPUS;
use crate::trap::Registers;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use tock_registers::interfaces::Writeable;

/// x0 to x30 and SP at an exception that EL2 can't survive; written by boot/vectors.S.
pub type Epitaph = [u64; 32];

/// One CPU's data. boot/entry.S and boot/vectors.S know its fields and its alignment.
#[repr(C, align(128))]
pub struct PerCpu {
    /// Top of the CPU's stack.
    stack_top: AtomicU64,
    /// The first 31 words are the host's x0 to x30, as long as the host can still run.
    epitaph: UnsafeCell<Epitaph>,
    /// Where x0 to x30 of who runs below EL2 go at an exception, and come from at the return: [`Self::host`], or the context
    /// of the vCPU that runs here.
    frame: AtomicPtr<Registers>,
}

impl PerCpu {
    /// Where the host's x0 to x30 are.
    #[inline(always)]
    fn host(&self) -> *mut Registers {
        self.epitaph.get().cast()
    }
}

// The address and the CPU's index share a register.
const _: () = assert!(MAX_CPUS.is_power_of_two() && MAX_CPUS <= align_of::<PerCpu>());
const _: () = assert!(offset_of!(PerCpu, epitaph) == 8 && offset_of!(PerCpu, frame) == 264);

// SAFETY: the epitaph is written by its own CPU only, by assembly that never returns, and so are the host's registers, where
// `host_registers` lends them; the rest is atomic.
unsafe impl Sync for PerCpu {}

static PER_CPU: [PerCpu; MAX_CPUS] = [const {
    PerCpu {
        stack_top: AtomicU64::new(0),
        epitaph: UnsafeCell::new([0; 32]),
        frame: AtomicPtr::new(core::ptr::null_mut()),
    }
}; MAX_CPUS];

/// One `T` for each CPU, which only that CPU gets at.
pub struct Own<T>([UnsafeCell<T>; MAX_CPUS]);

// SAFETY: `with` gives each CPU its own `T`, and a `T` stays on its CPU.
unsafe impl<T> Sync for Own<T> {}

impl<T> Own<T> {
    /// With these values.
    pub const fn new(values: [UnsafeCell<T>; MAX_CPUS]) -> Self {
        Self(values)
    }

    /// Calls `f`, which must not call this again for the same object, with the value of the CPU that runs this.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: this CPU's own, and at EL2 nothing interrupts `f` but the end.
        f(unsafe { &mut *self.0[index()].get() })
    }
}

/// Makes CPU `index` (below [`MAX_CPUS`]) the one that runs this.
#[inline(never)]
pub fn become_cpu(index: usize) {
    aarch64_cpu::registers::TPIDR_EL2.set(context(index));
}

/// Gives CPU `index` its stack, and a place for the host's registers.
pub fn set_up(index: usize, stack_top: u64) {
    let cpu = &PER_CPU[index];
    cpu.stack_top.store(stack_top, Ordering::Relaxed);
    cpu.frame.store(cpu.host(), Ordering::Relaxed);
}

/// The host's x0 to x30, as they were when it last stopped on the CPU that runs this.
///
/// # Safety
/// Once in each exception from below EL2, and not used after the return from it.
#[inline(always)]
pub unsafe fn host_registers<'a>() -> &'a mut Registers {
    // SAFETY: this CPU's own; only the vectors access them besides, before and after.
    unsafe { &mut *PER_CPU[index()].host() }
}

/// The host runs next on this CPU, with its [`host_registers`].
#[inline(always)]
pub fn run_host() {
    let cpu = &PER_CPU[index()];
    cpu.frame.store(cpu.host(), Ordering::Relaxed);
}

/// A vCPU runs next on this CPU, with these registers. They are the vectors' until it has stopped again: nobody else may
/// access them then.
#[inline(always)]
pub fn run_vcpu(registers: &mut Registers) {
    PER_CPU[index()].frame.store(registers, Ordering::Relaxed);
}

/// Writes all of it to memory, where a CPU that starts with its MMU off reads it.
pub fn publish() {
    super::cache::clean_to_memory((&raw const PER_CPU) as u64, size_of_val(&PER_CPU) as u64);
}

/// What a CPU that is started must find in x0, to know that it is CPU `index`: where its [`PerCpu`] is, and in the low bits,
/// which are zero in that, the index.
pub fn context(index: usize) -> u64 {
    (&raw const PER_CPU[index]) as u64 | index as u64
}

/// The index of the CPU that runs this; any, before [`become_cpu`], and in the function that calls it.
#[inline(always)]
pub fn index() -> usize {
    let context: u64;
    // Not through the pointer, so that this holds in the fatal path, too, whatever TPIDR_EL2 is.
    // SAFETY: reads a register. No code below changes it, so one read is as good as many ("pure").
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el2", out(reg) context, options(pure, nomem, nostack, preserves_flags));
    }
    context as usize % MAX_CPUS
}

/// Top of the stack of CPU `index`.
pub fn stack_top(index: usize) -> u64 {
    PER_CPU[index].stack_top.load(Ordering::Relaxed)
}
