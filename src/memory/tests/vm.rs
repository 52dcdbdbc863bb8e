// SPDX-License-Identifier: GPL-2.0-only
//! Pages of VMs: MM-2 to MM-7, row by row.

use super::{PAGE, touch};
use crate::addr::{COREVISOR, Gfn, HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Vmid};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::memory::{Count, HOST_GFN_OFFSET, S2Page};
use crate::mmio::SmmuConfig;
use crate::npt::{Level, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{Core, GIB, MIB, World, ipa, pa, pfn, range, record, set_record, snapshot, vm};
use std::vec;

/// Where the VM has [`PAGE`].
const AT: u64 = 0x8000_5000;

fn gfn(address: u64) -> Gfn {
    ipa(address).frame()
}

fn assign(core: &Core, v: Vmid, at: u64, page: u64) -> Result<(), Refused> {
    let done = core.assign_pfn_to_vm(v, gfn(at), pfn(page), &mut Held::nothing());
    core.machine().check();
    done
}

fn clear(core: &Core, v: Vmid, page: u64) -> Result<(), Refused> {
    let done = core.clear_vm_page(v, pfn(page), &mut Held::nothing());
    core.machine().check();
    done
}

fn grant(core: &Core, v: Vmid, page: u64) {
    core.grant_vm_page(v, pfn(page), &mut Held::nothing());
    core.machine().check();
}

fn revoke(core: &Core, v: Vmid, page: u64) {
    core.revoke_vm_page(v, pfn(page), &mut Held::nothing()).unwrap();
    core.machine().check();
}

fn prot_and_map(core: &Core, v: Vmid, at: u64, page: u64, level: Level) {
    core.prot_and_map_vm_s2pt(v, ipa(at), pa(page), level, &mut Held::nothing()).unwrap();
    core.machine().check();
}

fn host_record(page: u64) -> S2Page {
    S2Page::new(HOSTVISOR, Count::Shares(0), Some(page / PAGE_SIZE + HOST_GFN_OFFSET))
}

// Tests: MM-3, NO-4
#[test]
fn whether_a_page_becomes_a_vms_follows_from_its_record() {
    let [v, w] = [1, 2].map(|id| Vmid::new_vm(id).unwrap());
    let (here, there) = (Some(AT / PAGE_SIZE), Some(AT / PAGE_SIZE + 1));
    let host = host_record(PAGE).gfn();
    let busy = Err(Refused::Busy(pfn(PAGE)));
    let elsewhere = Err(Refused::NotVmPage(pfn(PAGE)));
    let foreign = Err(Refused::NotHostPage(pfn(PAGE)));
    let rows = [
        (S2Page::new(HOSTVISOR, Count::Shares(0), host), Ok(Count::Shares(0))),
        (S2Page::new(HOSTVISOR, Count::Shares(1), host), busy),
        (S2Page::new(HOSTVISOR, Count::Shares(16), host), busy),
        (S2Page::new(HOSTVISOR, Count::DmaPending, host), busy),
        (S2Page::new(v, Count::Shares(0), here), Ok(Count::Shares(0))),
        (S2Page::new(v, Count::Shares(0), None), Ok(Count::Shares(0))),
        (S2Page::new(v, Count::Shares(3), here), Ok(Count::Shares(3))), // the grants stay
        (S2Page::new(v, Count::Shares(3), None), Ok(Count::Shares(3))),
        (S2Page::new(v, Count::DmaPending, here), Ok(Count::Shares(0))),
        (S2Page::new(v, Count::DmaPending, None), Ok(Count::Shares(0))),
        (S2Page::new(v, Count::Shares(0), there), elsewhere),
        (S2Page::new(v, Count::DmaPending, there), elsewhere),
        (S2Page::new(w, Count::Shares(0), here), foreign),
        (S2Page::new(w, Count::Shares(1), None), foreign),
        (S2Page::new(COREVISOR, Count::Shares(0), None), foreign),
    ];
    for (old, expected) in rows {
        let core = World::default().boot();
        vm(&core, 1, VmState::Verified);
        let reached = |core: &Core| core.machine().access(HOSTVISOR, ipa(PAGE)).is_ok();
        if old.owner() != Some(HOSTVISOR) {
            core.clear_pfn_host(pfn(PAGE), &mut Held::nothing()).unwrap();
        } else {
            assert!(reached(&core));
        }
        set_record(&core, PAGE, old);
        let before = snapshot(&core);
        assert_eq!(assign(&core, v, AT, PAGE), expected.map(|_| ()), "{old:?}");
        match expected {
            Ok(count) => {
                assert_eq!(record(&core, PAGE), S2Page::new(v, count, here), "{old:?}");
                assert!(!reached(&core), "{old:?}");
                assert_eq!(core.machine().take_cleaned(pfn(PAGE)), old.owner() == Some(HOSTVISOR), "AM-15: {old:?}");
            }
            Err(_) => assert_eq!(snapshot(&core), before, "{old:?}"),
        }
    }
}

// Tests: MM-3
#[test]
fn no_vm_gets_what_is_no_ram_or_corevisors() {
    let world = World { no_map: vec![range(GIB + 8 * MIB, 0x1000)], ..World::default() };
    let core = world.boot();
    let v = vm(&core, 1, VmState::Verified);
    let before = snapshot(&core);
    for page in [0, 0x0900_0000, GIB + 8 * MIB, 2 * GIB, world.carve_out().start] {
        assert_eq!(assign(&core, v, AT, page), Err(Refused::NotHostPage(pfn(page))));
    }
    assert_eq!(snapshot(&core), before);
}

// Tests: MM-2, MM-3, MM-4, MM-5, MM-6, MM-7
#[test]
fn host_and_corevisor_are_no_vms() {
    let core = World::default().boot();
    let before = snapshot(&core);
    let mut nothing = Held::nothing();
    for v in [HOSTVISOR, COREVISOR] {
        let refused = Err(Refused::Argument(1));
        for page in [PAGE, World::default().carve_out().start] {
            assert_eq!(clear(&core, v, page), refused);
            assert_eq!(assign(&core, v, AT, page), refused);
            assert_eq!(core.map_pfn_vm(v, ipa(AT), pa(page), Level::L3, &mut nothing), refused);
            assert_eq!(core.map_vm_io(v, ipa(AT), pa(page), &mut nothing), refused);
            grant(&core, v, page);
            set_record(&core, PAGE, S2Page::new(HOSTVISOR, Count::Shares(1), host_record(PAGE).gfn()));
            revoke(&core, v, page);
            set_record(&core, PAGE, host_record(PAGE));
        }
    }
    assert_eq!(snapshot(&core), before);
}

// Tests: MM-2, NO-4
#[test]
fn a_page_goes_back_zeroed_and_out_of_every_table() {
    for shares in [0, 1, 100] {
        let core = World::default().boot();
        let v = vm(&core, 1, VmState::Verified);
        core.machine().watch(HOSTVISOR, ipa(PAGE));
        core.machine().watch(v, ipa(AT));
        prot_and_map(&core, v, AT, PAGE, Level::L3);
        core.machine().mem_store_ref(v, ipa(AT + 8), 0x5EC2).unwrap();
        for _ in 0..shares {
            grant(&core, v, PAGE);
        }
        if shares > 0 {
            touch(&core, PAGE).unwrap();
            assert_eq!(core.machine().mem_load_ref(HOSTVISOR, ipa(PAGE + 8)), Ok(0x5EC2), "shared");
        }
        clear(&core, v, PAGE).unwrap();
        assert_eq!(record(&core, PAGE), host_record(PAGE));
        // D-03: not in the host's table; D-82: nor in the VM's.
        assert_eq!(core.machine().access(HOSTVISOR, ipa(PAGE)), Err(Fault::Translation(3)));
        assert_eq!(core.machine().access(v, ipa(AT)), Err(Fault::Translation(3)));
        assert!(!core.machine().written_pages().contains(&pfn(PAGE)));
        touch(&core, PAGE).unwrap();
        assert_eq!(core.machine().mem_load_ref(HOSTVISOR, ipa(PAGE + 8)), Ok(0));
    }
}

// Tests: MM-2
#[test]
fn a_block_of_the_vm_goes_with_its_first_page() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    let (at, block) = (0x8020_0000, GIB + 16 * MIB);
    prot_and_map(&core, v, at, block, Level::L2);
    core.machine().watch(v, ipa(at));
    let invalidations = core.machine().invalidations();
    clear(&core, v, block + 0x3000).unwrap();
    assert!(core.machine().leaves(v).is_empty() && core.machine().cached(v).is_empty());
    assert_eq!(record(&core, block + 0x3000), host_record(block + 0x3000));
    assert_eq!(record(&core, block).owner(), Some(v), "the others are still the VM's");
    assert!(touch(&core, block).is_err());
    touch(&core, block + 0x3000).unwrap();
    for page in (block..block + PMD_SIZE).step_by(PAGE_SIZE as usize) {
        clear(&core, v, page).unwrap();
    }
    assert_eq!(core.machine().invalidations() - invalidations, 1, "nothing was left to take away");
    assert_eq!(record(&core, block + PMD_SIZE - PAGE_SIZE), host_record(block + PMD_SIZE - PAGE_SIZE));
}

