// SPDX-License-Identifier: GPL-2.0-only
//! Context banks come and go.

use super::*;
use crate::addr::COREVISOR;
use crate::machine::sim::Fault;
use crate::mmio::registers::{self, S2CR_FAULT, S2CR_TYPE_SHIFT, SMR_VALID, gr0};
use crate::vm::VcpuState;

fn owner(core: &Core, k: SmmuIndex, b: ContextBank) -> Option<Vmid> {
    core.acquire_lock_smmu(&mut Held::nothing()).0.owner(k, b)
}

// Tests: IO-2, IO-3, BO-9, SO-1, SS-1, LK-6, LK-12
#[test]
fn a_bank_is_allocated_once_with_an_empty_table_and_freed() {
    let core = world().boot();
    let fresh = everything(&core).frames;
    for v in [HOSTVISOR, vm(1), vm(15)] {
        let (k, b) = (k(1), bank(3));
        assert_eq!(core.machine().dma_access(k, b, ipa(0)), Err(Fault::Bypass), "not in use");
        alloc(&core, k, b, v);
        assert_eq!(owner(&core, k, b), Some(v));
        assert!(core.acquire_lock_smmu(&mut Held::nothing()).0.has(v));
        for iova in [0, PAGE, (1 << 40) - PAGE_SIZE] {
            assert_eq!(core.machine().dma_access(k, b, ipa(iova)), Err(Fault::Translation(1)));
        }
        assert_eq!(everything(&core).frames, fresh - 2);
        // Given to somebody else while it is in use: nothing happens.
        let before = everything(&core);
        core.el2_alloc_smmu_pgd(b, HOSTVISOR, k, &mut Held::nothing()).unwrap();
        assert_eq!(everything(&core), before);
        set_state(&core, v, VmState::Poweroff);
        free(&core, k, b).unwrap();
        assert_eq!((owner(&core, k, b), everything(&core).frames), (None, fresh));
        assert!(!core.acquire_lock_smmu(&mut Held::nothing()).0.has(v));
        let before = everything(&core);
        free(&core, k, b).unwrap();
        assert_eq!(everything(&core), before, "a free bank");
    }
}

// Tests: IO-2, IO-3, IO-4, IO-5, IO-6, IO-7, MH-2
#[test]
fn banks_that_do_not_exist_are_refused() {
    let one = World { smmus: world().smmus[..1].to_vec(), ..World::default() }.boot();
    let two = world().boot();
    for (core, k, b) in [(&one, k(1), bank(0)), (&two, k(1), bank(4)), (&two, k(1), bank(7))] {
        // D-60, D-63
        assert_refused(core, Refused::Bank, |h| core.el2_alloc_smmu_pgd(b, HOSTVISOR, k, h));
        assert_refused(core, Refused::Bank, |h| core.el2_free_smmu_pgd(b, k, h));
        let pte = super::super::smmu_init_pte(PROT, pa(PAGE)).unwrap();
        assert_refused(core, Refused::Bank, |h| core.smmu_assign_page(b, k, pfn(PAGE), ipa(PAGE).frame(), h));
        assert_refused(core, Refused::Bank, |h| core.smmu_map_page(b, k, ipa(PAGE), pte, h));
        assert_refused(core, Refused::Bank, |h| core.el2_arm_lpae_iova_to_phys(ipa(PAGE), b, k, h));
        assert_refused(core, Refused::Bank, |h| core.el2_arm_lpae_clear(ipa(PAGE), b, k, h));
        assert_refused(core, Refused::Bank, |h| core.el2_arm_lpae_map(ipa(PAGE), pa(PAGE), PROT, b, k, h));
    }
    assert_eq!((SmmuIndex::new(2), ContextBank::new(8)), (None, None));
}

// Tests: IO-3, BO-9
#[test]
fn no_bank_for_a_vm_that_is_verified_or_dead() {
    let core = world().boot();
    let v = vm(3);
    for state in [VmState::Verified, VmState::Poweroff] {
        set_state(&core, v, state);
        assert_refused(&core, Refused::State(v), |h| core.el2_alloc_smmu_pgd(bank(0), v, k(0), h)); // D-13
        assert_refused(&core, Refused::State(v), |h| core.alloc_smmu(v, bank(0), k(0), h));
    }
    set_state(&core, v, VmState::Ready);
    core.acquire_lock_vm(v, &mut Held::nothing()).0.destroying =
        Some(crate::vm::Teardown { recycle: true, next: Some(0) });
    assert_refused(&core, Refused::State(v), |h| core.el2_alloc_smmu_pgd(bank(0), v, k(0), h));
    assert_refused(&core, Refused::Bank, |h| core.el2_alloc_smmu_pgd(bank(0), COREVISOR, k(0), h)); // I8
}

