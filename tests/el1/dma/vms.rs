// SPDX-License-Identifier: GPL-2.0-only
//! Pages that a VM has, gets, has had or shares, and devices that the host has told to copy them.

use super::attack::{
    assert_out_of_reach, assert_page_out_of_reach, assert_reached, assert_reads_nothing, content, events, fetch,
    is_controlled, is_nothing, pattern, put, read, write,
};
use super::edu::{BYTES, Edu, WORDS, edu};
use super::victim::{
    HOST, SMALL, assert_scrubbed, balance, destroy, offer, owner, return_block, setup, stumble, turn, with_victim,
    with_young_victim,
};
use crate::rt::call::{host, hvc, test_call};
use crate::rt::{PAGE, tree};
use crate::world::protocol::{IMAGE, LARGE_PAGES, SMALL_PAGES};
use crate::world::{BLOCK, Exit, Kind, Setup, Vm, memory, scheduler};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::host_call as n;

/// First page of the image, of the small pages and of the block that a victim has.
fn pages_of(vm: &Vm) -> impl Iterator<Item = u64> {
    vm.blocks().into_iter()
}

/// A VM that waits for its host: its code, and pages that it keeps secrets in.
pub fn a50_a_vms_memory() {
    with_victim(|vm, _| {
        for page in pages_of(vm) {
            assert_eq!(owner(page), vm.id());
            assert_out_of_reach(edu(0), page);
            assert_out_of_reach(edu(1), page);
        }
        // The end of a block.
        let last = vm.blocks().into_iter().next_back().expect("a block") + BLOCK - BYTES;
        assert_out_of_reach(edu(0), last);
    });
}

/// A VM that runs on another CPU meanwhile.
pub fn a50_a_vm_that_runs() {
    if !is_controlled() || tree::cpus() < 2 {
        return;
    }
    with_victim(|vm, _| {
        scheduler::begin(&[vm], 2);
        let rounds = vm.result(1);
        // Not the image: the VM writes there itself.
        pages_of(vm).skip(1).for_each(|page| assert_out_of_reach(edu(0), page));
        scheduler::stop();
        vm.kick(0);
        scheduler::finish(2);
        assert!(vm.result(1) > rounds, "it has run");
    });
}

/// Takes a page from the host that a device has just used, and gives it back.
fn take_and_give(device: &Edu, page: u64) {
    assert_reached(device, page);
    let there = read(page);
    assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
    assert_reads_nothing(device, page, Some(&there));
    let before = events();
    device.store(page);
    assert!(!is_controlled() || events() != before, "nothing was refused at {page:#x}");
    // Its neighbours stay the host's, and the device's.
    assert_reached(device, page + PAGE);
    assert_reached(device, page - PAGE);
    assert_eq!(hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
    if is_controlled() {
        assert!((page..page + PAGE).step_by(8).all(|at| memory::read(at) == 0), "{page:#x} did not come back as zeros");
        assert!(fetch(device, page) == [0; WORDS], "the device has got something of {page:#x}");
    }
    assert_reached(device, page);
}

/// The first page of a block that goes, when the block is split; another one; and the same one again.
pub fn a51_a_page_that_has_left_the_host() {
    let block = memory::take_block();
    for page in [block + 5 * PAGE, block + 200 * PAGE, block + 5 * PAGE] {
        take_and_give(edu(0), page);
    }
    take_and_give(edu(1), block + 5 * PAGE);
    // A copy that was begun when the page was the host's still.
    let page = block + 77 * PAGE;
    let there = pattern(page);
    write(page, &there);
    for warm in [false, true] {
        if warm {
            assert!(fetch(edu(0), page) == there);
        }
        edu(0).fill(&[super::attack::MARK; WORDS]);
        edu(0).start_load(page);
        assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
        edu(0).wait();
        let found = edu(0).content();
        assert!(if is_controlled() { is_nothing(&found) } else { found == there }, "{:#x}", found[0]);
        assert_eq!(hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
        write(page, &there);
    }
    return_block(block);
}

/// Pages that a VM has stumbled over: each has been used by a device, is the VM's, and comes back.
pub fn a51_a_page_that_a_vm_got() {
    let mut block = 0;
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        for i in 0..SMALL {
            let page = vm.take_page();
            block = page & !(BLOCK - 1);
            assert_reached(edu(0), page);
            assert_reached(edu(0), page + PAGE);
            assert!(matches!(offer(vm, SMALL_PAGES + i * PAGE, page, 3), Ok(Exit::Fault { .. })));
            assert_eq!((owner(page), owner(page + PAGE)), (vm.id(), HOST));
            assert_page_out_of_reach(edu(0), page);
            assert_reached(edu(0), page + PAGE);
            (page + PAGE..page + PAGE + BYTES).step_by(8).for_each(|at| memory::write(at, 0));
        }
    });
    // It has been returned, and is in nobody's hands.
    assert_eq!(owner(block), HOST);
    assert!(fetch(edu(0), block) == [0; WORDS], "the device has got something of a VM that is gone");
    assert_reached(edu(0), block);
    write(block, &[0; WORDS]);
}

