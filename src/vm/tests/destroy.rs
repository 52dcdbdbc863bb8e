// SPDX-License-Identifier: GPL-2.0-only
//! The end of a VM.

use super::{
    BLOCK, GUEST, RUN_PAGE, add_image, assert_refused, boot, context, destroy, fill, info, page, register, run, stop,
    vcpu, verified, verify, vm,
};
use crate::abi::stat;
use crate::addr::{COREVISOR, HOSTVISOR, PAGE_SIZE, PMD_SIZE, Pa, Vmid};
use crate::lock::Held;
use crate::memory::Count;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::refused::Refused;
use crate::vcpu::ShadowContext;
use crate::vm::{Teardown, VmInfo, VmState};
use crate::world::{Core, ipa, pfn, record, snapshot, stat};
use std::vec::Vec;

/// Counters that a VM leaves as they were.
fn counters(core: &Core) -> Vec<u64> {
    [stat::VMS, stat::VM_PAGES, stat::VM_TABLE_PAGES].map(|counter| stat(core, counter)).into()
}

#[test]
fn all_that_a_vm_has_comes_back_scrubbed() {
    let core = boot();
    let before = counters(&core);
    for offset in (0..2 * PMD_SIZE).step_by(PAGE_SIZE as usize) {
        fill(&core, BLOCK + offset, 0xEE);
    }
    let v = verified(&core, 2 * PMD_SIZE);
    assert_eq!(counters(&core)[..2], [1, 1024]);
    core.grant_vm_page(v, pfn(BLOCK), &mut Held::nothing());
    core.map_page_host(ipa(BLOCK), &mut Held::nothing()).unwrap();
    core.machine().access(HOSTVISOR, ipa(BLOCK)).unwrap();
    core.machine().access(v, ipa(GUEST)).unwrap();
    context(&core, v, vcpu(0), |context| context.x[3] = 0x005E_C2E7);
    let left = destroy(&core, v);
    // The window, 512 pages a call, then the VM's pages.
    assert_eq!(left, [1024 + 512, 1024, 512, 0]);
    for offset in (0..2 * PMD_SIZE).step_by(PAGE_SIZE as usize) {
        let free = record(&core, BLOCK + offset);
        assert_eq!((free.owner(), free.count()), (Some(HOSTVISOR), Count::Shares(0)));
        assert_eq!(page(&core, pfn(BLOCK + offset)), [0; PAGE_SIZE as usize]);
    }
    assert_eq!(core.machine().cached(v), []);
    assert_eq!(core.machine().leaves(COREVISOR), []);
    assert!(core.root(v).is_none());
    assert_eq!(context(&core, v, vcpu(0), |context| context.clone()), ShadowContext::ZERO);
    assert_eq!(info(&core, v, |info| info.clone()), VmInfo::default());
    assert_eq!(record(&core, RUN_PAGE).count(), Count::Shares(0));
    // The tables of the window stay, for the next VM.
    let after = counters(&core);
    assert_eq!(after[..2], before[..2]);
    assert!(after[2] - before[2] <= 4, "{before:?} {after:?}");
    assert_refused(&core, Refused::NoTable(v), |core| core.destroy_vm(v, &mut Held::nothing()));
}

#[test]
fn a_vm_is_destroyed_in_every_state_but_while_it_runs() {
    for state in [VmState::Ready, VmState::Verified, VmState::Poweroff] {
        let core = boot();
        let v = verified(&core, PAGE_SIZE);
        run(&core, v, vcpu(0));
        info(&core, v, |info| info.state = state);
        assert_refused(&core, Refused::State(v), |core| core.destroy_vm(v, &mut Held::nothing()));
        stop(&core, v, vcpu(0));
        destroy(&core, v);
        assert_eq!(stat(&core, stat::VM_PAGES), 0);
    }
    let core = boot();
    assert_refused(&core, Refused::NoTable(vm(5)), |core| core.destroy_vm(vm(5), &mut Held::nothing()));
}

#[test]
fn an_incomplete_vm_is_destroyed_too() {
    let core = boot();
    let before = core.acquire_lock_core(&mut Held::nothing()).0.next_remap_ptr;
    let v = register(&core);
    let held = &mut Held::nothing();
    add_image(&core, v, GUEST, BLOCK, 3 * PAGE_SIZE);
    core.set_boot_info(v, ipa(GUEST + PMD_SIZE), 5 * PMD_SIZE, [0; 64], held).unwrap();
    core.remap_vm_image(v, pfn(BLOCK), 1, held).unwrap();
    assert_eq!(destroy(&core, v), [0]);
    assert_eq!(core.acquire_lock_core(held).0.next_remap_ptr, before);
    assert_eq!(core.machine().leaves(COREVISOR), []);
}

#[test]
fn pages_and_banks_of_a_vm_that_does_not_exist_come_back_and_its_id_stays_new() {
    let core = boot();
    let v = vm(4);
    crate::world::take(&core, BLOCK).unwrap();
    let taker = vm(crate::world::TAKER);
    assert_eq!(destroy(&core, taker), [0]);
    assert_eq!(record(&core, BLOCK).owner(), Some(HOSTVISOR));
    let (bank, smmu) = (ContextBank::new(3).unwrap(), SmmuIndex::new(0).unwrap());
    core.acquire_lock_smmu(&mut Held::nothing()).0.set_owner(smmu, bank, Some(v));
    assert_eq!(destroy(&core, v), [0]);
    assert!(!core.acquire_lock_smmu(&mut Held::nothing()).0.has(v));
    assert_eq!(register(&core), vm(1), "no id was given back that was not taken");
    assert_eq!(core.acquire_lock_core(&mut Held::nothing()).0.recycled, 0);
}