// Tests: IO-2
#[test]
fn a_bank_stays_with_a_vm_that_can_run_and_with_a_host_that_uses_it() {
    let core = world().boot();
    let v = vm(3);
    alloc(&core, k(0), bank(0), v);
    for state in [VmState::Ready, VmState::Verified, VmState::Unused] {
        set_state(&core, v, state);
        assert_refused(&core, Refused::State(v), |h| core.el2_free_smmu_pgd(bank(0), k(0), h));
    }
    set_state(&core, v, VmState::Poweroff);
    core.acquire_lock_vm(v, &mut Held::nothing()).0.vcpus[7].state = VcpuState::Active;
    assert_refused(&core, Refused::State(v), |h| core.el2_free_smmu_pgd(bank(0), k(0), h)); // D-75
    core.acquire_lock_vm(v, &mut Held::nothing()).0.vcpus[7].state = VcpuState::Ready;
    free(&core, k(0), bank(0)).unwrap();

    alloc(&core, k(0), bank(0), HOSTVISOR);
    map(&core, k(0), bank(0), 0, PAGE).unwrap();
    assert_refused(&core, Refused::Bank, |h| core.el2_free_smmu_pgd(bank(0), k(0), h)); // D-15
    assert_refused(&core, Refused::Bank, |h| core.alloc_smmu(HOSTVISOR, bank(0), k(0), h));
    clear(&core, k(0), bank(0), 0).unwrap();
    core.alloc_smmu(HOSTVISOR, bank(0), k(0), &mut Held::nothing()).unwrap();
    free(&core, k(0), bank(0)).unwrap();
    assert_eq!(count(&core, PAGE), Count::Shares(0));
}

// Tests: IO-2, IO-3
#[test]
fn a_freed_bank_is_out_of_every_devices_reach() {
    // D-68, G3
    let core = world().boot();
    let fresh = everything(&core);
    let (k, b, v) = (k(0), bank(2), vm(4));
    alloc(&core, k, b, v);
    let base = WINDOWS[0];
    // Stream 5 goes to the bank, stream 6 to another one of the host.
    alloc(&core, k, bank(0), HOSTVISOR);
    let machine = core.machine();
    let word = |register: u64, value: u64| machine_write(&core, base + register, value);
    word(gr0::SMR.start, SMR_VALID | 5);
    word(gr0::S2CR.start, 2);
    word(gr0::SMR.start + 4, SMR_VALID | 6);
    word(gr0::S2CR.start + 4, 0);
    map(&core, k, bank(0), PAGE_SIZE, PAGE).unwrap();
    for i in 0..3 {
        map(&core, k, b, PAGE + (i << 30), PAGE + 2 * MIB + i * PAGE_SIZE).unwrap();
        machine.watch_dma(k, b, ipa(PAGE + (i << 30)));
    }
    assert_eq!(machine.dma(k, 5, ipa(PAGE)), Some(PAGE + 2 * MIB));
    assert_eq!(machine.dma(k, 6, ipa(PAGE_SIZE)), Some(PAGE));
    set_state(&core, v, VmState::Poweroff);
    free(&core, k, b).unwrap();
    assert_eq!(machine.dma(k, 5, ipa(PAGE)), None);
    assert_eq!(machine.dma_access(k, b, ipa(PAGE)), Err(Fault::Bypass));
    assert_eq!(machine.register(base + gr0::S2CR.start) & 0xFFFF_FFFF, S2CR_FAULT << S2CR_TYPE_SHIFT);
    assert_eq!(machine.dma(k, 6, ipa(PAGE_SIZE)), Some(PAGE), "another bank's stream");
    // The next owner has nothing of it.
    alloc(&core, k, b, vm(5));
    assert_eq!(machine.dma(k, 5, ipa(PAGE)), None);
    assert_eq!(machine.dma_access(k, b, ipa(PAGE)), Err(Fault::Translation(1)));
    set_state(&core, vm(5), VmState::Poweroff);
    free(&core, k, b).unwrap();
    clear(&core, k, bank(0), PAGE_SIZE).unwrap();
    free(&core, k, bank(0)).unwrap();
    assert_eq!(machine.cached_dma(k), 0);
    let last = everything(&core);
    assert_eq!((last.frames, last.owners, last.tables), (fresh.frames, fresh.owners, fresh.tables));
}

