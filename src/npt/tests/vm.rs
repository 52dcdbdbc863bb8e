// SPDX-License-Identifier: GPL-2.0-only
//! Tables of VMs, from the first to the last; and blocks that the host gives away.

use super::{RAM, touch, without};
use crate::abi::stat;
use crate::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, PUD_SIZE, Vmid};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::npt::{Alloc, Desc, Level, PAGE_GUEST, PAGE_S2_KERNEL};
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{Core, GIB, MIB, World, give, host_view, ipa, pa, pfn, range, snapshot, stat, take, vm};
use std::vec;
use std::vec::Vec;

/// Input widths whose walks start at level 1, with one table or several, and at level 0.
const WIDTHS: [u32; 4] = [36, 40, 42, 48];

fn map(core: &Core, v: Vmid, at: u64, to: u64, level: Level) -> Result<(), Refused> {
    let leaf = Desc::leaf(pa(to), level, PAGE_S2_KERNEL);
    let done = core.map_s2pt(v, ipa(at), level, leaf, &mut Held::nothing());
    core.machine().check();
    done
}

fn vm_pages(core: &Core) -> u64 {
    core.frames().lock(&mut Held::nothing()).0.vm_pages()
}

fn set_vm_pages(core: &Core, pages: u64) {
    core.frames().lock(&mut Held::nothing()).0.set_vm_pages(pages);
}

// Tests: PA-1, PA-2, PA-3, PW-1, PW-2, PW-3, PW-4, PW-5, PW-6, NW-3, NO-3
#[test]
fn pages_and_blocks_of_a_vm_are_where_it_has_them_and_nowhere_else() {
    for ipa_bits in WIDTHS {
        let core = World { ipa_bits, ..World::default() }.boot();
        let v = vm(&core, 1, VmState::Verified);
        assert!(core.machine().leaves(v).is_empty());
        let top = (1 << ipa_bits) - PAGE_SIZE;
        let mapped = [
            (0, GIB, Level::L3),
            (0x1000, GIB + 4 * MIB, Level::L3),
            (PMD_SIZE, GIB + 2 * MIB, Level::L2),
            (PUD_SIZE, GIB + 6 * MIB, Level::L2),
            (top, GIB + 0x5000, Level::L3),
        ];
        for (at, to, level) in mapped {
            assert_eq!(core.machine().walk(v, ipa(at)).ok(), None, "{at:#x}");
            map(&core, v, at, to, level).unwrap();
            map(&core, v, at, to, level).unwrap(); // another vCPU's fault for the same
        }
        let leaves: Vec<_> = core.machine().leaves(v).iter().map(|l| (l.ipa, l.pa(ipa(l.ipa)), l.size)).collect();
        assert_eq!(leaves, mapped.map(|(at, to, level)| (at, to, level.size())));
        // The walker is not ours.
        for (at, to, level) in mapped {
            let last = at + level.size() - 8;
            assert_eq!(core.machine().access(v, ipa(last)).unwrap().pa(ipa(last)), to + level.size() - 8);
        }
        assert_eq!(core.machine().access(v, ipa(0x2000)), Err(Fault::Translation(3)));
        assert_eq!(core.machine().access(v, ipa(2 * PMD_SIZE)), Err(Fault::Translation(2)));
        if ipa_bits < 48 {
            assert_eq!(map(&core, v, top + PAGE_SIZE, GIB, Level::L3), Err(Refused::OutOfReach));
        }
    }
}

