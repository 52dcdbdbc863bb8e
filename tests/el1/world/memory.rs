// SPDX-License-Identifier: GPL-2.0-only
//! The host's free memory, in blocks of 2 MiB.

use super::{BLOCK, bundle};
use crate::rt::{PAGE, harness, machine, tree};
use arrayvec::ArrayVec;
use core::ops::Range;
use spin::{Mutex, MutexGuard, Once};

type Blocks = ArrayVec<u64, 1024>;

static FREE: Once<Mutex<Blocks>> = Once::new();

/// What the host must not give away: itself, its device tree, the ramdisk; and what is Corevisor's.
fn used() -> impl Iterator<Item = Range<u64>> + Clone {
    static USED: Once<ArrayVec<Range<u64>, 12>> = Once::new();
    let fdt = harness::tree_address();
    let find = || [machine::image(), fdt..fdt + BLOCK, bundle::range()].into_iter().chain(tree::corevisor()).collect();
    USED.call_once(find).iter().cloned()
}

/// All whole blocks of RAM that can be given away.
pub fn all() -> impl Iterator<Item = u64> {
    let blocks = tree::ram().flat_map(|ram| (ram.start.next_multiple_of(BLOCK)..ram.end).step_by(BLOCK as usize));
    blocks.filter(|&block| used().all(|range| range.end <= block || block + BLOCK <= range.start))
}

fn free() -> MutexGuard<'static, Blocks> {
    FREE.call_once(|| Mutex::new(all().take(Blocks::new_const().capacity()).collect())).lock()
}

/// How many blocks are free.
pub fn available() -> usize {
    free().len()
}

/// A free block: the host's own, mapped, with any content.
pub fn take_block() -> u64 {
    free().pop().expect("enough RAM")
}

/// Takes these blocks; whether all were free, else none is taken.
pub fn take_these_blocks<const N: usize>(wanted: [u64; N]) -> bool {
    let mut free = free();
    let all_free = wanted.iter().all(|block| free.contains(block));
    free.retain(|block| !all_free || !wanted.contains(block));
    all_free
}

/// Gives a block back, which must be the host's again.
pub fn return_block(block: u64) {
    free().push(block);
}

/// Fills all free blocks with zeros, so that what a search finds was put there later: of what earlier tests have left,
/// noise above all, a word can be by chance what the search is for.
pub fn clear_free() {
    for &block in free().iter() {
        // SAFETY: the host's own block, which nothing uses.
        unsafe { core::ptr::write_bytes(block as *mut u8, 0, BLOCK as usize) };
    }
}

/// Reads a word of the host's memory.
pub fn read(at: u64) -> u64 {
    // SAFETY: RAM that a test uses as it likes.
    unsafe { (at as *const u64).read_volatile() }
}

/// Writes a word of the host's memory.
pub fn write(at: u64, value: u64) {
    // SAFETY: as above.
    unsafe { (at as *mut u64).write_volatile(value) };
}

/// How many words there are, in all RAM that the host can read but its own image, for which `wanted` holds. No VM may
/// exist.
pub fn count_words(wanted: impl Fn(u64) -> bool) -> u64 {
    let skipped = || tree::corevisor().chain([machine::image()]);
    let pages = tree::ram().flat_map(|ram| ram.step_by(PAGE as usize));
    let readable = pages.filter(|page| skipped().all(|range| !range.contains(page)));
    let count = |page: u64| {
        // SAFETY: the host's own RAM; what it holds can be anything, and is read once.
        let words = unsafe { core::slice::from_raw_parts(page as *const u64, 512) };
        words.iter().filter(|&&word| wanted(word)).count() as u64
    };
    readable.map(count).sum()
}
