// SPDX-License-Identifier: GPL-2.0-only
//! Pages that change hands, by the test calls.

use super::ram::{BLOCK, LARGE_BLOCK, free_block, free_large_block};
use crate::rt::call::{self, stat, test_call};
use crate::rt::fault::{self, Access, assert_refused, assert_refused_el0, read, write};
use crate::rt::machine::publish_code;
use crate::rt::{PAGE, console, tree};
use corevisor::abi::{DENIED, INVALID_PARAMETER, stat as id};

/// Makes the page at `address` a VM's.
pub fn take(address: u64) -> i64 {
    call::hvc(test_call::TAKE_PAGE, &[address / PAGE])
}

/// Gives it back, zeroed.
pub fn give(address: u64) -> i64 {
    call::hvc(test_call::GIVE_PAGE, &[address / PAGE])
}

/// What the tests write at `address`.
fn pattern(address: u64) -> u64 {
    address ^ 0x5A5A_0F0F_A5A5_F0F0
}

fn fill(address: u64) {
    assert!(write(address, pattern(address)).is_ok());
}

fn check(address: u64) {
    assert_eq!(read(address), Ok(pattern(address)), "at {address:#x}");
}

fn check_zero(address: u64) {
    assert_eq!(read(address), Ok(0), "at {address:#x}");
}

/// A whole life of a page in a block that is not split yet, and needs `splits` to come down to pages.
fn life(page: u64, splits: u64) {
    let words = [0, 8, PAGE / 2, PAGE - 8].map(|offset| page + offset);
    words.into_iter().for_each(fill);
    let before = [id::BLOCK_SPLIT, id::HOST_TABLE_PAGES].map(stat);
    let invalidations = stat(id::TLB_INVALIDATIONS);
    assert_eq!(take(page), 0);
    assert_eq!([id::BLOCK_SPLIT, id::HOST_TABLE_PAGES].map(stat), before.map(|n| n + splits));
    assert!(stat(id::TLB_INVALIDATIONS) > invalidations);

    for _ in 0..2 {
        for &kind in Access::ALL {
            assert_refused(kind, page);
            assert_refused(kind, page + PAGE - 64);
        }
        assert_refused_el0(page + 8);
        assert_eq!(take(page), 0, "it is there already");
    }

    assert_eq!(give(page), 0);
    assert_eq!(give(page), 0, "nothing more to do");
    let faults = stat(id::HOST_FAULT_RAM);
    words.into_iter().for_each(check_zero);
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + 1, "mapped by the first access");
    fill(page + 16);
    check(page + 16);
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + 1);

    // Nothing is left to split.
    for other in [page, page + PAGE, page - PAGE] {
        assert_eq!((take(other), give(other)), (0, 0));
        assert!(read(other).is_ok());
    }
    assert_eq!([id::BLOCK_SPLIT, id::HOST_TABLE_PAGES].map(stat), before.map(|n| n + splits));
    words.into_iter().chain([page + 16]).for_each(check_zero);
}

pub fn take_and_give_back() {
    life(free_block(1) + 17 * PAGE, 1);
}

/// In the middle of a gigabyte, on machines that have a whole one.
pub fn take_from_a_large_block() {
    let large = free_large_block();
    let ram: u64 = tree::ram().map(|ram| ram.end - ram.start).sum();
    assert_eq!(large.is_some(), ram >= 3 * LARGE_BLOCK);
    let Some(large) = large else { return life(free_block(2) + BLOCK - 2 * PAGE, 1) };
    let near = [large, large + LARGE_BLOCK / 2 - BLOCK, large + LARGE_BLOCK - 8];
    near.into_iter().for_each(fill);
    let faults = stat(id::HOST_FAULT_RAM);
    life(large + LARGE_BLOCK / 2 + 100 * PAGE, 2);
    near.into_iter().for_each(check);
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + 4, "for the pages that were taken only");
}

