// SPDX-License-Identifier: GPL-2.0-only
//! This VM's vCPUs.

#![allow(dead_code, reason = "for programs to come")]

use crate::hvc::{self, psci};
use crate::protocol::VCPUS;
use crate::{exception, read};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

unsafe extern "C" {
    fn secondary_entry();
}

/// What each vCPU has to do: a `fn(usize)`, or 0.
static WORK: [AtomicUsize; VCPUS] = [const { AtomicUsize::new(0) }; VCPUS];
/// x0 as each vCPU found it at its entry.
static X0: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
/// How often each vCPU was started.
static STARTS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];

/// The number of the vCPU that runs this.
pub fn this() -> usize {
    read!("tpidr_el1") as usize
}

/// Remembers x0 at this vCPU's entry.
pub fn note_start(x0: u64) {
    X0[this()].store(x0, Ordering::Relaxed);
    STARTS[this()].fetch_add(1, Ordering::Release);
}

/// x0 as vCPU `cpu` found it.
pub fn x0(cpu: usize) -> u64 {
    X0[cpu].load(Ordering::Relaxed)
}

/// How often vCPU `cpu` was started.
pub fn starts(cpu: usize) -> u64 {
    STARTS[cpu].load(Ordering::Acquire)
}

/// Where CPU_ON has to start a vCPU.
pub fn entry() -> u64 {
    secondary_entry as *const () as u64
}

/// The life of a vCPU that CPU_ON has started: its work, and CPU_OFF.
pub extern "C" fn secondary(x0: u64) -> ! {
    let me = this();
    note_start(x0);
    let work = WORK[me].load(Ordering::Acquire);
    if work != 0 {
        // SAFETY: stored by `start`.
        let work: fn(usize) = unsafe { core::mem::transmute::<usize, fn(usize)>(work) };
        work(me);
    }
    WORK[me].store(0, Ordering::Release);
    let answer = hvc::call(psci::CPU_OFF, &[]);
    panic!("CPU_OFF has returned {:#x}", answer[0]);
}

/// Starts vCPU `cpu`, which does `work` with its number and switches itself off. PSCI's answer.
pub fn try_start(cpu: usize, work: fn(usize)) -> i64 {
    WORK[cpu].store(work as *const () as usize, Ordering::Release);
    hvc::call(psci::CPU_ON_64, &[cpu as u64, entry(), 0xC0_0000 + cpu as u64])[0] as i64
}

/// The same, which must succeed.
pub fn start(cpu: usize, work: fn(usize)) {
    assert_eq!(try_start(cpu, work), 0, "CPU_ON {cpu}");
}

/// Waits until vCPU `cpu` has done its work.
pub fn wait_for(cpu: usize) {
    while WORK[cpu].load(Ordering::Acquire) != 0 {
        relax();
    }
}

/// Lets another vCPU run: WFE is an exit to the host, which comes back soon.
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("wfe", options(nomem, nostack)) };
}

/// Waits for an interrupt. Needs interrupts that come: what is pending counts, masked or not.
pub fn wait_for_interrupt() {
    // SAFETY: a hint.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Waits until `done`, with interrupts handled meanwhile; sleeps in between.
pub fn sleep_until(mut done: impl FnMut() -> bool) {
    while !done() {
        wait_for_interrupt();
        exception::take_interrupts();
    }
}