// Tests: NW-3, NO-3
#[test]
fn what_a_vm_has_mapped_is_not_replaced() {
    let core = World::default().boot();
    let v = vm(&core, 2, VmState::Verified);
    map(&core, v, 0, GIB, Level::L3).unwrap();
    map(&core, v, PMD_SIZE, GIB + 2 * MIB, Level::L2).unwrap();
    let before = snapshot(&core);
    let conflicts = [
        (0, GIB + 0x1000, Level::L3),                     // another page
        (0, GIB, Level::L2),                              // a block over pages, D-07
        (PMD_SIZE, GIB + 4 * MIB, Level::L2),             // another block
        (PMD_SIZE, GIB + 2 * MIB, Level::L3),             // a page under a block, even the same
        (PMD_SIZE + PAGE_SIZE, GIB + 4 * MIB, Level::L3), // another
        (PMD_SIZE + PAGE_SIZE, GIB + 2 * MIB + 4096, Level::L3),
    ];
    for (at, to, level) in conflicts {
        assert_eq!(map(&core, v, at, to, level), Err(Refused::LevelConflict), "{at:#x} {level:?}");
        let leaf = Desc::leaf(pa(to), level, PAGE_S2_KERNEL);
        let mut nothing = Held::nothing();
        let prepared = core.acquire_lock_pt(v, &mut nothing).unwrap().prepare_npt(ipa(at), level, leaf);
        assert_eq!(prepared, Err(Refused::LevelConflict), "{at:#x} {level:?}");
        assert_eq!(snapshot(&core), before, "{at:#x} {level:?}");
    }
    // Nor is a block of a VM's split to make one page of it invalid.
    let mut nothing = Held::nothing();
    let mut pt = core.acquire_lock_pt(v, &mut nothing).unwrap();
    let invalid = Desc::from_u64(PAGE_GUEST);
    assert_eq!(pt.set_npt(ipa(PMD_SIZE), Level::L3, invalid), Err(Refused::LevelConflict));
    pt.release_lock_pt();
    assert_eq!(snapshot(&core), before);
}

#[test]
fn tables_for_a_mapping_come_together_or_not_at_all() {
    for left in 0..3 {
        let core = World { ipa_bits: 48, ..World::default() }.boot();
        let v = vm(&core, 1, VmState::Verified);
        set_vm_pages(&core, left);
        let before = snapshot(&core);
        assert_eq!(map(&core, v, 0, GIB, Level::L3), Err(Refused::NoTables(v)), "{left} left");
        assert_eq!(snapshot(&core), before, "{left} left");
        set_vm_pages(&core, 3);
        map(&core, v, 0, GIB, Level::L3).unwrap();
        assert_eq!(vm_pages(&core), 0);
    }
}

#[test]
fn a_mapping_that_is_prepared_needs_no_more_tables() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Verified);
    for (at, level) in [(5 * GIB, Level::L3), (8 * GIB, Level::L2)] {
        let leaf = Desc::leaf(pa(GIB), level, PAGE_S2_KERNEL);
        let mut nothing = Held::nothing();
        core.acquire_lock_pt(v, &mut nothing).unwrap().prepare_npt(ipa(at), level, leaf).unwrap();
        assert!(core.machine().walk(v, ipa(at)).is_err());
        let left = vm_pages(&core);
        map(&core, v, at, GIB, level).unwrap();
        core.acquire_lock_pt(v, &mut nothing).unwrap().prepare_npt(ipa(at), level, leaf).unwrap();
        assert_eq!(vm_pages(&core), left);
    }
}

#[test]
fn an_entry_of_a_vm_goes_whole_and_out_of_every_tlb() {
    let core = World::default().boot();
    let v = vm(&core, 1, VmState::Poweroff);
    map(&core, v, 0x3000, GIB, Level::L3).unwrap();
    map(&core, v, PMD_SIZE, GIB + 2 * MIB, Level::L2).unwrap();
    let inside = PMD_SIZE + 7 * PAGE_SIZE;
    let unmap = |at: u64, page: u64| {
        let mut nothing = Held::nothing();
        let done = core.acquire_lock_pt(v, &mut nothing).unwrap().unmap(ipa(at), pa(page));
        core.machine().check();
        done
    };
    for at in [0x3000, inside] {
        core.machine().watch(v, ipa(at));
        core.machine().access(v, ipa(at)).unwrap();
    }
    let before = snapshot(&core);
    unmap(0x3000, GIB + 0x1000).unwrap(); // reaches another page
    unmap(inside, GIB + 2 * MIB).unwrap(); // reaches another page of the block
    unmap(0x4000, GIB).unwrap(); // reaches nothing
    assert_eq!(unmap(1 << 40, GIB), Err(Refused::OutOfReach));
    assert_eq!(snapshot(&core), before);
    unmap(0x3000, GIB).unwrap();
    assert_eq!(core.machine().cached(v).len(), 1);
    unmap(inside, GIB + 2 * MIB + 7 * PAGE_SIZE).unwrap();
    assert!(core.machine().cached(v).is_empty() && core.machine().leaves(v).is_empty());
    map(&core, v, PMD_SIZE, GIB + 8 * MIB, Level::L2).unwrap();
}

