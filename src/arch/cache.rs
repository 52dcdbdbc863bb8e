// SPDX-License-Identifier: GPL-2.0-only
//! Data cache maintenance by address.

use aarch64_cpu::asm::barrier;

/// Writes every cached line of `[start, start + size)` back to memory (DC CVAC, to the point of coherency), for readers
/// whose caches are off.
pub fn clean_to_memory(start: u64, size: u64) {
    // CTR_EL0.DminLine: log2 of the words in the smallest line.
    let line = 4u64 << ((crate::read_sysreg!("ctr_el0") >> 16) & 0xF);
    let mut at = start & !(line - 1);
    while at < start + size {
        // SAFETY: cleaning changes no data. The address is mapped: the caller has written there.
        unsafe { core::arch::asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += line;
    }
    barrier::dsb(barrier::SY);
}

/// Makes code written to memory visible to instruction fetch everywhere.
pub fn invalidate_instructions() {
    // SAFETY: invalidating instruction caches changes no data.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}
