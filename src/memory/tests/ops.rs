// SPDX-License-Identifier: GPL-2.0-only
//! MemoryOps: ranges and blocks of pages.

use super::{PAGE, touch};
use crate::addr::{COREVISOR, HOSTVISOR, PAGE_SIZE, PMD_PAGES, PMD_SIZE, Vmid};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::memory::{Count, HOST_GFN_OFFSET, S2Page, SG_PAGES_PER_CALL, sg_pages};
use crate::npt::{Level, PAGE_S2_KERNEL};
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{Core, GIB, MIB, World, ipa, pa, pfn, range, record, set_record, snapshot, vm};
use std::vec;
use std::vec::Vec;

const AT: u64 = 0x8020_0000;
const BLOCK: u64 = GIB + 64 * MIB;

fn prot_and_map(core: &Core, v: Vmid, at: u64, page: u64, level: Level) -> Result<(), Refused> {
    let done = core.prot_and_map_vm_s2pt(v, ipa(at), pa(page), level, &mut Held::nothing());
    core.machine().check();
    done
}

fn pages(block: u64) -> impl Iterator<Item = u64> {
    (block..block + PMD_SIZE).step_by(PAGE_SIZE as usize)
}

/// A VM whose block at [`AT`] is [`BLOCK`].
fn with_block() -> (Core, Vmid) {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    prot_and_map(&core, v, AT, BLOCK, Level::L2).unwrap();
    (core, v)
}

fn host_record(page: u64) -> S2Page {
    S2Page::new(HOSTVISOR, Count::Shares(0), Some(page / PAGE_SIZE + HOST_GFN_OFFSET))
}

// Tests: MO-2, MM-3, MM-4, LK-3, LK-9
#[test]
fn a_block_is_taken_whole_in_one_section() {
    let core = World { ram: vec![range(GIB, 2 * GIB)], ..World::default() }.boot();
    let v = vm(&core, 1, VmState::Verified);
    for at in [BLOCK, BLOCK + 0x7000, BLOCK + PMD_SIZE] {
        core.machine().watch(HOSTVISOR, ipa(at));
    }
    let (sections, invalidations) = (core.s2page().times_taken(), core.machine().invalidations());
    prot_and_map(&core, v, AT, BLOCK, Level::L2).unwrap();
    assert_eq!(core.s2page().times_taken() - sections, 1);
    assert_eq!(core.machine().invalidations() - invalidations, 2, "1 GiB is split to 2 MiB, of which one goes");
    for (i, page) in (0..).zip(pages(BLOCK)) {
        assert_eq!(record(&core, page), S2Page::new(v, Count::Shares(0), Some(AT / PAGE_SIZE + i)));
        assert_eq!(core.machine().access(HOSTVISOR, ipa(page)), Err(Fault::Translation(2)));
        assert!(core.machine().take_cleaned(pfn(page)), "AM-15");
    }
    let leaves = core.machine().leaves(v);
    assert_eq!(leaves.len(), 1);
    assert_eq!((leaves[0].ipa, leaves[0].size), (AT, PMD_SIZE));
    assert_eq!(leaves[0].descriptor, BLOCK | PAGE_S2_KERNEL & !0b10);
    assert_eq!(record(&core, BLOCK - PAGE_SIZE).owner(), Some(HOSTVISOR));
    assert_eq!(record(&core, BLOCK + PMD_SIZE).owner(), Some(HOSTVISOR));
    // The same again changes nothing.
    let before = snapshot(&core);
    prot_and_map(&core, v, AT, BLOCK, Level::L2).unwrap();
    assert_eq!(snapshot(&core), before);
}