#[test]
fn a_table_leaves_no_trace() {
    for ipa_bits in WIDTHS {
        let core = World { ipa_bits, ..World::default() }.boot();
        let before = snapshot(&core);
        for round in 0..200 {
            let v = vm(&core, 1 + round % 15, VmState::Verified);
            let places = [0, 0x1000, 3 * GIB, (1 << ipa_bits) - PAGE_SIZE];
            for at in places {
                map(&core, v, at, GIB + round * PAGE_SIZE, Level::L3).unwrap();
                core.machine().watch(v, ipa(at));
                core.machine().access(v, ipa(at)).unwrap();
            }
            map(&core, v, 7 * PMD_SIZE, GIB + 2 * MIB, Level::L2).unwrap();
            core.machine().access(v, ipa(7 * PMD_SIZE)).unwrap();
            core.machine().unwatch(v);
            core.vm(v).lock(&mut Held::nothing()).0.state = VmState::Unused;
            core.free_npt(v, &mut Held::nothing()).unwrap();
            assert!(core.machine().cached(v).is_empty());
            assert_eq!(map(&core, v, 0, GIB, Level::L3), Err(Refused::NoTable(v)));
            assert_eq!(core.root(v), None);
        }
        assert_eq!(snapshot(&core), before, "{ipa_bits} bits");
        assert_eq!(stat(&core, stat::TLB_INVALIDATIONS), core.machine().invalidations());
    }
}

#[test]
fn only_vms_get_tables_and_lose_them() {
    let core = World::default().boot();
    let v = vm(&core, 15, VmState::Ready);
    let absent = Vmid::new_vm(1).unwrap();
    let before = snapshot(&core);
    let mut nothing = Held::nothing();
    for other in [HOSTVISOR, COREVISOR, v] {
        assert_eq!(core.new_npt(other, &mut nothing), Err(Refused::State(other)));
    }
    for other in [HOSTVISOR, COREVISOR, absent] {
        assert_eq!(core.free_npt(other, &mut nothing), Err(Refused::NoTable(other)));
    }
    assert_eq!(snapshot(&core), before);
}

#[test]
fn a_table_without_pages_for_its_root_is_refused() {
    for (ipa_bits, needed) in [(36, 2), (40, 3), (42, 9), (48, 1)] {
        let core = World { ipa_bits, ..World::default() }.boot();
        let v = Vmid::new_vm(1).unwrap();
        for left in 0..needed {
            set_vm_pages(&core, left);
            let before = snapshot(&core);
            assert_eq!(core.new_npt(v, &mut Held::nothing()), Err(Refused::NoTables(v)), "{left} of {needed}");
            assert_eq!(snapshot(&core), before);
        }
        set_vm_pages(&core, needed);
        core.new_npt(v, &mut Held::nothing()).unwrap();
        assert_eq!(vm_pages(&core), 0);
    }
}

fn clear_block(core: &Core, address: u64) {
    core.clear_block_host(pfn(address), &mut Held::nothing()).unwrap();
    core.machine().check();
}

fn without_block(view: &[(u64, u64, u64)], block: u64) -> Vec<(u64, u64, u64)> {
    (block..block + PMD_SIZE).step_by(PAGE_SIZE as usize).fold(view.to_vec(), |view, page| without(&view, page))
}

