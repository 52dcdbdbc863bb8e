// SPDX-License-Identifier: GPL-2.0-only
//! Images, and whose their pages are.

use super::calls::{
    BLOCK, GUEST, announce, assert_filled, assert_lost, assert_zeroed, balance, block, destroy, fill, register_kvm,
    register_with, verify,
};
use crate::rt::call::{self, host, stat, test_call};
use crate::rt::fault::read;
use crate::rt::{PAGE, console, tree};
use corevisor::abi::{DENIED, INVALID_PARAMETER, NOT_SUPPORTED, host_call as n, stat as id};

/// There is no key that an image could be signed with: a VM that needs a signature gets none.
pub fn without_a_key_no_signed_image_is_taken() {
    let before = balance();
    let v = register_with(0);
    assert_eq!(host(n::SET_BOOT_INFO, &[v, GUEST, PAGE, 1, 2, 3, 4, 5, 6, 7, 8]), NOT_SUPPORTED);
    for flags in [4, u64::MAX] {
        assert_eq!(host(n::REGISTER_KVM, &[flags]), INVALID_PARAMETER);
    }
    destroy(v);
    assert_eq!(balance(), before);
}

/// No signature is asked for.
pub fn an_accepted_image_is_the_vms() {
    let (before, small, large) = (balance(), block(4), block(5));
    let large_end = large + 10 * BLOCK;
    (small..large_end).step_by(BLOCK as usize).for_each(fill);
    let v = register_kvm();
    assert_eq!(host(n::REGISTER_VCPU, &[v, 0, block(16)]), 0);
    // One ends within its last block and begins within its first.
    announce(v, GUEST + 3 * PAGE, small + 3 * PAGE, 7);
    announce(v, 2 * GUEST, large, 9 * BLOCK / PAGE + 1);
    assert_eq!(verify(v), 0);
    (small..large_end).step_by(BLOCK as usize).for_each(assert_lost);
    assert_eq!(stat(id::VM_PAGES), before[3] + 11 * BLOCK / PAGE);

    // It is complete: nothing can be added.
    let free = block(17);
    assert_eq!(host(n::SET_BOOT_INFO, &[v, 3 * GUEST, PAGE]), DENIED);
    assert_eq!(host(n::REMAP_VM_IMAGE, &[v, free / PAGE, 0]), DENIED);
    assert_eq!(host(n::VERIFY_VM_IMAGE, &[v]), DENIED);
    assert_eq!(host(n::REGISTER_VCPU, &[v, 1, free]), DENIED);
    assert_eq!(host(n::PHYS_ADDR_IOREMAP, &[v, 0x0900_0000, console::uart(), PAGE]), DENIED);
    // And nobody else can have its pages: no other VM, and not the host while the VM lives.
    let other = register_kvm();
    assert_eq!(host(n::SET_BOOT_INFO, &[other, GUEST, PAGE]), 0);
    assert_eq!(host(n::REMAP_VM_IMAGE, &[other, small / PAGE, 0]), DENIED);
    assert_eq!(host(n::REGISTER_VCPU, &[other, 0, small]), DENIED);
    destroy(other);
    assert_eq!(call::hvc(test_call::TAKE_PAGE, &[small / PAGE]), DENIED);
    assert_eq!(host(n::CLEAR_VM_S2_RANGE, &[v, small, BLOCK]), 0, "it lives");
    assert_lost(small);

    destroy(v);
    (small..large_end).step_by(BLOCK as usize).for_each(assert_zeroed);
    assert_eq!(balance(), before);
}

/// Incomplete, out of order, not contiguous, at another offset in the block: refused, and nothing is taken.
pub fn images_that_are_not_whole() {
    let (before, block) = (balance(), block(2));
    let pfn = block / PAGE;
    let shapes: [(u64, &[u64]); 5] = [
        (GUEST, &[pfn, pfn + 1]),              // of three
        (GUEST, &[pfn, pfn + 2, pfn + 1]),     // out of order
        (GUEST, &[pfn, pfn + 1, pfn + 3]),     // with a hole
        (GUEST, &[pfn + 1, pfn + 2, pfn + 3]), // at another offset
        (GUEST + PAGE, &[pfn, pfn + 1, pfn + 2]),
    ];
    for (guest, pages) in shapes {
        fill(block);
        let v = register_kvm();
        assert_eq!(host(n::SET_BOOT_INFO, &[v, guest, 3 * PAGE]), 0);
        for page in pages {
            assert_eq!(host(n::REMAP_VM_IMAGE, &[v, *page, 0]), 0);
        }
        assert_eq!(verify(v), DENIED, "{guest:#x} {pages:x?}");
        assert_filled(block);
        assert_eq!(stat(id::VM_PAGES), before[3]);
        destroy(v);
        assert_filled(block);
    }
    assert_eq!(balance(), before);
}

pub fn pages_that_are_not_the_hosts() {
    let v = register_kvm();
    assert_eq!(host(n::SET_BOOT_INFO, &[v, GUEST, PAGE]), 0);
    let page = block(2);
    assert_eq!(call::hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
    let corevisor = tree::corevisor().flat_map(|range| [range.start, range.end - PAGE]);
    for page in corevisor.chain([0, console::uart(), page]) {
        assert_eq!(host(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0]), DENIED, "{page:#x}");
    }
    assert_eq!(call::hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
    assert_eq!(read(page), Ok(0));
    destroy(v);
}