/// What the platform or the host wrote to a register before.
fn machine_write(core: &Core, at: u64, value: u64) {
    use crate::machine::{Machine, Width};
    core.machine().mmio_write(pa(at), Width::Word, value);
}

#[test]
fn destruction_frees_all_banks_of_the_vm_and_no_other() {
    let core = world().boot();
    for (k, b, v) in [
        (k(0), bank(0), vm(1)),
        (k(0), bank(1), vm(2)),
        (k(0), bank(7), vm(1)),
        (k(1), bank(3), vm(1)),
        (k(1), bank(0), HOSTVISOR),
    ] {
        alloc(&core, k, b, v);
    }
    map(&core, k(1), bank(3), PAGE, PAGE).unwrap();
    core.free_banks_of(vm(1), &mut Held::nothing()).unwrap();
    let left: Vec<_> = [(0, 0), (0, 1), (0, 7), (1, 3), (1, 0)].map(|(i, b)| owner(&core, k(i), bank(b))).to_vec();
    assert_eq!(left, [None, Some(vm(2)), None, None, Some(HOSTVISOR)]);
    core.free_banks_of(vm(1), &mut Held::nothing()).unwrap();
}

// Tests: IO-2, IO-3
#[test]
fn an_smmu_that_does_not_answer_changes_no_owner() {
    let core = world().boot();
    core.machine().stick_smmu(k(0), true);
    let before = everything(&core);
    let alloc_stuck = core.el2_alloc_smmu_pgd(bank(1), HOSTVISOR, k(0), &mut Held::nothing());
    assert_eq!(alloc_stuck, Err(Refused::SmmuStuck));
    let after = everything(&core);
    assert_eq!((after.owners, after.tables, after.frames), (before.owners, before.tables, before.frames));
    core.machine().stick_smmu(k(0), false);
    alloc(&core, k(0), bank(1), vm(1));
    map(&core, k(0), bank(1), PAGE, PAGE).unwrap();
    core.machine().stick_smmu(k(0), true);
    set_state(&core, vm(1), VmState::Poweroff);
    assert_eq!(free(&core, k(0), bank(1)), Err(Refused::SmmuStuck));
    assert_eq!(core.free_banks_of(vm(1), &mut Held::nothing()), Err(Refused::SmmuStuck));
    assert_eq!(owner(&core, k(0), bank(1)), Some(vm(1)));
    assert_eq!(reached(&core, k(0), bank(1), PAGE), Some(PAGE), "it translates as long as it can be reached");
    core.machine().stick_smmu(k(0), false);
    free(&core, k(0), bank(1)).unwrap();
    assert_eq!(core.machine().dma_access(k(0), bank(1), ipa(PAGE)), Err(Fault::Bypass));
}

// Tests: IO-3, SO-1
#[test]
fn a_bank_without_table_pages_is_refused() {
    let core = world().boot();
    let taken: Vec<_> = {
        let mut nothing = Held::nothing();
        let (mut frames, _) = core.frames().lock(&mut nothing);
        core::iter::from_fn(|| frames.allocate_for(COREVISOR, 1)).collect()
    };
    assert!(!taken.is_empty());
    assert_refused(&core, Refused::NoTables(COREVISOR), |h| core.el2_alloc_smmu_pgd(bank(0), HOSTVISOR, k(0), h));
}

/// Without stream matching, a stream's id is its entry's number.
#[test]
fn streams_by_number_fault_too_when_their_bank_is_freed() {
    let core = world().boot();
    let idr0 = WINDOWS[0] + gr0::IDR0;
    machine_write(&core, idr0, 3 << registers::IDR0_NUMSIDB_SHIFT);
    alloc(&core, k(0), bank(0), HOSTVISOR);
    for entry in 0..9 {
        machine_write(&core, WINDOWS[0] + gr0::S2CR.start + 4 * entry, 0);
    }
    free(&core, k(0), bank(0)).unwrap();
    let s2cr = |entry: u64| {
        use crate::machine::{Machine, Width};
        core.machine().mmio_read(pa(WINDOWS[0] + gr0::S2CR.start + 4 * entry), Width::Word)
    };
    assert!((0..8).all(|entry| s2cr(entry) == S2CR_FAULT << S2CR_TYPE_SHIFT));
    assert_eq!(s2cr(8), 0, "no such entry");
}
