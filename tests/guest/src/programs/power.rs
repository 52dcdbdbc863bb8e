// SPDX-License-Identifier: GPL-2.0-only
//! vCPUs that go off and on again.

use crate::{desk, smp};

fn work(_: usize) {}

/// Argument 0: rounds. Results: 0, starts of vCPU 1; 1, its x0 at the last.
pub fn run() {
    for _ in 0..desk::argument(0) {
        // It is still on until the host hears of CPU_OFF.
        while smp::try_start(1, work) != 0 {
            smp::relax();
        }
        smp::wait_for(1);
    }
    desk::set_result(0, smp::starts(1));
    desk::set_result(1, smp::x0(1));
}
