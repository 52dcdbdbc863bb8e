// SPDX-License-Identifier: GPL-2.0-only
//! Data cache maintenance by address.

use aarch64_cpu::asm::barrier;

/// Writes every cached line of `[start, start + size)` back to memory (DC CVAC, to the point of coherency), for readers
/// whose caches are off.
pub fn clean_to_memory(start: u64, size: u64) {
    for_each_line(start, size, |at| {
        // SAFETY: cleaning changes no data. The address is mapped: the caller has written there.
        unsafe { core::arch::asm!("dc cvac, {}", in(reg) at, options(nostack, preserves_flags)) };
    });
}

/// Writes every cached line of `[start, start + size)` back to memory and forgets it (DC CIVAC, to the point of
/// coherency), in all caches: whatever attributes the next access to this memory has, it finds the same bytes.
pub fn flush(start: u64, size: u64) {
    for_each_line(start, size, |at| {
        // SAFETY: no data changes but what others wrote past the caches, which nobody here refers to. The address is
        // mapped: the caller's.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) at, options(nostack, preserves_flags)) };
    });
}

/// Calls `operate` for every line of `[start, start + size)`, and waits until all is done.
fn for_each_line(start: u64, size: u64, operate: impl Fn(u64)) {
    // CTR_EL0.DminLine: log2 of the words in the smallest line.
    let line = 4u64 << ((crate::read_sysreg!("ctr_el0") >> 16) & 0xF);
    let mut at = start & !(line - 1);
    while at < start + size {
        operate(at);
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