// Tests: NO-4
#[test]
fn a_block_of_the_host_goes_by_one_entry() {
    for ipa_bits in WIDTHS {
        let core = World { ram: vec![range(GIB, 2 * GIB)], ipa_bits, ..World::default() }.boot();
        let (block, next) = (GIB + 64 * MIB, GIB + 66 * MIB);
        for near in [block, block + 0x5000, next, GIB] {
            core.machine().watch(HOSTVISOR, ipa(near));
        }
        let before = host_view(&core);
        clear_block(&core, block);
        assert_eq!(host_view(&core), without_block(&before, block));
        assert_eq!((stat(&core, stat::BLOCK_SPLIT), core.machine().invalidations()), (1, 2), "1 GiB to 2 MiB");
        assert!(core.machine().cached(HOSTVISOR).iter().all(|leaf| !range(leaf.ipa, leaf.size).contains(block)));
        let before = host_view(&core);
        clear_block(&core, next);
        assert_eq!(host_view(&core), without_block(&before, next));
        assert_eq!((stat(&core, stat::BLOCK_SPLIT), core.machine().invalidations()), (1, 3));
        clear_block(&core, next); // nothing is left to take
        assert_eq!(core.machine().invalidations(), 3);
    }
}

// Tests: NO-4
#[test]
fn a_block_of_the_host_that_is_in_pages_goes_at_once() {
    let core = World::default().boot();
    let block = GIB + 64 * MIB;
    take(&core, block + 0x3000).unwrap();
    for near in [block, block + 0x3000, block + 0x5000, block + PMD_SIZE] {
        core.machine().watch(HOSTVISOR, ipa(near));
        let _ = core.machine().access(HOSTVISOR, ipa(near));
    }
    let (before, invalidations) = (host_view(&core), core.machine().invalidations());
    clear_block(&core, block);
    assert_eq!(host_view(&core), without_block(&before, block));
    assert_eq!(core.machine().invalidations() - invalidations, 1);
    assert!(core.machine().cached(HOSTVISOR).iter().all(|leaf| leaf.ipa >= block + PMD_SIZE));
    assert_eq!(stat(&core, stat::TLB_INVALIDATIONS), core.machine().invalidations());
}

// Tests: NW-3
#[test]
fn pages_of_a_block_given_away_come_back_one_by_one() {
    let core = World::default().boot();
    let (block, page) = (GIB + 64 * MIB, GIB + 64 * MIB + 0x5000);
    clear_block(&core, block);
    let given = |core: &Core| {
        let leaves = core.machine().leaves(HOSTVISOR).into_iter();
        leaves.filter(|leaf| leaf.descriptor == PAGE_GUEST).map(|leaf| leaf.size).sum::<u64>()
    };
    assert_eq!(given(&core), PMD_SIZE);
    let splits = stat(&core, stat::BLOCK_SPLIT);
    touch(&core, page).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page)).unwrap().pa(ipa(page)), page);
    let beside: Ipa = ipa(page + PAGE_SIZE);
    assert_eq!(core.machine().access(HOSTVISOR, beside), Err(Fault::Translation(3)));
    assert_eq!(given(&core), PMD_SIZE - PAGE_SIZE, "the others are still marked");
    assert_eq!(stat(&core, stat::BLOCK_SPLIT), splits, "no mapping was split");
    // And the page can go again.
    take(&core, page).unwrap();
    give(&core, page);
    touch(&core, page).unwrap();
    let mapped = host_view(&core).into_iter().find(|&(start, ..)| start == page);
    assert_eq!(mapped, Some((page, page + PAGE_SIZE, RAM)));
}

// Tests: PW-2, PW-3, PW-4
#[test]
fn under_no_table_there_is_no_entry() {
    let core = World::default().boot();
    let mut nothing = Held::nothing();
    let mut pt = core.acquire_lock_pt(HOSTVISOR, &mut nothing).unwrap();
    let block = Desc::leaf(pa(GIB), Level::L2, PAGE_S2_KERNEL);
    for above in [Desc::NONE, Desc::from_u64(PAGE_GUEST), block] {
        for alloc in [Alloc::No, Alloc::Yes] {
            assert_eq!(pt.walk_pud(above, ipa(GIB), alloc), Ok(Desc::NONE));
            assert_eq!(pt.walk_pmd(above, ipa(GIB), alloc), Ok(Desc::NONE));
        }
        assert_eq!(pt.walk_pte(above, ipa(GIB)), Desc::NONE);
    }
}
