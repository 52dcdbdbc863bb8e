// SPDX-License-Identifier: GPL-2.0-only
//! Pages that are not for those who ask for them (5 to 12, 14 to 16, 19).

use super::victim::{
    HOST, LARGE, SMALL, Watch, assert_offer_refused, assert_scrubbed, balance, clear, clock, destroy, offer, owner,
    return_block, setup, stumble, turn, with_victim, with_young_victim,
};
use crate::rt::call::{host, hvc, stat, test_call};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::{PAGE, console, cpu, tree};
use crate::world::protocol::{LARGE_PAGES, SMALL_PAGES};
use crate::world::vm::to_the_end;
use crate::world::{BLOCK, Exit, Vm, memory, scheduler};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{BUSY, DENIED, INVALID_PARAMETER, NO_MEMORY, host_call as n, stat as id};

/// A guest address that no image has.
const FREE: u64 = 0x7000_0000;

/// A VM that is being built, with an image of two pages announced.
fn builder() -> &'static Vm {
    let vm = Vm::register(&setup());
    assert_eq!(host(n::SET_BOOT_INFO, &[vm.id(), FREE, 2 * PAGE]), 0);
    vm
}

/// First and last page of each range that is Corevisor's.
fn corevisors() -> impl Iterator<Item = u64> {
    tree::corevisor().flat_map(|range| [range.start, range.end - PAGE])
}

pub fn a05_corevisors_frames() {
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let young = builder();
        let v = young.id();
        let watch = Watch::over(corevisors().chain(vm.blocks()));
        for page in corevisors() {
            assert_offer_refused(&watch, vm, SMALL_PAGES, page, 3, DENIED);
            assert_offer_refused(&watch, vm, SMALL_PAGES, page & !(BLOCK - 1), 2, DENIED);
            watch.assert_answer(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0], DENIED);
            watch.assert_answer(n::REGISTER_VCPU, &[v, 1, page], DENIED);
            assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), DENIED);
            watch.assert_unchanged("TAKE_PAGE");
            // Nothing is there to be mapped as a device, or to be cleared.
            watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, page, PAGE], 0);
            watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, page, PAGE], 0);
            assert!(host(n::ENCRYPT_BUF, &[vm.id(), vm.blocks()[0], page]) < 0);
            assert!(host(n::ENCRYPT_BUF, &[vm.id(), page, vm.vcpus[0].page()]) < 0);
            assert!(host(n::DECRYPT_BUF, &[v, page, 0, 0, 0, 0, 0, 0]) < 0);
            for access in [Access::Read, Access::Write, Access::Branch] {
                assert_refused(access, page);
            }
            watch.assert_unchanged("all of that");
        }
        destroy(young);
    });
}

pub fn a06_frames_of_others() {
    with_victim(|victim, watch| {
        let other = setup().start();
        assert_eq!(stumble(other), SMALL_PAGES);
        let young = builder();
        let v = young.id();
        let counts = Watch::over_blocks(victim.blocks().into_iter().chain(other.blocks()));
        for block in victim.blocks().into_iter().filter(|&block| owner(block) == victim.id()) {
            for page in [block, block + PAGE] {
                if owner(page) == HOST {
                    continue;
                }
                // To another VM, by each way that there is.
                assert_offer_refused(&counts, other, SMALL_PAGES, page, 3, DENIED);
                counts.assert_answer(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0], DENIED);
                counts.assert_answer(n::REGISTER_VCPU, &[v, 1, page], DENIED);
                assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), DENIED);
                counts.assert_unchanged("TAKE_PAGE");
                // To the host.
                counts.assert_answer(n::CLEAR_VM_S2_RANGE, &[victim.id(), page, PAGE], 0);
                counts.assert_answer(n::CLEAR_VM_S2_RANGE, &[other.id(), page, PAGE], 0);
                assert_eq!(hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0, "it is not VM 15's");
                counts.assert_unchanged("GIVE_PAGE");
                for access in [Access::Read, Access::Write, Access::Branch] {
                    assert_refused(access, page);
                }
            }
            assert_offer_refused(&counts, other, SMALL_PAGES, block, 2, DENIED);
        }
        // To the same VM, elsewhere.
        let own = other.blocks()[0];
        assert_eq!(owner(own), other.id());
        assert_offer_refused(&counts, other, SMALL_PAGES, own, 3, DENIED);
        assert_offer_refused(&counts, other, SMALL_PAGES, own, 2, DENIED);
        watch.assert_pages_unchanged("all of that");
        turn(other);
        destroy(young);
        destroy(other);
    });
}

