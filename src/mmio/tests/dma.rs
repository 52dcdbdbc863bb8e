// SPDX-License-Identifier: GPL-2.0-only
//! What devices reach, and how that counts.

use super::*;
use crate::addr::{COREVISOR, Gfn};
use crate::machine::sim::Fault;
use crate::memory::{HOST_GFN_OFFSET, MAX_DMA_MAPS};
use crate::mmio::smmu_init_pte;
use crate::npt::{Desc, PAGE_S2_KERNEL};

fn pte(address: u64) -> Desc {
    smmu_init_pte(PROT, pa(address)).unwrap()
}

fn gfn(address: u64) -> Gfn {
    ipa(address).frame()
}

const HOST_GFN: u64 = PAGE / PAGE_SIZE + HOST_GFN_OFFSET;

// Tests: MH-2, IO-5, IO-7, BO-11, BO-12, MM-9, MM-10, SO-3, SO-4
#[test]
fn each_mapping_of_a_page_of_the_host_counts_once() {
    // D-09, D-10
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(1), bank(3), HOSTVISOR);
    let places: Vec<_> =
        (0..u64::from(MAX_DMA_MAPS)).map(|i| (k(i % 2), bank(3 * (i % 2)), i * 0x20_1000_0000 % (1 << 40))).collect();
    for (n, &(k, b, iova)) in (1..).zip(&places) {
        map(&core, k, b, iova, PAGE).unwrap();
        assert_eq!(record(&core, PAGE), (Some(HOSTVISOR), Count::Shares(n), Some(HOST_GFN)));
        assert_eq!(reached(&core, k, b, iova), Some(PAGE));
        let leaf = core.machine().dma_access(k, b, ipa(iova)).unwrap();
        assert_eq!((leaf.descriptor, leaf.size), (PAGE | PTE, PAGE_SIZE));
        // The same again.
        map(&core, k, b, iova, PAGE).unwrap();
        assert_eq!(count(&core, PAGE), Count::Shares(n));
    }
    assert_refused(&core, Refused::Busy(pfn(PAGE)), |h| {
        core.el2_arm_lpae_map(ipa(1 << 39 | 1 << 12), pa(PAGE), PROT, bank(0), k(0), h)
    });
    let (k0, b0, iova0) = places[0];
    map(&core, k0, b0, iova0, PAGE).unwrap();
    assert_eq!(count(&core, PAGE), Count::Shares(MAX_DMA_MAPS));
    for (left, &(k, b, iova)) in (0..MAX_DMA_MAPS).rev().zip(&places) {
        clear(&core, k, b, iova).unwrap();
        assert_eq!(count(&core, PAGE), Count::Shares(left));
        assert_eq!(reached(&core, k, b, iova), None);
        let before = everything(&core);
        clear(&core, k, b, iova).unwrap();
        assert_eq!(everything(&core), before, "cleared twice");
    }
    free(&core, k(0), bank(0)).unwrap();
    free(&core, k(1), bank(3)).unwrap();
}

// Tests: MM-9, SO-3, MH-2
#[test]
fn a_mapping_is_not_replaced_by_another() {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), vm(1));
    let other = PAGE + PAGE_SIZE;
    map(&core, k(0), bank(0), 0, PAGE).unwrap();
    map(&core, k(0), bank(1), PAGE, PAGE + MIB).unwrap();
    let why = Refused::Busy(pfn(PAGE));
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(other), PROT, bank(0), k(0), h));
    let read_only = PROT & !DescBits::WRITE.bits();
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(PAGE), read_only, bank(0), k(0), h));
    // The page of the host does not become the VM's, because it could not be mapped.
    let why = Refused::Busy(pfn(PAGE + MIB));
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(PAGE), pa(other), PROT, bank(1), k(0), h));
    // What the layers below say of a leaf that is there.
    assert_refused(&core, Refused::Busy(pfn(PAGE)), |h| core.map_spt(bank(0), k(0), ipa(0), pte(other), h));
}