pub fn neighbours_keep_their_content() {
    let block = free_block(4);
    let first_and_last = |page: u64| [page, page + PAGE - 8];
    let pages = || (block..block + BLOCK).step_by(PAGE as usize);
    let around = [block - 8, block + BLOCK];
    pages().flat_map(first_and_last).for_each(fill);
    let faults = stat(id::HOST_FAULT_RAM);
    let taken = [block, block + 255 * PAGE, block + 256 * PAGE, block + BLOCK - PAGE];
    for page in taken {
        assert_eq!(take(page), 0);
    }
    for page in pages() {
        if taken.contains(&page) {
            first_and_last(page).into_iter().for_each(|address| assert_refused(Access::Read, address));
            first_and_last(page).into_iter().for_each(|address| assert_refused(Access::Write, address));
        } else {
            first_and_last(page).into_iter().for_each(check);
            fill(page + 64);
        }
    }
    around.into_iter().for_each(|address| assert!(read(address).is_ok()));
    assert_eq!(stat(id::HOST_FAULT_RAM), faults);
    for page in taken {
        assert_eq!(give(page), 0);
    }
    for page in pages() {
        let check: fn(u64) = if taken.contains(&page) { check_zero } else { check };
        first_and_last(page).into_iter().for_each(check);
    }
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + taken.len() as u64);
}

/// Code is executable before, gone after, and new code is executable again.
pub fn code_page_comes_back() {
    const CODE: [u32; 2] = [0x8B01_0000, 0xD65F_03C0]; // add x0, x0, x1; ret
    let page = free_block(5) + 300 * PAGE;
    let write_code = || {
        // SAFETY: RAM that nobody uses.
        unsafe { (page as *mut [u32; 2]).write_volatile(CODE) };
        publish_code(page);
    };
    write_code();
    assert_eq!(fault::run_at_el1(page, 40, 2), Ok(42));
    assert_eq!(take(page), 0);
    assert_refused(Access::Branch, page);
    let refused = fault::run_at_el1(page, 40, 2).map_err(|fault| (fault.esr >> 26, fault.elr, fault.far));
    assert_eq!(refused, Err((0x21, page, page)));
    assert_eq!(give(page), 0);
    let faults = stat(id::HOST_FAULT_RAM);
    let undefined = fault::run_at_el1(page, 40, 2).map_err(|fault| (fault.esr >> 26, fault.elr));
    assert_eq!(undefined, Err((0, page)), "the code is zeroes");
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + 1, "a fetch maps it, too");
    write_code();
    assert_eq!(fault::run_at_el1(page, 40, 2), Ok(42));
}

/// Not the host's, by pages.
fn never_hosts() -> impl Iterator<Item = u64> {
    let corevisor = tree::corevisor().flat_map(|range| [range.start, range.end - PAGE]);
    let end_of_ram = tree::ram().map(|ram| ram.end).max().expect("RAM");
    let others = [0, console::uart(), end_of_ram, 1 << 39, 1 << 40, 1 << 47, (1 << 48) - PAGE];
    corevisor.chain(others)
}

/// A page of the host's.
const ITS_OWN: u64 = 0x4800_0000;
/// Page frame numbers that are none.
const NO_PFN: [u64; 6] = [1 << 36, (1 << 36) + ITS_OWN / PAGE, 1 << 40, 1 << 52, 1 << 63, u64::MAX];

fn nothing_changes(id: u32, code: i64, pfn: u64) {
    let before = [id::BLOCK_SPLIT, id::HOST_TABLE_PAGES, id::TLB_INVALIDATIONS].map(stat);
    assert_eq!(call::hvc(id, &[pfn]), code, "page {pfn:#x}");
    assert_eq!([id::BLOCK_SPLIT, id::HOST_TABLE_PAGES, id::TLB_INVALIDATIONS].map(stat), before);
}

pub fn pages_that_cannot_be_taken() {
    for page in never_hosts() {
        nothing_changes(test_call::TAKE_PAGE, DENIED, page / PAGE);
    }
    for pfn in NO_PFN {
        nothing_changes(test_call::TAKE_PAGE, INVALID_PARAMETER, pfn);
    }
    assert!(read(ITS_OWN).is_ok(), "the page that a truncated number would name");
}

/// What is not the VM's stays as it is.
pub fn pages_that_cannot_be_given() {
    let hosts = free_block(6);
    fill(hosts);
    for page in never_hosts().chain([hosts]) {
        nothing_changes(test_call::GIVE_PAGE, 0, page / PAGE);
    }
    for pfn in NO_PFN {
        nothing_changes(test_call::GIVE_PAGE, INVALID_PARAMETER, pfn);
    }
    check(hosts);
    for range in tree::corevisor() {
        assert_refused(Access::Read, range.start);
        assert_refused(Access::Write, range.end - PAGE);
    }
}