pub fn a07_frames_in_use() {
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let young = builder();
        let block = memory::take_block();
        assert_eq!(host(n::REGISTER_VCPU, &[young.id(), 1, block]), 0);
        let watch = Watch::over_blocks(vm.blocks().into_iter().chain([block]));
        for page in [vm.vcpus[0].page(), young.vcpus[0].page(), block] {
            assert_offer_refused(&watch, vm, SMALL_PAGES, page, 3, BUSY);
            watch.assert_answer(n::REMAP_VM_IMAGE, &[young.id(), page / PAGE, 0], BUSY);
            assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), BUSY);
            watch.assert_unchanged("TAKE_PAGE");
        }
        assert_offer_refused(&watch, vm, SMALL_PAGES, block, 2, BUSY);
        destroy(young);
        // Then it is free.
        assert!(matches!(offer(vm, SMALL_PAGES, block, 3), Ok(Exit::Fault { .. })));
        assert_eq!((owner(block), owner(block + PAGE)), (vm.id(), HOST));
        vm.add_block(block);
    });
}

pub fn a08_devices_as_memory() {
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let young = builder();
        let watch = Watch::over_blocks(vm.blocks());
        let gic = tree::compatible("arm,gic-v3").or(tree::compatible("arm,cortex-a15-gic")).expect("a GIC");
        let devices = tree::ranges(gic).map(|range| range.start).chain([console::uart(), clock(), 0x0A00_0000]);
        for page in devices {
            assert_offer_refused(&watch, vm, SMALL_PAGES, page, 3, DENIED);
            assert_offer_refused(&watch, vm, SMALL_PAGES, page & !(BLOCK - 1), 2, DENIED);
            watch.assert_answer(n::REMAP_VM_IMAGE, &[young.id(), page / PAGE, 0], DENIED);
            watch.assert_answer(n::REGISTER_VCPU, &[young.id(), 1, page], DENIED);
        }
        destroy(young);
    });
}

/// Registers that Corevisor keeps to itself are no VM's either, nor do they come with their neighbours.
pub fn a09_registers_that_are_withheld() {
    /// QEMU's `virt`, where it has an SMMU.
    const SMMU: u64 = 0x0905_0000;
    const SMMU_SIZE: u64 = 0x2_0000;
    let has_smmu =
        tree::value(tree::node("/chosen").expect("/chosen"), "bootargs").windows(6).any(|word| word == b"iommu=");
    with_victim(|victim, watch| {
        watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[victim.id(), FREE, clock(), PAGE], DENIED);
        let young = builder();
        let v = young.id();
        let tables = Watch::over_blocks(victim.blocks());
        if has_smmu {
            for (start, size) in [
                (SMMU, PAGE),
                (SMMU - PAGE, 2 * PAGE),
                (SMMU + SMMU_SIZE - PAGE, PAGE),
                (SMMU + SMMU_SIZE - PAGE, 9 * PAGE),
                (SMMU - PAGE, SMMU_SIZE + 2 * PAGE),
                (SMMU + 1, 1),
            ] {
                tables.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, start, size], INVALID_PARAMETER);
                assert_refused(Access::UnmappedRead, SMMU);
            }
        }
        // RAM is left out.
        let block = memory::take_block();
        tables.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, block, 4 * PAGE], 0);
        tables.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, victim.blocks()[0], 4 * PAGE], 0);
        return_block(block);
        // What is no RAM and nobody's can be had.
        assert_eq!(host(n::PHYS_ADDR_IOREMAP, &[v, FREE, clock(), PAGE]), 0);
        destroy(young);
    });
}

pub fn a10_the_same_page_twice() {
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let page = vm.take_page();
        assert!(matches!(offer(vm, SMALL_PAGES, page, 3), Ok(Exit::Fault { .. })));
        let watch = Watch::over_blocks(vm.blocks());
        assert_offer_refused(&watch, vm, SMALL_PAGES + PAGE, page, 3, DENIED);
        // A list with the same page twice: it is no image, and nothing of it is taken.
        let young = builder();
        let block = memory::take_block();
        memory::write(block, 0x0057_A7E5);
        let watch = Watch::over_blocks(vm.blocks().into_iter().chain([block]));
        for _ in 0..2 {
            assert_eq!(host(n::REMAP_VM_IMAGE, &[young.id(), block / PAGE, 0]), 0);
        }
        watch.assert_answer(n::VERIFY_VM_IMAGE, &[young.id()], DENIED);
        watch.assert_answer(n::VCPU_RUN, &[young.id(), 0], DENIED);
        destroy(young);
        return_block(block);
    });
}