// Tests: MM-2
#[test]
fn pages_that_the_vm_does_not_map_are_cleared_too() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Poweroff);
    let other = PAGE + PAGE_SIZE;
    prot_and_map(&core, v, AT, other, Level::L3);
    let records = [
        S2Page::new(v, Count::Shares(0), None),
        S2Page::new(v, Count::DmaPending, Some(5)),
        S2Page::new(v, Count::Shares(0), Some(AT / PAGE_SIZE)), // another page is there
        S2Page::new(v, Count::Shares(0), Some(1 << 36)),        // beyond the table's reach
        S2Page::new(v, Count::Shares(0), Some((1 << 36) - 1)),
    ];
    for old in records {
        core.clear_pfn_host(pfn(PAGE), &mut Held::nothing()).unwrap();
        set_record(&core, PAGE, old);
        clear(&core, v, PAGE).unwrap();
        assert_eq!(record(&core, PAGE), host_record(PAGE), "{old:?}");
        assert!(core.machine().walk(v, ipa(AT)).is_ok());
    }
    // Nor does it matter that the table is gone already.
    set_record(&core, PAGE, S2Page::new(v, Count::Shares(0), Some(AT / PAGE_SIZE)));
    core.free_npt(v, &mut Held::nothing()).unwrap();
    clear(&core, v, PAGE).unwrap();
    assert_eq!(record(&core, PAGE), host_record(PAGE));
}