/// The same with a block.
pub fn a51_a_block_that_a_vm_got() {
    const SOME: [u64; 3] = [0, 300 * PAGE, BLOCK - PAGE];
    let mut block = 0;
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let mut stumbled_at = SMALL_PAGES;
        while stumbled_at != LARGE_PAGES {
            stumbled_at = match offer(vm, stumbled_at, vm.take_page(), 3) {
                Ok(Exit::Fault { page, .. }) => page,
                other => panic!("{other:x?}"),
            };
        }
        block = vm.take_block();
        SOME.iter().for_each(|offset| assert_reached(edu(0), block + offset));
        match offer(vm, LARGE_PAGES, block, 2) {
            Ok(exit) => vm.serve(0, exit),
            Err(error) => panic!("{error}"),
        }
        SOME.iter().for_each(|offset| assert_out_of_reach(edu(0), block + offset));
        turn(vm);
    });
    for offset in SOME {
        assert!(fetch(edu(0), block + offset) == [0; WORDS], "the device has got something of a VM that is gone");
        assert_reached(edu(0), block + offset);
        write(block + offset, &[0; WORDS]);
    }
}

/// An image: within reach until it is verified, for the host announces what it likes; from then on the VM's.
pub fn a51_an_image() {
    let before = balance();
    let vm = Vm::register(&setup());
    let block = vm.load(&setup());
    let first = read(block);
    assert!(fetch(edu(0), block) == first);
    assert_eq!(vm.verify(), 0);
    assert_out_of_reach(edu(0), block);
    destroy(vm);
    assert_reached(edu(0), block);
    write(block, &[0; WORDS]);
    assert_eq!(balance(), before);
}

/// Off, and not scrubbed yet; half scrubbed; and gone.
pub fn a51_a_dead_vms_memory() {
    let before = balance();
    let vm = setup().start();
    turn(vm);
    vm.set_hook(|_, _, _, _| 1);
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    let blocks = vm.blocks();
    blocks.iter().for_each(|&block| assert_out_of_reach(edu(0), block));
    while host(n::DESTROY_VM, &[vm.id()]) > 0 {
        // What is the VM's has its secrets still, what is not is zero.
        let (its, hosts) = (|block: &&u64| owner(**block) == vm.id(), |block: &&u64| owner(**block) == HOST);
        blocks.iter().filter(hosts).for_each(|&block| assert_eq!(fetch(edu(0), block), [0; WORDS]));
        for &block in blocks.iter().filter(its).filter(|&&block| !is_nothing(&content(block))) {
            assert_out_of_reach(edu(0), block);
        }
    }
    vm.forget();
    for block in blocks {
        assert_scrubbed(block);
        assert!(fetch(edu(0), block) == [0; WORDS], "the device has got something of a VM that is gone");
        assert_reached(edu(0), block);
        write(block, &[0; WORDS]);
    }
    assert_eq!(balance(), before);
}

/// What the host may touch, its devices may.
fn assert_shared(at: u64) {
    let there = read(at);
    assert!(fetch(edu(0), at) == there, "the device has not read what is at {at:#x}");
    let words = pattern(at);
    put(edu(0), at, &words);
    assert!(read(at) == words, "the device has not written to {at:#x}");
    write(at, &there);
}

/// How often the VM has told that its page is shared, and that it is not.
static TOLD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The device tries the page at the guest address `store`, which is as the VM says by `offset`.
fn look_at_page(vm: &Vm, _: usize, offset: u64, store: Option<u64>) -> u64 {
    let page = vm.blocks()[0] + store.expect("an address") - IMAGE;
    assert_eq!(owner(page), vm.id());
    let told = &TOLD[usize::from(offset != 0)];
    // Later ones are no different.
    if told.fetch_add(1, Ordering::SeqCst) < 3 {
        if offset == 0 { assert_shared(page) } else { assert_out_of_reach(edu(0), page) }
    }
    0
}

/// A page is in a device's reach while its VM grants it, and no longer.
pub fn what_a_vm_shares() {
    let before = balance();
    TOLD.iter().for_each(|count| count.store(0, Ordering::SeqCst));
    let vm = Setup::new("sharer").start();
    vm.set_hook(look_at_page);
    while !vm.is_off() {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        vm.serve(0, exit);
    }
    assert_eq!(vm.finished(), 0);
    assert_eq!(vm.result(0), 0, "answers that were wrong");
    assert!(TOLD.iter().all(|count| count.load(Ordering::SeqCst) >= 3));
    destroy(vm);
    assert_eq!(balance(), before);
}

/// A VM that shares all its memory.
pub fn a_shared_vms_memory() {
    let before = balance();
    let vm = setup().kind(Kind::Shared).start();
    turn(vm);
    pages_of(vm).for_each(assert_shared);
    turn(vm);
    destroy(vm);
    assert_eq!(balance(), before);
}