// Tests: MO-2
#[test]
fn a_page_is_taken_in_one_section() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    core.machine().watch(HOSTVISOR, ipa(PAGE));
    let sections = core.s2page().times_taken();
    prot_and_map(&core, v, AT + 0x3FFF, PAGE + 5, Level::L3).unwrap();
    assert_eq!(core.s2page().times_taken() - sections, 1);
    assert_eq!(record(&core, PAGE), S2Page::new(v, Count::Shares(0), Some(AT / PAGE_SIZE + 3)));
    assert_eq!(core.machine().access(HOSTVISOR, ipa(PAGE)), Err(Fault::Translation(3)));
    assert_eq!(core.machine().access(v, ipa(AT + 0x3008)).unwrap().pa(ipa(AT + 0x3008)), PAGE + 8);
}

// Tests: MO-2
#[test]
fn a_block_may_be_the_vms_in_parts() {
    for kept in [1, 511, 512] {
        let core = World::default().boot();
        let v = vm(&core, 1, VmState::Verified);
        for (i, page) in (0..).zip(pages(BLOCK).take(kept)) {
            core.clear_pfn_host(pfn(page), &mut Held::nothing()).unwrap();
            let (count, gfn) = match i {
                0 => (Count::DmaPending, Some(AT / PAGE_SIZE)),
                1 => (Count::Shares(2), None), // shared with the host, which has it mapped
                _ => (Count::Shares(0), Some(AT / PAGE_SIZE + i)),
            };
            set_record(&core, page, S2Page::new(v, count, gfn));
        }
        if kept > 1 {
            touch(&core, BLOCK + PAGE_SIZE).unwrap();
        }
        prot_and_map(&core, v, AT, BLOCK, Level::L2).unwrap();
        for (i, page) in (0..).zip(pages(BLOCK)) {
            let shares = if i == 1 && kept > 1 { 2 } else { 0 };
            let expected = S2Page::new(v, Count::Shares(shares), Some(AT / PAGE_SIZE + i));
            assert_eq!(record(&core, page), expected, "{kept} kept, page {i}");
            assert_eq!(core.machine().access(HOSTVISOR, ipa(page)).is_ok(), shares > 0, "{kept} kept, page {i}");
        }
        assert_eq!(core.machine().leaves(v).len(), 1);
    }
}

// Tests: MO-2
#[test]
fn a_block_with_one_page_that_may_not_be_taken_is_not_taken_at_all() {
    let [v, w] = [1, 2].map(|id| Vmid::new_vm(id).unwrap());
    for i in [0, 300, 511] {
        let page = BLOCK + i * PAGE_SIZE;
        let rows = [
            (S2Page::new(HOSTVISOR, Count::Shares(1), host_record(page).gfn()), Refused::Busy(pfn(page))),
            (S2Page::new(v, Count::Shares(0), Some(i + 1)), Refused::NotVmPage(pfn(page))),
            (S2Page::new(w, Count::Shares(0), Some(i)), Refused::NotHostPage(pfn(page))),
            (S2Page::new(COREVISOR, Count::Shares(0), None), Refused::NotHostPage(pfn(page))),
        ];
        for (old, why) in rows {
            let core = World::default().boot();
            vm(&core, 1, VmState::Verified);
            set_record(&core, page, old);
            let before = snapshot(&core);
            assert_eq!(prot_and_map(&core, v, 0, BLOCK, Level::L2), Err(why), "page {i}: {old:?}");
            assert_eq!(snapshot(&core), before, "page {i}: {old:?}");
        }
    }
}