// Tests: MM-2
#[test]
fn pages_of_others_are_not_cleared() {
    let core = World::default().boot();
    let [v, w] = [1, 2].map(|id| vm(&core, id, VmState::Poweroff));
    prot_and_map(&core, w, AT, PAGE, Level::L3);
    core.machine().mem_store_ref(w, ipa(AT), 7).unwrap();
    let before = snapshot(&core);
    for page in [PAGE, PAGE + PAGE_SIZE, 0, World::default().carve_out().start] {
        clear(&core, v, page).unwrap();
    }
    assert_eq!(snapshot(&core), before);
}

// Tests: MM-4
#[test]
fn a_vm_gets_ram_to_read_write_and_execute() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    let map = |at, page, level| core.map_pfn_vm(v, ipa(at), pa(page), level, &mut Held::nothing());
    map(AT + 0xFFF, PAGE + 0x123, Level::L3).unwrap();
    let leaf = core.machine().walk(v, ipa(AT)).unwrap();
    assert_eq!((leaf.size, leaf.descriptor), (PAGE_SIZE, PAGE | PAGE_S2_KERNEL));
    let (at, block) = (0x8020_0000, GIB + 16 * MIB);
    map(at, block, Level::L2).unwrap();
    let leaf = core.machine().walk(v, ipa(at)).unwrap();
    assert_eq!((leaf.size, leaf.descriptor), (PMD_SIZE, block | PAGE_S2_KERNEL & !0b10));
    let before = snapshot(&core);
    map(at, block, Level::L2).unwrap();
    let refused = [
        (at, block + PAGE_SIZE, Level::L2, Refused::Argument(3)), // D-20
        (at + PAGE_SIZE, block, Level::L2, Refused::Argument(2)),
        (at, block, Level::L1, Refused::Argument(4)),
        (at, block, Level::L0, Refused::Argument(4)),
        (at, block + PMD_SIZE, Level::L2, Refused::LevelConflict), // D-07
        (AT, PAGE + PAGE_SIZE, Level::L3, Refused::LevelConflict),
        (1 << 40, PAGE, Level::L3, Refused::OutOfReach),
    ];
    for (at, page, level, why) in refused {
        assert_eq!(map(at, page, level), Err(why), "{at:#x} {level:?}");
        assert_eq!(snapshot(&core), before, "{at:#x} {level:?}");
    }
    let absent = Vmid::new_vm(2).unwrap();
    let got = core.map_pfn_vm(absent, ipa(AT), pa(PAGE), Level::L3, &mut Held::nothing());
    assert_eq!(got, Err(Refused::NoTable(absent)));
    assert_eq!(snapshot(&core), before);
}

