// SPDX-License-Identifier: GPL-2.0-only
//! Images, from the announcement to the verified VM.

use super::{
    BLOCK, GUEST, add_image, assert_refused, boot, each_state, fill, info, page, register, set_count, vcpu, verify, vm,
};
use crate::addr::{COREVISOR, HOSTVISOR, PAGE_SIZE, PMD_SIZE};
use crate::corevisor::REMAP_WINDOW;
use crate::lock::Held;
use crate::memory::{Count, S2Page};
use crate::npt::{Level, PAGE_HYP};
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{Core, MIB, ipa, pfn, record, set_record};
use std::sync::{Arc, Mutex};
use std::vec;

// Tests: BO-6
#[test]
fn images_get_numbers_and_windows_one_after_another() {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    for (i, size) in [1, PAGE_SIZE, PAGE_SIZE + 1, 5, 5].into_iter().enumerate() {
        assert_eq!(core.set_boot_info(v, ipa(GUEST), size, [0; 64], held), Ok(i));
    }
    let starts = info(&core, v, |info| info.images.iter().map(|i| i.remap_addr.as_u64()).collect::<vec::Vec<_>>());
    let start = REMAP_WINDOW.start;
    assert_eq!(starts, [start, start + 0x1000, start + 0x2000, start + 0x4000, start + 0x5000]);
    // D-19: a sixth one does nothing, and its number says so.
    let before = crate::world::snapshot(&core);
    assert_eq!(core.set_boot_info(v, ipa(GUEST), 1, [0; 64], held), Ok(5));
    assert_eq!(crate::world::snapshot(&core), before);
}

// Tests: BO-6
#[test]
fn an_image_of_nothing_or_for_no_ready_vm_or_that_does_not_fit_is_refused() {
    let core = boot();
    let v = register(&core);
    let announce = |size| move |core: &Core| core.set_boot_info(v, ipa(GUEST), size, [0; 64], &mut Held::nothing());
    assert_refused(&core, Refused::Argument(3), announce(0));
    assert_refused(&core, Refused::WindowFull, announce(REMAP_WINDOW.size()));
    each_state(&core, v, |state| {
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(v), announce(1));
        }
    });
    info(&core, v, |info| info.loaded_blocks = 1);
    assert_refused(&core, Refused::State(v), announce(1));
}

// Tests: BO-1
#[test]
fn an_address_is_found_in_the_last_image_that_it_is_in() {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    for (guest, size) in [(GUEST, 0x2000), (GUEST + 0x1000, 0x1001), (GUEST + 0x8000, 1)] {
        core.set_boot_info(v, ipa(guest), size, [0; 64], held).unwrap();
    }
    let start = REMAP_WINDOW.start;
    for (address, found) in [
        (GUEST - 1, None),
        (GUEST, Some(start)),
        (GUEST + 0xFFF, Some(start + 0xFFF)),
        (GUEST + 0x1000, Some(start + 0x2000)),
        (GUEST + 0x2000, Some(start + 0x3000)),
        (GUEST + 0x2001, None),
        (GUEST + 0x8000, Some(start + 0x4000)),
        (GUEST + 0x8001, None),
        (0, None),
        (u64::MAX, None),
    ] {
        assert_eq!(core.search_load_info(v, address, held).map(|at| at.as_u64()), found, "{address:#x}");
    }
    assert!(!core.is_inc_exe(v, held));
}