// Tests: MO-2
#[test]
fn what_can_not_be_mapped_is_not_taken() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    prot_and_map(&core, v, 0, PAGE, Level::L3).unwrap();
    prot_and_map(&core, v, AT, BLOCK, Level::L2).unwrap();
    let before = snapshot(&core);
    let (page, block) = (PAGE + PAGE_SIZE, BLOCK + PMD_SIZE);
    let absent = Vmid::new_vm(2).unwrap();
    let refused = [
        (v, 0, page, Level::L3, Refused::LevelConflict),
        (v, 0, block, Level::L2, Refused::LevelConflict), // D-07
        (v, AT, block, Level::L2, Refused::LevelConflict),
        (v, AT + PAGE_SIZE, page, Level::L3, Refused::LevelConflict),
        (v, PMD_SIZE, block + PAGE_SIZE, Level::L2, Refused::Argument(3)), // D-20
        (v, PMD_SIZE + PAGE_SIZE, block, Level::L2, Refused::Argument(2)),
        (v, PMD_SIZE, block, Level::L1, Refused::Argument(4)),
        (v, PMD_SIZE, 0x0900_0000, Level::L3, Refused::NotHostPage(pfn(0x0900_0000))),
        (v, PMD_SIZE, 2 * GIB, Level::L2, Refused::NotHostPage(pfn(2 * GIB))),
        (v, 1 << 40, page, Level::L3, Refused::OutOfReach),
        (v, (1 << 48) - PMD_SIZE, block, Level::L2, Refused::OutOfReach),
        (absent, 0, page, Level::L3, Refused::NoTable(absent)),
        (HOSTVISOR, 0, page, Level::L3, Refused::Argument(1)),
        (COREVISOR, 0, page, Level::L3, Refused::Argument(1)),
    ];
    for (v, at, page, level, why) in refused {
        assert_eq!(prot_and_map(&core, v, at, page, level), Err(why), "{at:#x} {page:#x} {level:?}");
        assert_eq!(snapshot(&core), before, "{at:#x} {page:#x} {level:?}");
    }
    // No tables are left, and those that there are do not do.
    for level in [Level::L2, Level::L3] {
        let left = if level == Level::L2 { 0 } else { 1 };
        core.frames().lock(&mut Held::nothing()).0.set_vm_pages(left);
        let before = snapshot(&core);
        assert_eq!(prot_and_map(&core, v, 9 * GIB, block, level), Err(Refused::NoTables(v)));
        assert_eq!(snapshot(&core), before);
    }
}

// Tests: MO-1
#[test]
fn a_range_is_cleared_page_by_page() {
    let (core, v) = with_block();
    let before = snapshot(&core);
    let clear = |first: u64, num| core.clear_vm_range(v, pfn(first), num, &mut Held::nothing());
    clear(BLOCK, 0).unwrap();
    clear(BLOCK - 5 * PAGE_SIZE, 5).unwrap(); // the host's
    assert_eq!(clear((1 << 48) - PAGE_SIZE, 2), Err(Refused::Argument(3)));
    assert_eq!(clear(BLOCK, u64::MAX), Err(Refused::Argument(3)));
    clear((1 << 48) - PAGE_SIZE, 1).unwrap();
    for other in [HOSTVISOR, COREVISOR] {
        let got = core.clear_vm_range(other, pfn(BLOCK), 1, &mut Held::nothing());
        assert_eq!(got, Err(Refused::Argument(1)));
    }
    assert_eq!(snapshot(&core), before);
    clear(BLOCK + PAGE_SIZE, 3).unwrap();
    let owners: Vec<_> = pages(BLOCK).take(5).map(|page| record(&core, page).owner()).collect();
    assert_eq!(owners, [v, HOSTVISOR, HOSTVISOR, HOSTVISOR, v].map(Some));
    clear(BLOCK - PAGE_SIZE, PMD_PAGES + 2).unwrap();
    assert!(pages(BLOCK).all(|page| record(&core, page) == host_record(page)));
}

fn count(core: &Core, page: u64) -> Count {
    record(core, page).count()
}

// Tests: MO-3, MO-4
#[test]
fn a_range_of_the_vms_is_shared_and_taken_back() {
    let (core, v) = with_block();
    prot_and_map(&core, v, AT - PAGE_SIZE, PAGE, Level::L3).unwrap(); // before the block, elsewhere in RAM
    let mut nothing = Held::nothing();
    // From the page before the block to its third page; the last bytes of an unaligned range are missed.
    let (at, size) = (AT - PAGE_SIZE + 0x10, 4 * PAGE_SIZE);
    assert_eq!(core.grant_stage2_sg_gpa(v, ipa(at), size, 0, &mut nothing), Ok(4));
    let shared = [PAGE, BLOCK, BLOCK + PAGE_SIZE, BLOCK + 2 * PAGE_SIZE]; // D-49
    for page in shared {
        assert_eq!(count(&core, page), Count::Shares(1), "{page:#x}");
        touch(&core, page).unwrap();
    }
    assert_eq!(count(&core, BLOCK + 3 * PAGE_SIZE), Count::Shares(0));
    assert_eq!(core.revoke_stage2_sg_gpa(v, ipa(at), size, 0, &mut nothing), Ok(4));
    assert!(shared.iter().all(|&page| core.machine().access(HOSTVISOR, ipa(page)).is_err()));
    assert!(shared.iter().all(|&page| count(&core, page) == Count::Shares(0)));
}