// Tests: MM-5
#[test]
fn a_vm_gets_devices_but_no_ram_and_no_registers_of_ours() {
    let (uart, smmu) = (0x0900_0000, 0x0905_0000);
    let world = World {
        withheld: vec![range(uart, 0x1000)],
        smmus: vec![SmmuConfig::new(range(smmu, 0x2_0000), 8)],
        no_map: vec![range(GIB + 8 * MIB, 0x1000)],
        ..World::default()
    };
    let core = world.boot();
    let v = vm(&core, 1, VmState::Ready);
    let map = |gpa: u64, page: u64| core.map_vm_io(v, ipa(gpa), pa(page), &mut Held::nothing());
    for (i, page) in [uart + 0x1000, smmu - PAGE_SIZE, smmu + 0x2_0000, GIB + 8 * MIB, 0].into_iter().enumerate() {
        let at = i as u64 * PAGE_SIZE;
        map(at + 0x10, page + 0x20).unwrap();
        map(at, page).unwrap();
        let leaf = core.machine().walk(v, ipa(at)).unwrap();
        assert_eq!((leaf.size, leaf.descriptor), (PAGE_SIZE, page | PAGE_S2_DEVICE | S2_RDWR));
    }
    let before = snapshot(&core);
    for page in [uart, uart + 0xFFF, smmu, smmu + 0x1_FFFF, 1 << 40] {
        assert_eq!(map(0x10_0000, page), Err(Refused::OutOfReach), "D-83: {page:#x}");
    }
    for page in [GIB, PAGE, world.carve_out().start] {
        assert_eq!(map(0x10_0000, page), Ok(()), "RAM: nothing happens");
    }
    assert_eq!(map(0, 0x0910_0000), Err(Refused::LevelConflict));
    assert_eq!(map(1 << 40, 0x0910_0000), Err(Refused::OutOfReach));
    assert_eq!(snapshot(&core), before);
    // The host gets no block over an SMMU's registers, either.
    touch(&core, smmu - PAGE_SIZE).unwrap();
    assert_eq!(core.machine().walk(HOSTVISOR, ipa(smmu - PAGE_SIZE)).unwrap().size, PAGE_SIZE);
    assert!(core.machine().walk(HOSTVISOR, ipa(smmu)).is_err());
}

