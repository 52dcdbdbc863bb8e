// SPDX-License-Identifier: GPL-2.0-only
//! Accesses from 1 GiB on, where the host says what is a device and what is memory.

use crate::desk;
use core::arch::asm;

/// What the program stores.
const STORED: u64 = 0x1122_3344_5566_7788;

/// Arguments: a device's address; that of memory which the host has filled; that of memory which is used by pairs only.
/// Results: 0, 8 bytes loaded from the device; 1, one byte, with its sign; 2, what the memory held; 3 and 4, the pair.
pub fn run() {
    let [device, memory, pair] = [0, 1, 2].map(desk::argument);
    let (whole, byte, held, low, high): (u64, u64, u64, u64, u64);
    // SAFETY: a device, and memory of this VM that nobody else uses.
    unsafe {
        asm!(
            "strh {stored:w}, [{device}, #8]",
            "ldr {whole}, [{device}, #16]",
            "ldrsb {byte}, [{device}, #0xFFF]",
            "ldr {held}, [{memory}]",
            "stp {stored}, {device}, [{pair}]",
            "ldp {low}, {high}, [{pair}]",
            stored = in(reg) STORED, device = in(reg) device, memory = in(reg) memory, pair = in(reg) pair,
            whole = out(reg) whole, byte = out(reg) byte, held = out(reg) held, low = out(reg) low, high = out(reg) high,
            options(nostack)
        );
    }
    for (i, value) in [whole, byte, held, low, high].into_iter().enumerate() {
        desk::set_result(i, value);
    }
}