// Tests: MH-2, IO-4, IO-5, IO-7, BO-10, BO-11, BO-12, MM-8, MM-9, MM-10
#[test]
fn a_page_for_a_vms_device_leaves_the_host() {
    let core = world().boot();
    let (k, b, v) = (k(0), bank(5), vm(2));
    alloc(&core, k, b, v);
    let iova = 0x12_3456_7000;
    core.machine().access(HOSTVISOR, ipa(PAGE)).unwrap(); // in the TLB
    map(&core, k, b, iova, PAGE).unwrap();
    assert_eq!(record(&core, PAGE), (Some(v), Count::DmaPending, Some(iova / PAGE_SIZE)));
    assert_eq!(reached(&core, k, b, iova), Some(PAGE));
    assert!(core.machine().access(HOSTVISOR, ipa(PAGE)).is_err());
    assert_eq!(core.map_page_host(ipa(PAGE), &mut Held::nothing()), Err(Refused::NotHostPage(pfn(PAGE)))); // D-01
    // Again, and in another way: nothing changes.
    let before = everything(&core);
    map(&core, k, b, iova, PAGE).unwrap();
    core.smmu_assign_page(b, k, pfn(PAGE), gfn(0), &mut Held::nothing()).unwrap();
    core.smmu_map_page(b, k, ipa(iova), pte(PAGE), &mut Held::nothing()).unwrap();
    assert_eq!(everything(&core), before);
    // At another place of the VM it is not (I9).
    let why = Refused::NotVmPage(pfn(PAGE));
    assert_refused(&core, why, |h| core.smmu_map_page(b, k, ipa(iova + PAGE_SIZE), pte(PAGE), h));
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(iova + PAGE_SIZE), pa(PAGE), PROT, b, k, h));
    // The mapping goes, the page stays the VM's.
    clear(&core, k, b, iova).unwrap();
    assert_eq!(reached(&core, k, b, iova), None);
    assert_eq!(record(&core, PAGE), (Some(v), Count::DmaPending, Some(iova / PAGE_SIZE)));
    // In two calls.
    let other = PAGE + PAGE_SIZE;
    core.smmu_assign_page(b, k, pfn(other), gfn(iova), &mut Held::nothing()).unwrap();
    assert_eq!(record(&core, other), (Some(v), Count::DmaPending, Some(iova / PAGE_SIZE)));
    assert_eq!(reached(&core, k, b, iova), None);
    core.smmu_map_page(b, k, ipa(iova), pte(other), &mut Held::nothing()).unwrap();
    assert_eq!(reached(&core, k, b, iova), Some(other));
}