/// An image of two blocks, of which the second can't be taken any more when the first has been.
pub fn a11_half_way() {
    with_victim(|_, _| {
        let (vm, other) = (Vm::register(&setup()), Vm::register(&setup()));
        // Two in a row.
        let both = memory::all().find(|&one| memory::take_these_blocks([one, one + BLOCK]));
        let blocks = both.expect("two blocks in a row");
        let words = || (blocks..blocks + 2 * BLOCK).step_by(PAGE as usize);
        words().for_each(|at| memory::write(at, at));
        assert_eq!(host(n::SET_BOOT_INFO, &[vm.id(), FREE, 2 * BLOCK]), 0);
        for page in 0..2 * BLOCK / PAGE {
            assert_eq!(host(n::REMAP_VM_IMAGE, &[vm.id(), blocks / PAGE + page, 0]), 0);
        }
        let used = blocks + BLOCK + 7 * PAGE;
        assert_eq!(host(n::REGISTER_VCPU, &[other.id(), 1, used]), 0);
        let pages = stat(id::VM_PAGES);
        assert_eq!(to_the_end(n::VERIFY_VM_IMAGE, &[vm.id()]), BUSY);
        // How far it has come can be told, and holds.
        let taken = stat(id::VM_PAGES) - pages;
        assert!(taken == 0 || taken == BLOCK / PAGE, "{taken}");
        for at in words() {
            assert_eq!(owner(at), if at - blocks < taken * PAGE { vm.id() } else { HOST }, "{at:#x}");
        }
        assert_eq!(to_the_end(n::VERIFY_VM_IMAGE, &[vm.id()]), BUSY);
        assert_eq!(host(n::VCPU_RUN, &[vm.id(), 0]), DENIED);
        assert!(
            (blocks + BLOCK..blocks + 2 * BLOCK).step_by(PAGE as usize).all(|at| at == used || memory::read(at) == at)
        );
        // When nothing is in the way any more, it is done.
        destroy(other);
        assert_eq!(to_the_end(n::VERIFY_VM_IMAGE, &[vm.id()]), 0);
        assert_eq!(stat(id::VM_PAGES) - pages, 2 * BLOCK / PAGE);
        destroy(vm);
        [blocks, blocks + BLOCK].into_iter().for_each(assert_scrubbed);
        [blocks, blocks + BLOCK].into_iter().for_each(memory::return_block);
    });
}

/// A block for a place of which the VM has a page already; and one that is not aligned.
pub fn a12_blocks_over_pages() {
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let (page, block) = (vm.take_page(), vm.take_block());
        let watch = Watch::over_blocks(vm.blocks());
        assert_offer_refused(&watch, vm, SMALL_PAGES, block + PAGE, 2, INVALID_PARAMETER);
        assert!(matches!(offer(vm, SMALL_PAGES, page, 3), Ok(Exit::Fault { .. })));
        let watch = Watch::over_blocks(vm.blocks());
        assert_offer_refused(&watch, vm, SMALL_PAGES + PAGE, block, 2, INVALID_PARAMETER);
        // Elsewhere than where it stumbled.
        for elsewhere in [SMALL_PAGES, SMALL_PAGES + 2 * PAGE, LARGE_PAGES, FREE, 1, u64::MAX] {
            assert_offer_refused(&watch, vm, elsewhere, block, 3, INVALID_PARAMETER);
        }
    });
}

/// All tables that there are for a VM.
pub fn a14_tables_run_out() {
    with_victim(|victim, _| {
        let before = balance();
        let young = builder();
        let place = |i: u64| (i << 30) + FREE;
        let code =
            (0..600).map(|i| host(n::PHYS_ADDR_IOREMAP, &[young.id(), place(i), clock(), PAGE])).find(|&x0| x0 != 0);
        assert_eq!(code, Some(NO_MEMORY));
        let watch = Watch::over_blocks(victim.blocks());
        for i in 600..608 {
            watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[young.id(), place(i), clock(), PAGE], NO_MEMORY);
        }
        // There can be no other VM either. Those that are there go on.
        let others = (0..3).map(|_| host(n::REGISTER_KVM, &[1]));
        let others: ArrayVec<i64, 3> = others.take_while(|&v| v != NO_MEMORY).collect();
        assert!(others.len() < 2, "{others:?}");
        turn(victim);
        others.into_iter().for_each(|v| assert_eq!(to_the_end(n::DESTROY_VM, &[v as u64]), 0));
        destroy(young);
        let other = setup().start();
        turn(other);
        destroy(other);
        assert_eq!(balance(), before);
    });
}

