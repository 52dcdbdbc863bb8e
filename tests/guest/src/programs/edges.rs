// SPDX-License-Identifier: GPL-2.0-only
//! Accesses that lie in two pages.

use crate::desk;
use crate::protocol::SMALL_PAGES;

/// Results: 0, what was stored across the first edge; 1, what was loaded across the second.
pub fn run() {
    let across = |edge: u64| (SMALL_PAGES + edge * 4096 - 4) as *mut u64;
    let store = 0x8877_6655_4433_2211_u64;
    let (stored, loaded): (u64, u64);
    // SAFETY: memory of this VM that nobody else uses; unaligned accesses to normal memory are one instruction.
    unsafe {
        core::arch::asm!(
            "str {store}, [{first}]",
            "ldr {stored}, [{first}]",
            "ldr {loaded}, [{second}]",
            store = in(reg) store, first = in(reg) across(1), second = in(reg) across(3),
            stored = out(reg) stored, loaded = out(reg) loaded, options(nostack)
        );
    }
    desk::set_result(0, stored);
    desk::set_result(1, loaded);
}
