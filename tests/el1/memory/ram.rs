// SPDX-License-Identifier: GPL-2.0-only
//! The host's RAM.

use crate::rt::call::stat;
use crate::rt::fault::{read, write};
use crate::rt::harness::tree_address;
use crate::rt::{PAGE, machine, tree};
use core::ops::Range;
use corevisor::abi::stat as id;

/// Bytes of a level-2 block.
pub const BLOCK: u64 = 2 << 20;
/// Bytes of a level-1 block.
pub const LARGE_BLOCK: u64 = 1 << 30;

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Whether the payload and its device tree are elsewhere.
fn is_unused(range: &Range<u64>) -> bool {
    let tree = tree_address()..tree_address() + BLOCK;
    !overlaps(range, &machine::image()) && !overlaps(range, &tree)
}

fn is_hosts(range: &Range<u64>) -> bool {
    let in_ram = tree::ram().any(|ram| ram.start <= range.start && range.end <= ram.end);
    in_ram && !tree::corevisor().any(|other| overlaps(&other, range))
}

/// Whether a whole gigabyte around `address` is the host's: then Corevisor maps it as one block.
fn in_large_block(address: u64) -> bool {
    let start = address & !(LARGE_BLOCK - 1);
    is_hosts(&(start..start + LARGE_BLOCK))
}

/// All blocks of 2 MiB that are mapped as such and used by nobody.
pub fn free_blocks() -> impl Iterator<Item = u64> {
    let starts = tree::ram().flat_map(|ram| (ram.start.next_multiple_of(BLOCK)..ram.end).step_by(BLOCK as usize));
    starts.filter(|&start| {
        let range = start..start + BLOCK;
        is_hosts(&range) && is_unused(&range) && !in_large_block(start)
    })
}

/// One of [`free_blocks`]. Tests that count splits take different ones.
pub fn free_block(n: usize) -> u64 {
    free_blocks().nth(n).expect("enough RAM")
}

/// A gigabyte that is mapped as one block and used by nobody.
pub fn free_large_block() -> Option<u64> {
    let starts =
        tree::ram().flat_map(|ram| (ram.start.next_multiple_of(LARGE_BLOCK)..ram.end).step_by(LARGE_BLOCK as usize));
    starts.into_iter().find(|&start| {
        let range = start..start + LARGE_BLOCK;
        is_hosts(&range) && is_unused(&range)
    })
}

/// The host takes no fault on memory that it owns; it reads all of its pages, and writes where nobody else does.
pub fn all_ram_is_mapped() {
    let traps = [id::HOST_FAULT_RAM, id::TRAP_DATA_ABORT, id::HOST_TABLE_PAGES, id::BLOCK_SPLIT];
    let before = traps.map(stat);
    let mut pages = 0;
    for ram in tree::ram() {
        for page in ram.step_by(PAGE as usize).filter(|&page| !tree::is_corevisors(page)) {
            let offset = page / PAGE * 8 % PAGE;
            let value = read(page + offset).unwrap_or_else(|fault| panic!("{fault:x?}"));
            if is_unused(&(page..page + PAGE)) && page.is_multiple_of(16 * PAGE) {
                let written = write(page + offset, value);
                assert!(written.is_ok(), "{written:x?}");
            }
            pages += 1;
        }
    }
    assert_eq!(pages, stat(id::RAM_PAGES) - stat(id::COREVISOR_PAGES));
    assert_eq!(traps.map(stat), before);
    assert_eq!(stat(id::HOST_FAULT_RAM), 0, "nor before");
}
