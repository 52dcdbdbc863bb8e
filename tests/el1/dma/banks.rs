// SPDX-License-Identifier: GPL-2.0-only
//! Tables for devices by the specification's calls: of the host's, and of VMs'.

use super::attack::{
    POISON, assert_reached, content, events, fetch, is_controlled, is_nothing, pattern, put, read, write,
};
use super::edu::{WORDS, edu};
use super::streams::{assert_cut_off, attach, attach_to_host, detach};
use super::victim::{HOST, balance, destroy, owner, return_block, setup, turn};
use crate::rt::PAGE;
use crate::rt::call::{host, hvc, test_call};
use crate::rt::fault::{Access, assert_refused};
use crate::world::{Vm, memory, scheduler};
use corevisor::abi::{BUSY, DENIED, HOST_DMA, INVALID_PARAMETER, host_call as n};

/// What SMMU_LPAE_MAP takes: read and write, write-back memory (Arm ARM D8.3, stage 2).
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
const MEMORY: u64 = 0xF << 2;
const ALL: u64 = READ | WRITE | MEMORY;
/// I/O addresses that no RAM has.
const IOVA: u64 = 0x12_3456_7000;
/// A guest address that no image has.
const FREE: u64 = 0x7000_0000;

fn map(iova: u64, page: u64, attributes: u64, bank: u64) -> i64 {
    host(n::SMMU_LPAE_MAP, &[iova, page, attributes, bank, 0])
}

fn clear(iova: u64, bank: u64) -> i64 {
    host(n::SMMU_CLEAR, &[iova, bank, 0])
}

fn iova_to_phys(iova: u64, bank: u64) -> i64 {
    host(n::SMMU_LPAE_IOVA_TO_PHYS, &[iova, bank, 0])
}

/// A bank of the host's: a device in it reaches what is mapped, and no more.
pub fn a54_a_bank_of_the_hosts() {
    if !is_controlled() {
        assert!(host(n::SMMU_ALLOC_PGD, &[0, HOST, 0]) < 0, "without an SMMU");
        return;
    }
    let (device, block) = (edu(0), memory::take_block());
    let (page, other) = (block + PAGE, block + 2 * PAGE);
    assert_reached(device, page);
    for bank in [0, 7] {
        assert_eq!(host(n::SMMU_ALLOC_PGD, &[bank, HOST, 0]), 0);
        // What the test itself needs.
        assert_eq!(map(device.page(), device.page(), ALL, bank), 0);
        assert_eq!(attach(device, bank), 0);
        for at in [page, IOVA, IOVA + PAGE, 0, (1 << 40) - PAGE] {
            assert!(is_nothing(&fetch(device, at)), "{at:#x} is not mapped");
        }
        assert_eq!(map(IOVA, page, ALL, bank), 0);
        assert_eq!(iova_to_phys(IOVA + 0x123, bank), (page + 0x123) as i64);
        let words = pattern(page);
        write(page, &words);
        let before = events();
        assert!(fetch(device, IOVA) == words);
        let words = pattern(page);
        put(device, IOVA, &words);
        assert!(read(page) == words);
        assert_eq!(events(), before);
        // Another way to the same page, for reading only. QEMU's SMMU does not tell of a write that it does not let through.
        assert_eq!(map(IOVA + (1 << 30), page, READ | MEMORY, bank), 0);
        assert!(fetch(device, IOVA + (1 << 30)) == words);
        put(device, IOVA + (1 << 30), &[POISON; WORDS]);
        assert!(read(page) == words, "the device has written by a mapping for reading");
        // It counts, so that the page stays with the host.
        assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), BUSY);
        assert_eq!(map(IOVA, other, ALL, bank), BUSY);
        assert!(host(n::SMMU_FREE_PGD, &[bank, 0]) < 0, "it has mappings");
        assert_eq!(clear(IOVA + (1 << 30), bank), 0);
        assert!(is_nothing(&fetch(device, IOVA + (1 << 30))));
        assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), BUSY);
        // In the middle of a copy.
        device.fill(&[POISON; WORDS]);
        device.start_store(IOVA);
        assert_eq!(clear(IOVA, bank), 0);
        assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
        device.wait();
        assert!(content(page) == words, "the device has written by a mapping that is gone");
        assert!(is_nothing(&fetch(device, IOVA)));
        assert_eq!(hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
        // Of a bank that is freed nothing is left: the stream aborts until it is attached again.
        assert_eq!(clear(device.page(), bank), 0);
        assert_eq!(host(n::SMMU_FREE_PGD, &[bank, 0]), 0);
        assert_cut_off(device, page);
        assert!(attach(device, bank) < 0, "the bank is nobody's");
        attach_to_host(device);
        assert_reached(device, page);
        (page..page + PAGE).step_by(8).for_each(|at| memory::write(at, 0));
    }
    return_block(block);
}

