// SPDX-License-Identifier: GPL-2.0-only
//! Sleeps until the host sends an interrupt.

use crate::{desk, exception, gic, smp};

/// Argument 0: how many interrupts; 1: which. Result 0: how many came.
pub fn run() {
    let (wanted, intid) = (desk::argument(0), desk::argument(1) as usize);
    gic::set_up();
    exception::take_interrupts();
    desk::set_hook(0, 1);
    smp::sleep_until(|| gic::count(0, intid) >= wanted);
    desk::set_result(0, gic::count(0, intid));
}