// Tests: MM-6, MM-7, NW-4, NW-5
#[test]
fn grants_are_counted_and_the_last_revoke_ends_the_hosts_access() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    let count = || record(&core, PAGE).count();
    prot_and_map(&core, v, AT, PAGE, Level::L3);
    core.machine().watch(HOSTVISOR, ipa(PAGE));
    core.machine().take_cleaned(pfn(PAGE));
    assert!(touch(&core, PAGE).is_err());
    revoke(&core, v, PAGE);
    assert_eq!(count(), Count::Shares(0), "nothing to revoke");
    for n in 1..=100 {
        grant(&core, v, PAGE);
        assert_eq!(count(), Count::Shares(n));
    }
    grant(&core, v, PAGE);
    assert_eq!(count(), Count::Shares(100), "no more than that");
    touch(&core, PAGE).unwrap();
    core.machine().mem_store_ref(HOSTVISOR, ipa(PAGE), 5).unwrap();
    assert_eq!(core.machine().mem_load_ref(v, ipa(AT)), Ok(5));
    let nowhere = ipa(AT + PAGE_SIZE);
    assert_eq!(core.machine().mem_load_ref(v, nowhere), Err(Fault::Translation(3)));
    assert_eq!(core.machine().mem_store_ref(v, nowhere, 6), Err(Fault::Translation(3)));
    for n in (1..100).rev() {
        revoke(&core, v, PAGE);
        assert_eq!(count(), Count::Shares(n));
        assert!(core.machine().access(HOSTVISOR, ipa(PAGE)).is_ok());
        assert!(!core.machine().take_cleaned(pfn(PAGE)));
    }
    revoke(&core, v, PAGE);
    assert_eq!(count(), Count::Shares(0));
    assert_eq!(core.machine().access(HOSTVISOR, ipa(PAGE)), Err(Fault::Translation(3)));
    assert!(core.machine().take_cleaned(pfn(PAGE)), "AM-15");
    assert_eq!(core.machine().mem_load_ref(v, ipa(AT)), Ok(5), "the VM keeps it");
    assert!(touch(&core, PAGE).is_err());
}

// Tests: MM-6, MM-7
#[test]
fn what_is_not_the_vms_or_dma_pending_is_not_shared() {
    let core = World::default().boot();
    let [v, w] = [1, 2].map(|id| vm(&core, id, VmState::Verified));
    let host = host_record(PAGE).gfn();
    let records = [
        S2Page::new(v, Count::DmaPending, Some(5)), // D-11
        S2Page::new(w, Count::Shares(0), Some(5)),
        S2Page::new(w, Count::Shares(1), Some(5)),
        S2Page::new(HOSTVISOR, Count::Shares(0), host),
        S2Page::new(HOSTVISOR, Count::Shares(1), host),
        S2Page::new(COREVISOR, Count::Shares(1), None),
    ];
    for old in records {
        set_record(&core, PAGE, old);
        let before = snapshot(&core);
        grant(&core, v, PAGE);
        revoke(&core, v, PAGE);
        assert_eq!(snapshot(&core), before, "{old:?}");
    }
    let before = snapshot(&core);
    for page in [0, 2 * GIB] {
        grant(&core, v, page);
        revoke(&core, v, page);
    }
    assert_eq!(snapshot(&core), before, "no RAM");
}

// Tests: MM-1, MM-3, MM-6, MM-7
#[test]
fn two_cpus_share_and_touch_at_the_same_time() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    prot_and_map(&core, v, AT, PAGE, Level::L3);
    let at: Ipa = ipa(PAGE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            crate::machine::sim::set_cpu(1);
            for _ in 0..200 {
                let _ = touch(&core, PAGE);
            }
        });
        for _ in 0..200 {
            grant(&core, v, PAGE);
            revoke(&core, v, PAGE);
            assert!(core.machine().access(HOSTVISOR, at).is_err(), "private again");
        }
    });
    core.machine().check();
    assert_eq!(record(&core, PAGE), S2Page::new(v, Count::Shares(0), Some(AT / PAGE_SIZE)));
}