/// What a mapping must not be.
pub fn a_banks_mappings_are_checked() {
    if !is_controlled() {
        return;
    }
    let block = memory::take_block();
    assert_eq!(host(n::SMMU_ALLOC_PGD, &[1, HOST, 0]), 0);
    for attributes in [1 << 40, 1 << 12, 1 << 63, 1 << 4] {
        assert_eq!(map(IOVA, block, attributes, 1), INVALID_PARAMETER, "{attributes:#x}");
    }
    for (iova, page) in [(1 << 40, block), (u64::MAX, block), (IOVA, 1 << 40), (IOVA, block | 1 << 47)] {
        assert_eq!(map(iova, page, ALL, 1), INVALID_PARAMETER, "{iova:#x} {page:#x}");
    }
    // Corevisor's, a device's, a VM's, nobody's.
    let corevisors = crate::rt::tree::corevisor().next().expect("a range").start;
    assert_eq!(hvc(test_call::TAKE_PAGE, &[block / PAGE]), 0);
    for page in [corevisors, super::victim::clock(), block, (1 << 40) - PAGE] {
        assert_eq!(map(IOVA, page, ALL, 1), DENIED, "{page:#x}");
    }
    assert_eq!(hvc(test_call::GIVE_PAGE, &[block / PAGE]), 0);
    assert_eq!(iova_to_phys(IOVA, 1), 0);
    assert_eq!(host(n::SMMU_FREE_PGD, &[1, 0]), 0);
    return_block(block);
}

/// A VM's device reaches the VM's page; the host's devices do not, and the host does not get the device back before the VM
/// is gone.
pub fn a_bank_of_a_vms() {
    const BANK: u64 = 3;
    if !is_controlled() {
        return;
    }
    let before = balance();
    let (device, others) = (edu(0), edu(1));
    let vm = Vm::register(&setup());
    vm.load(&setup());
    let (page, mine) = (vm.take_block(), memory::take_block());
    let words = pattern(page);
    write(page, &words);
    assert_reached(others, page + PAGE);
    write(page + PAGE, &[0; WORDS]);
    assert!(fetch(others, page) == words);
    assert_eq!(host(n::SMMU_ALLOC_PGD, &[BANK, vm.id(), 0]), 0);
    assert_eq!(map(FREE, page, ALL, BANK), 0);
    assert_eq!((owner(page), owner(page + PAGE)), (vm.id(), HOST));
    assert_refused(Access::Read, page);
    // Not by a stream of the host's, whatever it has cached.
    assert!(is_nothing(&fetch(others, page)), "the host's device has read a VM's page");
    put(others, page, &[POISON; WORDS]);
    let there = content(page);
    assert!(there != [POISON; WORDS], "the host's device has written to a VM's page");
    // By the VM's it is.
    device.fill(&[POISON; WORDS]);
    assert_eq!(attach(device, BANK), 0);
    device.store(FREE);
    assert!(content(page) == [POISON; WORDS], "the VM's device has not written to the VM's page");
    assert_cut_off(device, mine);
    // It stays where it is, while the VM is made, runs, is off.
    let stays = || {
        assert!(attach(device, HOST_DMA) < 0, "the host has its VM's device back");
        assert!(detach(device) < 0, "the host has its VM's device back");
        assert!(attach(device, 0) < 0);
        device.load(FREE);
        device.store(FREE);
        assert!(content(page) == [POISON; WORDS]);
        assert_cut_off(device, mine);
    };
    stays();
    assert_eq!(vm.verify(), 0);
    vm.power_on(setup().image.address);
    turn(vm);
    stays();
    assert_eq!(map(FREE + PAGE, mine, ALL, BANK), DENIED);
    assert_eq!(clear(FREE, BANK), DENIED);
    assert_eq!(host(n::SMMU_FREE_PGD, &[BANK, 0]), DENIED);
    vm.set_hook(|_, _, _, _| 1);
    scheduler::run(&[vm], 1);
    stays();
    destroy(vm);
    // Its bank is gone with it, and what the device has in its buffer comes to nobody but who attaches it next.
    assert_cut_off(device, mine);
    device.store(FREE);
    assert!(read(page) == [0; WORDS], "the device writes by a bank that is gone");
    assert!(attach(device, BANK) < 0);
    attach_to_host(device);
    assert_reached(device, page);
    write(page, &[0; WORDS]);
    return_block(mine);
    assert_eq!(balance(), before);
}
