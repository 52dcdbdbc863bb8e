// SPDX-License-Identifier: GPL-2.0-only
//! One vCPU looks at a page all the time, while another powers the VM off.

use crate::protocol::SMALL_PAGES;
use crate::{desk, smp};

/// What the page holds.
const SECRET: u64 = 0x5EC2_E75E_C2E7_5EC2;

fn watch(_: usize) {
    desk::set_result(1, 1);
    // SAFETY: memory of this VM.
    while unsafe { (SMALL_PAGES as *const u64).read_volatile() } == SECRET {}
    desk::set_result(2, 1);
}

/// Hook 0: not 0 when the VM is to be switched off. Results: 0, the page is in use; 1, vCPU 1 looks at it; 2, it has found
/// something else there.
pub fn run() {
    // SAFETY: memory of this VM, which nobody uses yet.
    unsafe { (SMALL_PAGES as *mut u64).write_volatile(SECRET) };
    desk::set_result(0, 1);
    smp::start(1, watch);
    while desk::hook(0) == 0 {
        core::hint::spin_loop();
    }
}
