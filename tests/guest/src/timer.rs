// SPDX-License-Identifier: GPL-2.0-only
//! The virtual timer.

#![allow(dead_code, reason = "for programs to come")]

use crate::{read, write};

/// Its interrupt.
pub const INTID: u64 = 27;

/// Ticks of the virtual counter.
pub fn now() -> u64 {
    // SAFETY: keeps the counter from being read early.
    unsafe { core::arch::asm!("isb", options(nostack)) };
    read!("cntvct_el0")
}

/// Ticks of so many microseconds.
pub fn ticks(microseconds: u64) -> u64 {
    microseconds * read!("cntfrq_el0") / 1_000_000
}

/// Has the timer fire at `at`.
pub fn set(at: u64) {
    write!("cntv_cval_el0", at);
    write!("cntv_ctl_el0", 1);
}

/// Keeps the timer from interrupting.
pub fn mask() {
    write!("cntv_ctl_el0", 3);
}