// Tests: MM-8, MM-9, MH-2, IO-4, IO-5
#[test]
fn only_pages_of_the_owner_are_reached() {
    let core = world().boot();
    let v = vm(2);
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), v);
    let corevisors = world().carve_out().start;
    let host = Some(HOST_GFN);
    let not_host = Refused::NotHostPage(pfn(PAGE));
    for (owner, count, gfn, for_host, for_vm) in [
        (HOSTVISOR, Count::Shares(1), host, None, Some(Refused::Busy(pfn(PAGE)))),
        (vm(1), Count::Shares(0), Some(0), Some(not_host), Some(not_host)),
        (vm(1), Count::Shares(3), Some(0), Some(not_host), Some(not_host)),
        (vm(1), Count::DmaPending, Some(0), Some(not_host), Some(not_host)),
        (v, Count::Shares(0), Some(0), Some(not_host), None),
        (v, Count::Shares(0), Some(1), Some(not_host), Some(Refused::NotVmPage(pfn(PAGE)))),
        (v, Count::Shares(0), None, Some(not_host), Some(Refused::NotVmPage(pfn(PAGE)))),
        (COREVISOR, Count::Shares(0), Some(0), Some(not_host), Some(not_host)),
        (COREVISOR, Count::DmaPending, None, Some(not_host), Some(not_host)),
    ] {
        set_record(&core, PAGE, S2Page::new(owner, count, gfn));
        for (b, why) in [(bank(0), for_host), (bank(1), for_vm)] {
            match why {
                Some(why) => assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(PAGE), PROT, b, k(0), h)),
                None => {
                    map(&core, k(0), b, 0, PAGE).unwrap();
                    assert_eq!(reached(&core, k(0), b, 0), Some(PAGE));
                    clear(&core, k(0), b, 0).unwrap();
                    assert_eq!(record(&core, PAGE), (Some(owner), count, gfn), "{owner}");
                }
            }
        }
    }
    for no_ram in [0, 0x0900_0000, WINDOWS[0], GIB - PAGE_SIZE, 2 * GIB] {
        let why = Refused::NotHostPage(pfn(no_ram));
        for b in [bank(0), bank(1)] {
            assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(no_ram), PROT, b, k(0), h));
        }
    }
    // The layers alone: a page of Corevisor, for whoever.
    for owner in [HOSTVISOR, v, COREVISOR] {
        let leaf = pte(corevisors);
        let mut nothing = Held::nothing();
        let done = core.update_smmu_page(owner, bank(0), k(0), ipa(corevisors), leaf, &mut nothing);
        assert!(done.is_err(), "{owner}");
    }
    assert_refused(&core, Refused::NotHostPage(pfn(corevisors)), |h| {
        core.assign_pfn_to_smmu(v, gfn(0), pfn(corevisors), h)
    });
    assert_eq!(core.assign_smmu(HOSTVISOR, pfn(corevisors), gfn(0), &mut Held::nothing()), Ok(()), "nothing");
}

// Tests: BO-10, BO-11, BO-12, IO-4, IO-5, IO-7, MH-2
#[test]
fn what_a_verified_vms_devices_reach_stays_as_it_is() {
    let core = world().boot();
    let (k, b, v) = (k(0), bank(1), vm(2));
    alloc(&core, k, b, v);
    map(&core, k, b, PAGE, PAGE).unwrap();
    let (why, other) = (Refused::State(v), PAGE + PAGE_SIZE);
    let all_refused = || {
        assert_refused(&core, why, |h| core.smmu_assign_page(b, k, pfn(other), gfn(other), h)); // D-12
        assert_refused(&core, why, |h| core.smmu_map_page(b, k, ipa(other), pte(PAGE), h));
        assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(other), pa(other), PROT, b, k, h));
        assert_refused(&core, why, |h| core.el2_arm_lpae_clear(ipa(PAGE), b, k, h)); // D-14
    };
    set_state(&core, v, VmState::Verified);
    all_refused();
    set_state(&core, v, VmState::Poweroff);
    core.acquire_lock_vm(v, &mut Held::nothing()).0.destroying =
        Some(crate::vm::Teardown { recycle: true, next: Some(7) });
    all_refused();
    core.acquire_lock_vm(v, &mut Held::nothing()).0.destroying = None;
    // Powered off, it may have left secrets behind.
    assert_refused(&core, why, |h| core.smmu_assign_page(b, k, pfn(other), gfn(other), h));
    assert_refused(&core, why, |h| core.smmu_map_page(b, k, ipa(other), pte(PAGE), h));
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(other), pa(other), PROT, b, k, h));
    assert_eq!(reached(&core, k, b, PAGE), Some(PAGE));
    // But it can be cleaned up (D-14).
    clear(&core, k, b, PAGE).unwrap();
    assert_eq!(reached(&core, k, b, PAGE), None);
}