// Tests: BO-7
#[test]
fn pages_go_to_the_window_in_order_until_the_image_is_complete() {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    core.set_boot_info(v, ipa(GUEST), 2 * PAGE_SIZE, [0; 64], held).unwrap();
    let before = crate::world::snapshot(&core);
    core.remap_vm_image(v, pfn(BLOCK), 1, held).unwrap();
    assert_eq!(crate::world::snapshot(&core), before, "there is no such image");
    for address in [BLOCK + 0x5000, BLOCK] {
        core.remap_vm_image(v, pfn(address), 0, held).unwrap();
    }
    let leaves = core.machine().leaves(COREVISOR);
    let found: vec::Vec<_> = leaves.iter().map(|leaf| (leaf.ipa - REMAP_WINDOW.start, leaf.descriptor)).collect();
    assert_eq!(found, [(0, (BLOCK + 0x5000) | PAGE_HYP), (PAGE_SIZE, BLOCK | PAGE_HYP)]);
    let before = crate::world::snapshot(&core);
    core.remap_vm_image(v, pfn(BLOCK + 0x7000), 0, held).unwrap();
    assert_eq!(crate::world::snapshot(&core), before, "the image is complete");
}

// Tests: BO-7
#[test]
fn only_pages_of_the_host_alone_go_to_the_window() {
    let core = boot();
    let v = register(&core);
    core.set_boot_info(v, ipa(GUEST), PAGE_SIZE, [0; 64], &mut Held::nothing()).unwrap();
    let remap = |address| move |core: &Core| core.remap_vm_image(v, pfn(address), 0, &mut Held::nothing());
    each_state(&core, v, |state| {
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(v), remap(BLOCK));
        }
    });
    set_count(&core, BLOCK, Count::Shares(1));
    assert_refused(&core, Refused::Busy(pfn(BLOCK)), remap(BLOCK));
    set_record(&core, BLOCK, S2Page::new(vm(2), Count::Shares(1), Some(1)));
    assert_refused(&core, Refused::NotHostPage(pfn(BLOCK)), remap(BLOCK));
    assert_refused(&core, Refused::NotHostPage(pfn(0x0900_0000)), remap(0x0900_0000));
}

// Tests: BO-8, BA-1
#[test]
fn verified_images_are_blocks_of_the_vm_with_nothing_else_in_them() {
    let core = boot();
    let v = register(&core);
    let verified = Arc::new(Mutex::new(vec![]));
    let seen = verified.clone();
    core.machine().on_verify_image(move |v, remap| {
        seen.lock().unwrap().push((v, remap.as_u64()));
        true
    });
    for offset in (0..3 * PMD_SIZE).step_by(PAGE_SIZE as usize) {
        fill(&core, BLOCK + offset, 0xAB);
    }
    // From the middle of one block to the middle of the next but one's first page; and one more.
    let size = PMD_SIZE / 2 + PMD_SIZE / 2 + 0x123;
    add_image(&core, v, GUEST + PMD_SIZE / 2, BLOCK + PMD_SIZE / 2, size);
    add_image(&core, v, GUEST + 16 * PMD_SIZE, BLOCK + 2 * PMD_SIZE, PMD_SIZE);
    verify(&core, v);
    assert_eq!(info(&core, v, |info| info.state), VmState::Verified);
    let remapped =
        info(&core, v, |info| info.images.iter().map(|i| (v, i.remap_addr.as_u64())).collect::<vec::Vec<_>>());
    assert_eq!(*verified.lock().unwrap(), remapped, "each image, once, in order");
    let leaves = core.machine().leaves(v);
    let found: vec::Vec<_> = leaves.iter().map(|leaf| (leaf.ipa, leaf.size, leaf.pa(ipa(leaf.ipa)))).collect();
    let block = |guest: u64, n: u64| (GUEST + guest * PMD_SIZE, PMD_SIZE, BLOCK + n * PMD_SIZE);
    assert_eq!(found, [block(0, 0), block(1, 1), block(16, 2)]);
    let end = PMD_SIZE / 2 + size;
    for offset in (0..3 * PMD_SIZE).step_by(PAGE_SIZE as usize) {
        let kept = |byte: u64| (PMD_SIZE / 2..end).contains(&byte) || byte >= 2 * PMD_SIZE;
        let bytes = page(&core, pfn(BLOCK + offset));
        for i in [0, 0x122, 0x123, 0xFFF] {
            assert_eq!(bytes[i] == 0xAB, kept(offset + i as u64), "{offset:#x} + {i:#x}");
            assert!([0, 0xAB].contains(&bytes[i]));
        }
        let owned = record(&core, BLOCK + offset);
        let guest = if offset < 2 * PMD_SIZE { GUEST } else { GUEST + 14 * PMD_SIZE };
        assert_eq!((owned.owner(), owned.gfn()), (Some(v), Some((guest + offset) / PAGE_SIZE)));
        assert!(core.machine().access(HOSTVISOR, ipa(BLOCK + offset)).is_err());
    }
    assert_refused(&core, Refused::State(v), |core| core.verify_and_load_images(v, &mut Held::nothing()));
}