// Tests: MO-3, MO-4
#[test]
fn a_long_range_is_done_in_parts() {
    let (core, v) = with_block();
    prot_and_map(&core, v, AT + PMD_SIZE, PAGE, Level::L3).unwrap();
    let size = PMD_SIZE + 700 * PAGE_SIZE - 1; // most of it is not mapped
    let total = sg_pages(size);
    assert_eq!(total, PMD_PAGES + 700);
    let mut nothing = Held::nothing();
    let mut done = vec![0];
    while *done.last().unwrap() < total {
        done.push(core.grant_stage2_sg_gpa(v, ipa(AT), size, done[done.len() - 1], &mut nothing).unwrap());
    }
    assert_eq!(done, [0, SG_PAGES_PER_CALL, 2 * SG_PAGES_PER_CALL, total]);
    assert!(pages(BLOCK).chain([PAGE]).all(|page| count(&core, page) == Count::Shares(1)));
    assert_eq!(core.grant_stage2_sg_gpa(v, ipa(AT), size, total, &mut nothing), Ok(total), "all is done");
    for (from, to) in [(512, 1024), (0, 512), (1024, total)] {
        assert_eq!(core.revoke_stage2_sg_gpa(v, ipa(AT), size, from, &mut nothing), Ok(to));
    }
    assert!(pages(BLOCK).chain([PAGE]).all(|page| count(&core, page) == Count::Shares(0)));
}

// Tests: MO-3, MO-4
#[test]
fn ranges_that_can_not_be_are_refused_whole() {
    let (core, v) = with_block();
    let absent = Vmid::new_vm(2).unwrap();
    let before = snapshot(&core);
    let end = 1 << 48;
    let rows = [
        (v, end - PAGE_SIZE, PAGE_SIZE + 1, 0, Err(Refused::Argument(3))),
        (v, AT, u64::MAX, 0, Err(Refused::Argument(3))),
        (v, AT, end, 0, Err(Refused::Argument(3))),
        (v, AT, PAGE_SIZE, 2, Err(Refused::Argument(4))),
        (v, AT, PMD_SIZE, u64::MAX, Err(Refused::Argument(4))),
        (absent, AT, PAGE_SIZE, 0, Err(Refused::NoTable(absent))),
        (HOSTVISOR, BLOCK, PAGE_SIZE, 0, Err(Refused::Argument(1))),
        (COREVISOR, BLOCK, PAGE_SIZE, 0, Err(Refused::Argument(1))),
        (v, AT, 0, 0, Ok(0)),
        (v, end - PAGE_SIZE, PAGE_SIZE, 0, Ok(1)), // beyond the table's reach
        (v, end - 1, 1, 0, Ok(1)),
        (v, (1 << 40) - PAGE_SIZE, PMD_SIZE, 0, Ok(512)), // leaves it
    ];
    for (v, at, size, done, expected) in rows {
        let mut nothing = Held::nothing();
        assert_eq!(core.grant_stage2_sg_gpa(v, ipa(at), size, done, &mut nothing), expected, "{at:#x} {size:#x}");
        assert_eq!(core.revoke_stage2_sg_gpa(v, ipa(at), size, done, &mut nothing), expected, "{at:#x} {size:#x}");
        assert_eq!(snapshot(&core), before, "{at:#x} {size:#x}");
    }
}
