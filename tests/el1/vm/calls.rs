// SPDX-License-Identifier: GPL-2.0-only
//! The calls, and memory for them.

use crate::rt::call::{host, stat};
use crate::rt::fault::{Access, assert_refused, read};
use crate::rt::{PAGE, machine, tree};
use corevisor::abi::{host_call as n, stat as id, vm_flags};

/// Bytes of a block.
pub const BLOCK: u64 = 2 << 20;
/// Where the tests' VMs have their memory.
pub const GUEST: u64 = 1 << 30;

/// A new VM, which needs no signature.
pub fn register_kvm() -> u64 {
    register_with(vm_flags::UNSIGNED)
}

/// A new VM with these flags.
pub fn register_with(flags: u64) -> u64 {
    let v = host(n::REGISTER_KVM, &[flags]);
    assert!((1..16).contains(&v), "REGISTER_KVM {flags:#x}: {v}");
    v as u64
}

/// Calls until nothing is left.
fn to_the_end(call: u32, args: &[u64]) -> i64 {
    let mut before = i64::MAX;
    loop {
        let left = host(call, args);
        if left <= 0 {
            return left;
        }
        assert!(left < before, "call {call} makes no progress");
        before = left;
    }
}

/// Destroys the VM.
pub fn destroy(v: u64) {
    assert_eq!(to_the_end(n::DESTROY_VM, &[v]), 0, "DESTROY_VM {v}");
}

/// Announces an image of `pages` pages for the guest address, and hands its pages over, from `memory` on.
pub fn announce(v: u64, guest: u64, memory: u64, pages: u64) -> u64 {
    let image = host(n::SET_BOOT_INFO, &[v, guest, pages * PAGE, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(image >= 0, "SET_BOOT_INFO: {image}");
    for page in 0..pages {
        assert_eq!(host(n::REMAP_VM_IMAGE, &[v, memory / PAGE + page, image as u64]), 0);
    }
    image as u64
}

/// VERIFY_VM_IMAGE, to its end.
pub fn verify(v: u64) -> i64 {
    to_the_end(n::VERIFY_VM_IMAGE, &[v])
}

/// The `i`th of the blocks that are the host's and used by nobody.
pub fn block(i: usize) -> u64 {
    let start = machine::image().end.next_multiple_of(BLOCK) + BLOCK;
    let end = tree::ram().map(|ram| ram.end).max().expect("RAM");
    (start..end)
        .step_by(BLOCK as usize)
        .filter(|&block| tree::corevisor().all(|range| range.end <= block || block + BLOCK <= range.start))
        .nth(i)
        .expect("enough RAM")
}

/// What the tests write at `address`.
pub fn content(address: u64) -> u64 {
    address.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// First and last word of each page of a block.
pub fn words(block: u64) -> impl Iterator<Item = u64> {
    (block..block + BLOCK).step_by(PAGE as usize).flat_map(|page| [page, page + PAGE - 8])
}

/// Fills a block.
pub fn fill(block: u64) {
    for at in words(block) {
        // SAFETY: RAM that nobody uses.
        unsafe { (at as *mut u64).write_volatile(content(at)) };
    }
}

/// That a block holds what `fill` has put there.
pub fn assert_filled(block: u64) {
    words(block).for_each(|at| assert_eq!(read(at), Ok(content(at)), "at {at:#x}"));
}

/// That the host can't reach a block.
pub fn assert_lost(block: u64) {
    for page in (block..block + BLOCK).step_by(PAGE as usize) {
        assert_refused(Access::Read, page);
        assert_refused(Access::Write, page + PAGE - 8);
    }
    assert_refused(Access::Branch, block);
}

/// That a block is the host's, and all zero.
pub fn assert_zeroed(block: u64) {
    for page in (block..block + BLOCK).step_by(PAGE as usize) {
        assert_eq!(read(page), Ok(0), "at {page:#x}");
        // SAFETY: RAM that nobody uses, and the host's, as was just seen.
        let words = unsafe { core::slice::from_raw_parts(page as *const u64, 512) };
        assert!(words.iter().all(|&word| word == 0), "at {page:#x}");
    }
}

/// Counters that are the same before a VM and after it.
pub fn balance() -> [u64; 4] {
    [id::RAM_PAGES, id::COREVISOR_PAGES, id::VMS, id::VM_PAGES].map(stat)
}

/// Page-table pages in use by VMs, and by the image window, which keeps those that it has once used.
pub fn tables() -> u64 {
    stat(id::VM_TABLE_PAGES)
}