// Tests: BO-8
#[test]
fn a_vm_without_images_is_verified_at_once_if_it_is_ready() {
    let core = boot();
    let v = register(&core);
    each_state(&core, v, |state| {
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(v), |core| core.verify_and_load_images(v, &mut Held::nothing()));
        }
    });
    assert_eq!(core.verify_and_load_images(v, &mut Held::nothing()), Ok(0));
    assert_eq!(info(&core, v, |info| info.state), VmState::Verified);
}

/// A VM to be refused: two images by guest address, physical address and size, of which the last page may be missing.
fn assert_misplaced(images: [(u64, u64, u64); 2], missing: bool) {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    for (guest, address, size) in images {
        let image = core.set_boot_info(v, ipa(guest), size, [0; 64], held).unwrap();
        let pages = size.div_ceil(PAGE_SIZE) - u64::from(missing && image == 1);
        for i in 0..pages {
            core.remap_vm_image(v, pfn(address + i * PAGE_SIZE), image, held).unwrap();
        }
    }
    assert_refused(&core, Refused::Image, |core| core.verify_and_load_images(v, &mut Held::nothing()));
}

// Tests: BO-8
#[test]
fn what_is_verified_is_what_is_loaded() {
    let good = (GUEST, BLOCK, PAGE_SIZE);
    let other = |guest, address, size| [good, (GUEST + guest, BLOCK + address, size)];
    assert_misplaced(other(PMD_SIZE, PMD_SIZE, PAGE_SIZE), true); // D-20: incomplete
    assert_misplaced(other(PMD_SIZE, PMD_SIZE, 3 * PAGE_SIZE), true);
    assert_misplaced(other(PMD_SIZE, PMD_SIZE + PAGE_SIZE, PAGE_SIZE), false); // at another offset
    assert_misplaced(other(PMD_SIZE + 8, PMD_SIZE, PAGE_SIZE), false); // not at a page
    assert_misplaced(other(PAGE_SIZE, PMD_SIZE + PAGE_SIZE, PAGE_SIZE), false); // the same block of the VM
    assert_misplaced(other(PMD_SIZE + PAGE_SIZE, PAGE_SIZE, PAGE_SIZE), false); // the same block of memory
    assert_misplaced(other(8 * PMD_SIZE, 0, 9), false); // the same page
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    core.set_boot_info(v, ipa(GUEST), 3 * PAGE_SIZE, [0; 64], held).unwrap();
    for at in [0, 2, 1] {
        core.remap_vm_image(v, pfn(BLOCK + at * PAGE_SIZE), 0, held).unwrap();
    }
    assert_refused(&core, Refused::Image, |core| core.verify_and_load_images(v, &mut Held::nothing()));
}