// Tests: IO-4, IO-5, IO-6, IO-7, MH-2, SO-2, SO-4
#[test]
fn nothing_happens_to_a_free_bank() {
    let core = world().boot();
    let (k, b, iova) = (k(1), bank(2), PAGE + 0x123);
    let before = everything(&core);
    let mut nothing = Held::nothing();
    core.smmu_assign_page(b, k, pfn(PAGE), gfn(PAGE), &mut nothing).unwrap();
    core.smmu_map_page(b, k, ipa(PAGE), pte(PAGE), &mut nothing).unwrap();
    core.el2_arm_lpae_map(ipa(PAGE), pa(PAGE), PROT, b, k, &mut nothing).unwrap();
    core.el2_arm_lpae_clear(ipa(PAGE), b, k, &mut nothing).unwrap();
    assert_eq!(core.el2_arm_lpae_iova_to_phys(ipa(iova), b, k, &mut nothing), Ok(0x123));
    assert_eq!(core.unmap_spt(b, k, ipa(PAGE), &mut nothing), Ok(Desc::NONE));
    assert_eq!(core.map_spt(b, k, ipa(PAGE), pte(PAGE), &mut nothing), Err(Refused::Bank));
    assert_eq!(everything(&core), before);
}

// Tests: IO-6, SO-2, SS-2
#[test]
fn a_lookup_gives_the_address_or_the_offset() {
    // D-62
    let core = world().boot();
    alloc(&core, k(0), bank(0), vm(1));
    map(&core, k(0), bank(0), PAGE, PAGE).unwrap();
    let look_up = |iova| core.el2_arm_lpae_iova_to_phys(ipa(iova), bank(0), k(0), &mut Held::nothing());
    assert_eq!(look_up(PAGE + 0xABC), Ok(PAGE + 0xABC));
    assert_eq!(look_up(PAGE + 0x1ABC), Ok(0xABC));
    assert_eq!(look_up((1 << 40) - 1), Ok(0xFFF));
    assert_eq!(look_up(1 << 40), Err(Refused::OutOfReach));
}

// Tests: MH-2, IO-5, IO-7, MM-9, MM-10
#[test]
fn io_addresses_have_40_bits() {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), vm(1));
    let high = ipa(1 << 40);
    for b in [bank(0), bank(1)] {
        assert_refused(&core, Refused::OutOfReach, |h| core.el2_arm_lpae_map(high, pa(PAGE), PROT, b, k(0), h));
        assert_refused(&core, Refused::OutOfReach, |h| core.el2_arm_lpae_clear(high, b, k(0), h));
    }
    assert_refused(&core, Refused::OutOfReach, |h| core.smmu_map_page(bank(0), k(0), high, pte(PAGE), h));
}

// Tests: MH-2, SO-4, MM-10
#[test]
fn no_device_uses_a_mapping_that_is_gone() {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), HOSTVISOR);
    core.machine().watch_dma(k(0), bank(0), ipa(0));
    map(&core, k(0), bank(0), 0, PAGE).unwrap();
    // Another bank of the same owner: another table, and nothing of it in this one.
    map(&core, k(0), bank(1), 0, PAGE + PAGE_SIZE).unwrap();
    assert_eq!(reached(&core, k(0), bank(1), 0), Some(PAGE + PAGE_SIZE));
    assert_eq!(core.machine().cached_dma(k(0)), 2);
    clear(&core, k(0), bank(0), 0).unwrap();
    assert_eq!(core.machine().dma_access(k(0), bank(0), ipa(0)), Err(Fault::Translation(3)));
    assert_eq!(reached(&core, k(0), bank(1), 0), Some(PAGE + PAGE_SIZE));
    map(&core, k(0), bank(0), 0, PAGE + MIB).unwrap();
    assert_eq!(reached(&core, k(0), bank(0), 0), Some(PAGE + MIB));
    // The page is the host's to give again.
    set_state(&core, vm(1), VmState::Ready);
    core.assign_pfn_to_smmu(vm(1), gfn(0), pfn(PAGE), &mut Held::nothing()).unwrap();
}

