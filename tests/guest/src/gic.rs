// SPDX-License-Identifier: GPL-2.0-only
//! The virtual CPU interface of a GICv3 (Arm IHI 0069). There is no distributor: the host injects what it likes.

#![allow(dead_code, reason = "for programs to come")]

use crate::protocol::VCPUS;
use crate::smp;
use crate::{read, write};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Interrupts that are counted: SGIs and PPIs, and all others together at the end.
const COUNTED: usize = 33;
/// INTIDs from here on are none.
const SPECIAL: u64 = 1020;

static COUNTS: [[AtomicU64; COUNTED]; VCPUS] = [const { [const { AtomicU64::new(0) }; COUNTED] }; VCPUS];
/// A `fn(u64)`, or 0.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Makes this vCPU take interrupts of group 1 of all priorities, once they are unmasked.
pub fn set_up() {
    write!("icc_sre_el1", 7);
    write!("icc_ctlr_el1", 0);
    write!("icc_bpr1_el1", 0);
    write!("icc_pmr_el1", 0xFF);
    write!("icc_igrpen1_el1", 1);
}

/// What is called with the INTID of each interrupt, before its end.
pub fn set_handler(handler: fn(u64)) {
    HANDLER.store(handler as *const () as usize, Ordering::Release);
}

/// How often vCPU `cpu` has taken `intid`.
pub fn count(cpu: usize, intid: usize) -> u64 {
    COUNTS[cpu][intid.min(COUNTED - 1)].load(Ordering::Acquire)
}

/// An interrupt: acknowledged, counted, ended. The timer's is masked there, so that it comes once.
pub fn handle() {
    let intid = read!("icc_iar1_el1") & 0xFF_FFFF;
    if (SPECIAL..8192).contains(&intid) {
        return;
    }
    if intid == crate::timer::INTID {
        crate::timer::mask();
    }
    let handler = HANDLER.load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: stored by `set_handler`.
        let handler: fn(u64) = unsafe { core::mem::transmute::<usize, fn(u64)>(handler) };
        handler(intid);
    }
    COUNTS[smp::this()][(intid as usize).min(COUNTED - 1)].fetch_add(1, Ordering::Release);
    write!("icc_eoir1_el1", intid);
}

/// Sends SGI `intid` to the vCPUs whose bits are set.
pub fn send_sgi(intid: u64, vcpus: u64) {
    // SAFETY: orders what was written before the interrupt.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    write!("icc_sgi1r_el1", (intid & 15) << 24 | vcpus & 0xFFFF);
}

/// Sends SGI `intid` to all vCPUs but this one.
pub fn send_sgi_to_others(intid: u64) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    write!("icc_sgi1r_el1", (intid & 15) << 24 | 1 << 40);
}