#[test]
fn devices_are_cut_off_before_a_page_comes_back() {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    let (bank, smmu) = (ContextBank::new(3).unwrap(), SmmuIndex::new(0).unwrap());
    core.el2_alloc_smmu_pgd(bank, v, smmu, held).unwrap();
    core.el2_arm_lpae_map(ipa(GUEST), Pa::new(BLOCK).unwrap(), 0xC0, bank, smmu, held).unwrap();
    assert_eq!(record(&core, BLOCK).owner(), Some(v));
    destroy(&core, v);
    assert!(!core.acquire_lock_smmu(held).0.has(v));
    assert_eq!((record(&core, BLOCK).owner(), record(&core, BLOCK).count()), (Some(HOSTVISOR), Count::Shares(0)));
}

#[test]
fn while_a_vm_is_being_destroyed_everything_else_is_refused() {
    let core = boot();
    let v = verified(&core, 2 * PMD_SIZE);
    let held = &mut Held::nothing();
    assert!(core.destroy_vm(v, held).unwrap() > 0);
    let (bank, smmu) = (ContextBank::new(3).unwrap(), SmmuIndex::new(0).unwrap());
    type Call = fn(&Core, Vmid) -> Result<(), Refused>;
    let calls: [Call; 6] = [
        |core, v| core.register_vcpu(v, vcpu(5), pfn(RUN_PAGE), &mut Held::nothing()),
        |core, v| core.set_boot_info(v, ipa(GUEST), 1, [0; 64], &mut Held::nothing()).map(|_| ()),
        |core, v| core.remap_vm_image(v, pfn(BLOCK), 0, &mut Held::nothing()),
        |core, v| core.verify_and_load_images(v, &mut Held::nothing()).map(|_| ()),
        |core, v| core.set_vcpu_active(v, vcpu(0), &mut Held::nothing()).map(|_| ()),
        |core, v| core.map_io(v, ipa(GUEST), Pa::new(0x0900_0000).unwrap(), &mut Held::nothing()),
    ];
    for call in calls {
        assert_refused(&core, Refused::State(v), |core| call(core, v));
    }
    assert!(core.el2_alloc_smmu_pgd(bank, v, smmu, held).is_err());
    // Another CPU that comes while the first takes the VM apart has nothing to do.
    let saved = info(&core, v, |info| info.destroying.replace(Teardown { recycle: true, next: None }));
    assert_refused(&core, Refused::State(v), |core| core.destroy_vm(v, &mut Held::nothing()));
    info(&core, v, |info| info.destroying = saved);
    destroy(&core, v);
}

#[test]
fn a_new_vm_has_nothing_of_the_old_one_with_its_id() {
    let core = boot();
    let mut before = None;
    for cycle in 0..200u64 {
        let v = verified(&core, if cycle % 20 == 0 { PMD_SIZE } else { PAGE_SIZE });
        assert_eq!(v, vm(if cycle < 15 { cycle + 1 } else { 1 }), "the lowest of the ids that are free");
        assert_eq!(core.machine().leaves(v).len(), 1);
        destroy(&core, v);
        if cycle == 15 {
            before = Some((counters(&core), snapshot(&core)));
        }
        if let Some((counters_before, _)) = &before {
            assert_eq!(&counters(&core), counters_before, "cycle {cycle}");
        }
    }
    assert_eq!(Some(snapshot(&core)), before.map(|(_, snapshot)| snapshot));
}

#[test]
fn two_vms_do_not_mind_that_a_third_is_destroyed() {
    let core = boot();
    let vms: Vec<_> = (0..3).map(|_| register(&core)).collect();
    for (i, &v) in vms.iter().enumerate() {
        add_image(&core, v, GUEST, BLOCK + i as u64 * PMD_SIZE, PAGE_SIZE);
        verify(&core, v);
    }
    destroy(&core, vms[1]);
    for (i, &v) in vms.iter().enumerate().filter(|(i, _)| *i != 1) {
        let leaf = core.machine().access(v, ipa(GUEST)).unwrap();
        assert_eq!(leaf.pa(ipa(GUEST)), BLOCK + i as u64 * PMD_SIZE);
        assert_eq!(record(&core, BLOCK + i as u64 * PMD_SIZE).owner(), Some(v));
    }
    assert_eq!(core.machine().leaves(COREVISOR).len(), 2);
    let v = register(&core);
    assert_eq!(core.set_boot_info(v, ipa(GUEST), PAGE_SIZE, [0; 64], &mut Held::nothing()), Ok(0));
}

#[test]
fn an_smmu_that_does_not_answer_holds_up_the_destruction_and_no_more() {
    let core = boot();
    let held = &mut Held::nothing();
    let (bank, smmu) = (ContextBank::new(3).unwrap(), SmmuIndex::new(0).unwrap());
    let v = register(&core);
    for (v, state) in [(v, VmState::Poweroff), (vm(7), VmState::Unused)] {
        core.el2_alloc_smmu_pgd(bank, v, smmu, held).unwrap();
        core.machine().stick_smmu(smmu, true);
        assert!(core.destroy_vm(v, held).is_err());
        assert_eq!(info(&core, v, |info| (info.state, info.destroying)), (state, None));
        assert!(core.acquire_lock_smmu(held).0.has(v));
        core.machine().stick_smmu(smmu, false);
        assert_eq!(destroy(&core, v), [0]);
    }
    assert_eq!(core.acquire_lock_core(held).0.recycled, 1 << v.index());
}