// Tests: BO-8, BA-1
#[test]
fn a_block_with_a_page_in_use_is_not_taken_and_can_be_later() {
    let core = boot();
    let v = register(&core);
    add_image(&core, v, GUEST, BLOCK, 3 * PMD_SIZE);
    let verify_it = |core: &Core| core.verify_and_load_images(v, &mut Held::nothing());
    set_count(&core, BLOCK + 5 * PAGE_SIZE, Count::Shares(1));
    assert_refused(&core, Refused::Busy(pfn(BLOCK + 5 * PAGE_SIZE)), verify_it);
    set_count(&core, BLOCK + 5 * PAGE_SIZE, Count::Shares(0));
    // The second block: the first one is taken, the next call says why it is not more.
    let second = BLOCK + 2 * PMD_SIZE - PAGE_SIZE;
    set_count(&core, second, Count::Shares(1));
    assert_eq!(verify_it(&core), Ok(2 * 512 + 3 * 512));
    assert_eq!(info(&core, v, |info| (info.state, info.loaded_blocks)), (VmState::Ready, 1));
    assert_refused(&core, Refused::Busy(pfn(second)), verify_it);
    assert_refused(&core, Refused::State(v), |core| {
        core.set_boot_info(v, ipa(GUEST), 1, [0; 64], &mut Held::nothing())
    });
    assert_refused(&core, Refused::State(v), |core| core.remap_vm_image(v, pfn(BLOCK), 0, &mut Held::nothing()));
    set_count(&core, second, Count::Shares(0));
    verify(&core, v);
    assert_eq!(core.get_level_s2pt(v, ipa(GUEST + 2 * PMD_SIZE), &mut Held::nothing()), Ok(Some(Level::L2)));
}

// Tests: BO-8
#[test]
fn a_long_image_takes_several_calls() {
    let core = boot();
    let v = register(&core);
    let times = Arc::new(Mutex::new(0));
    let count = times.clone();
    core.machine().on_verify_image(move |_, _| {
        *count.lock().unwrap() += 1;
        true
    });
    add_image(&core, v, GUEST, BLOCK, 8 * PMD_SIZE);
    add_image(&core, v, GUEST + 64 * MIB, BLOCK + 8 * PMD_SIZE, 9 * PMD_SIZE);
    let mut left = 2 * 17 * 512;
    for call in 1.. {
        let moved = info(&core, v, |info| info.loaded_blocks);
        assert_eq!(info(&core, v, |info| info.state), VmState::Ready);
        let now = core.verify_and_load_images(v, &mut Held::nothing()).unwrap();
        let moved = info(&core, v, |info| info.loaded_blocks) - moved;
        assert!(moved <= 8 && left - now == moved * 512 + 16, "call {call}: {left} {now}");
        // One is hashed and verified before the next one is moved.
        let verified = [call >= 256, call >= 256 + 288].into_iter().filter(|done| *done).count();
        assert_eq!(*times.lock().unwrap(), verified, "call {call}");
        assert_eq!(info(&core, v, |info| info.images.iter().filter(|i| i.digest.is_some()).count()), verified);
        left = now;
        if left == 0 {
            assert_eq!(call, 256 + 288);
            break;
        }
    }
    assert_eq!(info(&core, v, |info| info.state), VmState::Verified);
}

// Tests: BO-8
#[test]
fn a_vm_whose_image_is_not_authentic_never_runs_and_keeps_its_pages_until_it_is_destroyed() {
    let core = boot();
    core.machine().on_verify_image(|_, _| false);
    let v = register(&core);
    core.register_vcpu(v, vcpu(0), pfn(super::RUN_PAGE), &mut Held::nothing()).unwrap();
    add_image(&core, v, GUEST, BLOCK, PAGE_SIZE);
    assert_eq!(core.verify_and_load_images(v, &mut Held::nothing()), Err(Refused::NotSigned));
    assert_eq!(info(&core, v, |info| info.state), VmState::Poweroff);
    assert_refused(&core, Refused::State(v), |core| core.set_vcpu_active(v, vcpu(0), &mut Held::nothing()));
    assert!(core.machine().access(HOSTVISOR, ipa(BLOCK)).is_err());
    super::destroy(&core, v);
    core.machine().on_verify_image(|_, _| true);
    let v = register(&core);
    add_image(&core, v, GUEST, BLOCK, PAGE_SIZE);
    verify(&core, v);
}