static PAGES: AtomicU64 = AtomicU64::new(0);

/// No CPU of the host's finds a way to what it has given away.
pub fn a15_pages_that_were_the_hosts() {
    fn touch(_: usize) {
        let page = PAGES.load(Ordering::SeqCst);
        memory::write(page, 1); // the translation is cached
        PAGES.store(0, Ordering::SeqCst);
        cpu::wait_until("the page is gone", 20, || PAGES.load(Ordering::SeqCst) != 0);
        for access in [Access::Read, Access::Write, Access::WritePair, Access::Zero, Access::Branch] {
            assert_refused(access, page);
            assert_refused(access, page + PAGE - 64);
        }
    }
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        cpu::start(1);
        for i in 0..SMALL {
            let page = vm.take_page();
            memory::write(page, 2);
            PAGES.store(page, Ordering::SeqCst);
            cpu::give_work(1, touch);
            cpu::wait_until("a write", 20, || PAGES.load(Ordering::SeqCst) == 0);
            assert!(matches!(offer(vm, SMALL_PAGES + i * PAGE, page, 3), Ok(Exit::Fault { .. })));
            PAGES.store(page, Ordering::SeqCst);
            cpu::wait_for(1);
            assert_refused(Access::Read, page);
            assert_refused(Access::Write, page);
        }
        cpu::stop(1);
    });
}

pub fn a16_reclaimed() {
    with_victim(|victim, watch| {
        for block in victim.blocks() {
            watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[victim.id(), block, BLOCK], 0);
        }
        watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[victim.id(), 0, (1 << 40) - PAGE], 0);
    });
    // A dead one's can be had.
    let before = balance();
    let vm = setup().start();
    vm.set_hook(|_, _, _, _| 1);
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    let image = vm.blocks()[0];
    assert_refused(Access::Read, image);
    assert_eq!(clear(vm.id(), 0, image), 0);
    assert_eq!(owner(image), vm.id(), "it is not in the range");
    assert_eq!(clear(vm.id(), image, BLOCK), 0);
    assert_scrubbed(image);
    assert_eq!(clear(vm.id(), 0, (1 << 40) - PAGE), 0);
    vm.blocks().into_iter().for_each(assert_scrubbed);
    assert_eq!(stat(id::VM_PAGES), before.0[3]);
    assert_eq!(host(n::VCPU_RUN, &[vm.id(), 0]), DENIED);
    destroy(vm);
    assert_eq!(balance(), before);
}

/// The last page of RAM, the first that can be had, and those on both sides of 4 GiB, if there are any.
pub fn a19_edges_of_memory() {
    const FOUR_GIB: u64 = 4 << 30;
    let end = memory::all().last().expect("RAM") + BLOCK;
    let start = memory::all().next().expect("RAM");
    let edges = [end - PAGE, start, FOUR_GIB - PAGE, FOUR_GIB, end - BLOCK];
    let is_free = |page: u64| memory::all().any(|block| page & !(BLOCK - 1) == block);
    let mut pages = edges.into_iter().filter(|&page| is_free(page));
    let there = pages.clone().count();
    assert!(there == 3 || end > FOUR_GIB && there == 5, "{there}");
    while let Some(first) = pages.next() {
        let others = [pages.next(), pages.next()];
        let chosen = [Some(first), others[0], others[1]];
        let taken = chosen.map(|page| page.is_some_and(|page| memory::take_these_blocks([page & !(BLOCK - 1)])));
        with_young_victim(|vm| {
            assert_eq!(stumble(vm), SMALL_PAGES);
            for (i, page) in (0..SMALL).zip(chosen.into_iter().flatten()) {
                (page..page + PAGE).step_by(8).for_each(|at| memory::write(at, at));
                assert!(matches!(offer(vm, SMALL_PAGES + i * PAGE, page, 3), Ok(Exit::Fault { .. })), "{page:#x}");
                assert_eq!(owner(page), vm.id());
            }
        });
        for page in chosen.into_iter().flatten() {
            assert!((page..page + PAGE).step_by(8).all(|at| memory::read(at) == 0), "{page:#x}");
        }
        for (page, taken) in chosen.into_iter().flatten().zip(taken) {
            if taken {
                memory::return_block(page & !(BLOCK - 1));
            }
        }
    }
    const { assert!(LARGE == 1) };
}