// Tests: SO-4, MM-10, IO-7
#[test]
fn a_mapping_whose_end_the_smmu_does_not_confirm_stays() {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    map(&core, k(0), bank(0), 0, PAGE).unwrap();
    core.machine().stick_smmu(k(0), true);
    assert_refused(&core, Refused::SmmuStuck, |h| core.el2_arm_lpae_clear(ipa(0), bank(0), k(0), h));
    assert_eq!((reached(&core, k(0), bank(0), 0), count(&core, PAGE)), (Some(PAGE), Count::Shares(1)));
    core.machine().stick_smmu(k(0), false);
    clear(&core, k(0), bank(0), 0).unwrap();
    assert_eq!((reached(&core, k(0), bank(0), 0), count(&core, PAGE)), (None, Count::Shares(0)));
}

// Tests: IR-2, MH-2
#[test]
fn the_host_chooses_permissions_and_memory_attributes_only() {
    // D-61
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    let ours = 0x703;
    for attributes in 0..16 {
        for access in 0..4 {
            for xn in [0, 1 << 54] {
                let prot = attributes << 2 | access << 6 | xn;
                let done = smmu_init_pte(prot, pa(PAGE));
                match attributes {
                    0b0100 | 0b1000 | 0b1100 => assert_eq!(done, Err(Refused::Argument(3))),
                    _ => assert_eq!(done.unwrap().as_u64(), PAGE | prot | ours),
                }
            }
        }
    }
    assert_eq!(smmu_init_pte(PAGE_S2_KERNEL, pa(PAGE)).unwrap().as_u64(), PAGE | PAGE_S2_KERNEL);
    for bit in (11..64).filter(|&bit| bit != 54) {
        let prot = PROT | 1 << bit;
        let why = Refused::Argument(3);
        assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(PAGE), prot, bank(0), k(0), h));
    }
    for address in [PAGE + 1, PAGE + 0x800, 1 << 40] {
        let why = Refused::Argument(2);
        assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(0), pa(address), PROT, bank(0), k(0), h));
    }
}

// Tests: SA-1, SA-2, SW-1, SW-2, SW-3, SW-4, SS-3, LK-2, LK-8
#[test]
fn without_table_pages_nothing_changes() {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), vm(1));
    map(&core, k(0), bank(0), 0, PAGE).unwrap();
    let mut taken: Vec<_> = {
        let mut nothing = Held::nothing();
        let (mut frames, _) = core.frames().lock(&mut nothing);
        core::iter::from_fn(|| frames.allocate_for(COREVISOR, 1)).collect()
    };
    let mut give_back = || {
        let mut nothing = Held::nothing();
        let (mut frames, _) = core.frames().lock(&mut nothing);
        // SAFETY: taken above, and in no table.
        unsafe { frames.release_for(COREVISOR, taken.pop().unwrap(), 1) };
    };
    let why = Refused::NoTables(COREVISOR);
    let new_gigabyte = |h: &mut Held<'_, 0>| core.el2_arm_lpae_map(ipa(GIB), pa(PAGE), PROT, bank(0), k(0), h);
    let for_vm = |h: &mut Held<'_, 0>| core.el2_arm_lpae_map(ipa(GIB), pa(PAGE + MIB), PROT, bank(1), k(0), h);
    assert_refused(&core, why, new_gigabyte);
    assert_refused(&core, why, for_vm);
    assert_refused(&core, why, |h| core.el2_arm_lpae_map(ipa(2 * MIB), pa(PAGE), PROT, bank(0), k(0), h));
    map(&core, k(0), bank(0), PAGE_SIZE, PAGE).unwrap();
    give_back();
    // One page is not enough for two tables, and is not lost.
    assert_refused(&core, why, new_gigabyte);
    assert_refused(&core, why, for_vm);
    give_back();
    for_vm(&mut Held::nothing()).unwrap();
    assert_eq!(reached(&core, k(0), bank(1), GIB), Some(PAGE + MIB));
    assert_eq!(everything(&core).frames, 0);
}
