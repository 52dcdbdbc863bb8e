// SPDX-License-Identifier: GPL-2.0-only
//! 2 MiB of virtual addresses for each CPU, through which it works on a block that goes from the host to a VM at once: page
//! by page ([`super::fixmap`]) that would be 512 TLB invalidations on all CPUs, under a lock.
//!
//! As there, a mapping lives within one function of this file, which calls nothing outside.

use super::cache;
use super::el2_map::Access;
use super::fixmap;
use super::percpu;
use crate::MAX_CPUS;
use crate::addr::{PMD_SIZE, Pfn, Range};
use crate::platform::BootError;
use crate::refused::Refused;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// From one CPU's block to the next: a block lies between them that is never mapped.
const STRIDE: usize = 2;
/// Entries of a level-2 table, the last of which is the pages' window.
const BLOCKS: usize = STRIDE * MAX_CPUS;
const _: () = assert!(BLOCKS < 512);

/// Where the blocks of all CPUs lie: next to the window to pages.
pub const WINDOW: Range = Range { start: fixmap::WINDOW.start - BLOCKS as u64 * PMD_SIZE, end: fixmap::WINDOW.start };

/// The level-2 entries of [`WINDOW`]. Every entry is written by its own CPU only.
static ENTRIES: Once<&'static [AtomicU64]> = Once::new();

/// Takes the entries of the level-2 table whose last one is that of the pages' window.
///
/// # Errors
/// If something is mapped there.
pub fn set_entries(table: &'static [AtomicU64; 512]) -> Result<(), BootError> {
    let entries = &table[511 - BLOCKS..511];
    if entries.iter().any(|entry| entry.load(Ordering::Relaxed) != 0) {
        return Err(BootError::Core(Refused::OutOfReach));
    }
    ENTRIES.call_once(|| entries);
    Ok(())
}

/// Cleans and invalidates what the data caches hold of a block of memory, to the point of coherency.
///
/// # Safety
/// The 2 MiB from `first` on, a multiple of that, are memory in which no Rust object lies.
pub unsafe fn flush(first: Pfn) {
    assert!(first.base().is_aligned(PMD_SIZE));
    let index = STRIDE * percpu::index();
    let entry = ENTRIES.get().and_then(|entries| entries.get(index)).expect("the window is set up in the boot");
    let at = WINDOW.start + index as u64 * PMD_SIZE;
    entry.store(Access::ReadWrite.block(first.base().as_u64()), Ordering::Relaxed);
    // The entry was invalid, so no TLB holds it.
    // SAFETY: barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    cache::flush(at, PMD_SIZE);
    entry.store(0, Ordering::Relaxed);
    // On all CPUs, as other ones may have walked the table ahead of any use.
    // SAFETY: ends the translation of a block that nothing refers to.
    unsafe {
        asm!("dsb ishst", "tlbi vale2is, {}", "dsb ish", "isb", in(reg) at >> 12, options(nostack, preserves_flags));
    }
}
