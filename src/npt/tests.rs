// SPDX-License-Identifier: GPL-2.0-only
//! The host's table as the hardware sees it: filling, splitting, quotas, devices.

mod host_dma;
mod vm;

use super::{Desc, Level, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::abi::stat;
use crate::addr::{HOSTVISOR, PAGE_SIZE, PMD_SIZE, PUD_SIZE};
use crate::lock::Held;
use crate::machine::sim::{self, Fault};
use crate::refused::Refused;
use crate::world::{Core, GIB, MIB, World, give, host_view, ipa, pfn, range, snapshot, stat, take};
use std::vec;
use std::vec::Vec;

/// Attributes as [`sim::Leaf::attributes`] has them.
const RAM: u64 = PAGE_S2_KERNEL & !0b10;
const DEVICE: u64 = (PAGE_S2_DEVICE | S2_RDWR) & !0b10;

fn touch(core: &Core, address: u64) -> Result<(), Refused> {
    let done = core.map_page_host(ipa(address), &mut Held::nothing());
    core.machine().check();
    done
}

/// RAM with ragged ends, a region in the highest gigabytes that `ipa_bits` reach, `no-map` memory at the start, in the
/// middle and across the end of a region, and an image.
fn ragged(ipa_bits: u32) -> World {
    let top = 1 << ipa_bits;
    let mut ram = vec![range(0x3FE0_3000, 0x4080_0000), range(0xA000_0000, 0x10_5000)];
    if ipa_bits > 32 {
        ram.push(range(top - 5 * GIB, 3 * GIB));
    } else {
        ram.push(range(0xB000_0000, 256 * MIB));
    }
    World {
        no_map: vec![range(0x3FE0_3000, 0x2000), range(0x6000_1000, 4 * MIB), range(0xA010_4000, 0x4000)],
        image: Some(range(0x4040_0000, 0x3_7000)),
        ram,
        ipa_bits,
        ..World::default()
    }
}

const WIDTHS: [u32; 6] = [32, 36, 40, 42, 44, 48];

#[test]
fn filling_maps_each_page_of_the_host_and_no_other() {
    for ipa_bits in WIDTHS {
        let world = ragged(ipa_bits);
        let core = world.boot();
        let expected: Vec<_> = world.host_ram().iter().map(|r| (r.start, r.end, RAM)).collect();
        assert_eq!(host_view(&core), expected, "{ipa_bits} bits");
    }
}

#[test]
fn filling_uses_the_largest_blocks_that_fit() {
    for ipa_bits in WIDTHS {
        let world = ragged(ipa_bits);
        let core = world.boot();
        for ram in world.host_ram() {
            let mut at = ram.start;
            while at < ram.end {
                let leaf = core.machine().walk(HOSTVISOR, ipa(at)).unwrap();
                for size in [PMD_SIZE, PUD_SIZE].into_iter().filter(|&size| size > leaf.size) {
                    assert!(!ram.covers(range(at & !(size - 1), size)), "{:#x} bytes at {at:#x}", leaf.size);
                }
                at += leaf.size;
            }
        }
    }
}

#[test]
fn ram_beyond_the_tables_reach_is_an_error() {
    let world = World { ram: vec![range(GIB, GIB), range((1 << 36) - GIB, 2 * GIB)], ipa_bits: 36, ..World::default() };
    let pool = range(GIB, world.carve_out().size());
    assert_eq!(sim::boot(world.config(), pool).err(), Some(Refused::OutOfReach));
}

#[test]
fn a_pool_that_is_too_small_is_an_error() {
    let world = World { ram: vec![range(0x4000_1000, GIB)], ..World::default() };
    for pages in 0..5 {
        // Needed: the root, two level-1 tables, and three to fill this RAM with.
        let pool = range(world.carve_out().start, (pages * PAGE_SIZE).max(8));
        let got = sim::boot(world.config(), pool).err();
        assert_eq!(got, Some(Refused::NoTables(HOSTVISOR)), "{pages} pages");
    }
    assert_eq!(sim::boot(world.config(), range(world.carve_out().start, 16 * PAGE_SIZE)).err(), None);
}

/// What `view` is when the page at `address` is unmapped.
fn without(view: &[(u64, u64, u64)], address: u64) -> Vec<(u64, u64, u64)> {
    let hole = range(address, PAGE_SIZE);
    view.iter()
        .flat_map(|&(start, end, a)| range(start, end - start).minus(hole).map(move |r| (r.start, r.end, a)))
        .collect()
}

// Tests: NW-3, NO-4
#[test]
fn a_split_leaves_every_other_page_as_it_was() {
    for ipa_bits in WIDTHS {
        let world = World { ram: vec![range(GIB, 2 * GIB)], ipa_bits, ..World::default() };
        let core = world.boot();
        let page = GIB + 0x1234_5000;
        assert_eq!(core.machine().walk(HOSTVISOR, ipa(page)).unwrap().size, PUD_SIZE);
        // Speculation sees every step of it.
        for near in [page, page ^ 0x1000, page ^ 0x20_0000, GIB, 2 * GIB - 1] {
            core.machine().watch(HOSTVISOR, ipa(near));
        }
        let before = host_view(&core);
        take(&core, page).unwrap();
        assert_eq!(host_view(&core), without(&before, page));
        let size = |address| core.machine().walk(HOSTVISOR, ipa(address)).unwrap().size;
        assert_eq!((size(page ^ 0x1000), size(page ^ 0x20_0000), size(2 * GIB)), (PAGE_SIZE, PMD_SIZE, PMD_SIZE));
        assert_eq!(stat(&core, stat::BLOCK_SPLIT), 2);
        assert_eq!(stat(&core, stat::TLB_INVALIDATIONS), 3, "a block of 1 GiB, one of 2 MiB, and the page");
        assert_eq!(core.machine().invalidations(), 3);
        // The neighbour needs no split.
        let before = host_view(&core);
        take(&core, page ^ 0x1000).unwrap();
        assert_eq!(host_view(&core), without(&before, page ^ 0x1000));
        assert_eq!(stat(&core, stat::BLOCK_SPLIT), 2);
    }
}

// Tests: NO-4
#[test]
fn what_is_taken_is_in_no_tlb_either() {
    let core = World::default().boot();
    let page = GIB + 16 * MIB;
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page)).unwrap().size, PMD_SIZE);
    take(&core, page).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page)), Err(Fault::Translation(3)));
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page + PAGE_SIZE)).unwrap().size, PAGE_SIZE);
    give(&core, page);
    touch(&core, page).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page)).unwrap().attributes(), RAM);
    take(&core, page).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(page)), Err(Fault::Translation(3)));
}

/// Maps devices, one to each 512 GiB, GiB, or 2 MiB with a withheld register, till their tables have run out.
fn exhaust_device_tables(core: &Core, ipa_bits: u32, withheld: &[u64]) {
    let mut refused = 0;
    for at in withheld.iter().map(|w| w + PAGE_SIZE).chain((4 * GIB..1 << ipa_bits).step_by(GIB as usize).take(1000)) {
        let before = (refused > 0).then(|| snapshot(core));
        match touch(core, at) {
            Ok(()) => assert_eq!(refused, 0, "{at:#x}: others were refused"),
            Err(why) => {
                assert_eq!(why, Refused::NoTables(HOSTVISOR));
                refused += 1;
                assert!(before.is_none_or(|b| b == snapshot(core)), "{at:#x}: refused, but changed something");
            }
        }
        if refused == 3 {
            return;
        }
    }
    panic!("device tables are without limit");
}

#[test]
fn splitting_ram_never_fails_whatever_devices_were_touched() {
    for ipa_bits in [40, 48] {
        let withheld = vec![0x0800_0000, 0x0900_0000];
        let world = World {
            ram: vec![range(GIB + 0x5000, 256 * MIB), range(2 * GIB - 64 * MIB, 128 * MIB + 0x3000)],
            withheld: withheld.iter().map(|&w| range(w, PAGE_SIZE)).collect(),
            ipa_bits,
            ..World::default()
        };
        let core = world.boot();
        exhaust_device_tables(&core, ipa_bits, &withheld);
        for ram in world.host_ram() {
            for block in (ram.start & !(PMD_SIZE - 1)..ram.end).step_by(PMD_SIZE as usize) {
                let page = block.max(ram.start);
                take(&core, page).unwrap_or_else(|why| panic!("{page:#x}: {why}"));
            }
        }
        let tables = stat(&core, stat::HOST_TABLE_PAGES);
        let limit = crate::corevisor::host_table_pages(&world.regions()) + crate::corevisor::FIXED_TABLE_PAGES;
        assert!(tables <= limit, "{tables} > {limit}");
    }
}

#[test]
fn the_reserve_for_ram_is_what_ram_needs_to_the_page() {
    let world = World { ram: vec![range(GIB, 2 * GIB)], ipa_bits: 48, ..World::default() };
    let config = crate::corevisor::Config { owned: Default::default(), ..world.config() };
    let core = sim::boot(config, range(8 * GIB, world.carve_out().size())).unwrap();
    // In the RAM's own 512 GiB, so that each takes one table, of level 2.
    for i in 0..256 {
        touch(&core, (16 + i) * GIB).unwrap();
    }
    assert_eq!(touch(&core, 500 * GIB), Err(Refused::NoTables(HOSTVISOR)));
    for block in (GIB..3 * GIB).step_by(PMD_SIZE as usize) {
        take(&core, block).unwrap();
    }
    let root = 1;
    assert_eq!(stat(&core, stat::HOST_TABLE_PAGES), crate::corevisor::host_table_pages(&world.regions()) + root);
}

// Tests: PA-1, PA-2, PA-3, NW-3
#[test]
fn a_refusal_for_want_of_tables_creates_none() {
    // In a table of four levels a device in a fresh 512 GiB takes two tables, in a fresh GiB one. 256 may be used.
    let core = World { ipa_bits: 48, ..World::default() }.boot();
    touch(&core, 4 * GIB).unwrap();
    for i in 1..128 {
        touch(&core, i << 39).unwrap();
    }
    let before = snapshot(&core);
    assert_eq!(touch(&core, 128 << 39), Err(Refused::NoTables(HOSTVISOR)), "one is left");
    assert_eq!(snapshot(&core), before);
    touch(&core, 5 * GIB).unwrap();
    assert_eq!(touch(&core, 6 * GIB), Err(Refused::NoTables(HOSTVISOR)));
}

#[test]
fn devices_are_mapped_by_blocks_only_where_nothing_else_is() {
    let withheld = range(0x0900_3000, 0x2000);
    let world = World {
        ram: vec![range(GIB + 0x3000, 64 * MIB)],
        no_map: vec![range(0x2000_0000, 0x1000), range(GIB + 32 * MIB, 0x1000)],
        withheld: vec![withheld],
        ..World::default()
    };
    let core = world.boot();
    let sizes = [
        (0x0800_0000, PMD_SIZE),
        (0x0820_5678, PMD_SIZE),
        (0x0900_2fff, PAGE_SIZE), // beside withheld registers
        (0x0900_5000, PAGE_SIZE),
        (0x08FF_FFFF, PMD_SIZE),              // just before their 2 MiB
        (0x2000_0000, PAGE_SIZE),             // untracked memory
        (0x2000_1000, PAGE_SIZE),             // beside it
        (GIB + 32 * MIB, PAGE_SIZE),          // untracked memory in RAM
        (GIB + 0x2FFF, PAGE_SIZE),            // before ragged RAM
        (GIB + 64 * MIB + 0x3000, PAGE_SIZE), // behind it
        (GIB - 1, PMD_SIZE),
        ((1 << 40) - 1, PMD_SIZE),
        (0, PMD_SIZE),
    ];
    for (address, size) in sizes {
        assert!(core.machine().access(HOSTVISOR, ipa(address)).is_err(), "{address:#x}");
        touch(&core, address).unwrap();
        let leaf = core.machine().access(HOSTVISOR, ipa(address)).unwrap();
        assert_eq!((leaf.size, leaf.attributes(), leaf.pa(ipa(address))), (size, DEVICE, address), "{address:#x}");
        let before = snapshot(&core);
        touch(&core, address).unwrap(); // a second CPU's fault for the same
        assert_eq!(snapshot(&core), before);
        core.machine().check();
    }
    for page in [withheld.start, withheld.end - 1] {
        assert_eq!(core.machine().walk(HOSTVISOR, ipa(page)), Err(Fault::Translation(3)));
    }
}

// Tests: NO-3
// Tests: NO-4
#[test]
fn page_0_is_taken_away_like_any_other() {
    // D-05
    let core = World::default().boot();
    touch(&core, 0).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(0)).unwrap().pa(ipa(0)), 0);
    core.clear_pfn_host(pfn(0), &mut Held::nothing()).unwrap();
    assert!(core.machine().access(HOSTVISOR, ipa(0)).is_err());
    assert!(core.machine().access(HOSTVISOR, ipa(PAGE_SIZE)).is_ok());
}

#[test]
fn a_block_over_a_table_is_refused() {
    let world = World { withheld: vec![range(0x0900_0000, PAGE_SIZE)], ..World::default() };
    let core = world.boot();
    touch(&core, 0x0900_1000).unwrap();
    take(&core, GIB + 2 * MIB).unwrap();
    let before = snapshot(&core);
    // Over a table; over RAM's block of 2 MiB; over its pages.
    for block in [0x0900_0000, GIB + 4 * MIB, GIB + 2 * MIB] {
        let other = ipa(block).host_pa().checked_add(64 * GIB).unwrap();
        let leaf = Desc::leaf(other, Level::L2, PAGE_S2_DEVICE | S2_RDWR);
        let got = core.map_s2pt(HOSTVISOR, ipa(block), Level::L2, leaf, &mut Held::nothing());
        assert_eq!(got, Err(Refused::LevelConflict), "{block:#x}");
        assert_eq!(snapshot(&core), before, "{block:#x}");
    }
}

#[test]
fn a_block_of_which_one_page_is_mapped_is_not_mapped() {
    let core = World::default().boot();
    let [page, beside] = [GIB + 2 * MIB, GIB + 2 * MIB + PAGE_SIZE];
    take(&core, beside).unwrap();
    let before = snapshot(&core);
    let leaf = Desc::leaf(ipa(page).host_pa(), Level::L2, PAGE_S2_KERNEL);
    let got = core.map_s2pt(HOSTVISOR, ipa(page), Level::L2, leaf, &mut Held::nothing());
    assert_eq!(got, Err(Refused::LevelConflict), "the page beside it is not mapped");
    assert_eq!(snapshot(&core), before);
}

#[test]
fn a_block_over_a_larger_block_is_refused_without_a_split() {
    let core = World { ram: vec![range(GIB, 2 * GIB)], ..World::default() }.boot();
    let splits = stat(&core, stat::BLOCK_SPLIT);
    let other = ipa(64 * GIB).host_pa();
    let leaf = Desc::leaf(other, Level::L2, PAGE_S2_DEVICE | S2_RDWR);
    let before = snapshot(&core);
    let got = core.map_s2pt(HOSTVISOR, ipa(GIB), Level::L2, leaf, &mut Held::nothing());
    assert_eq!(got, Err(Refused::LevelConflict));
    assert_eq!(snapshot(&core), before);
    assert_eq!(stat(&core, stat::BLOCK_SPLIT), splits);
}

#[test]
fn beyond_the_tables_reach_nothing_is_mapped() {
    for ipa_bits in [32, 36, 40, 42, 44] {
        let ram = vec![range(GIB, 256 * MIB)];
        let core = World { ram, ipa_bits, ..World::default() }.boot();
        let before = snapshot(&core);
        for address in [1 << ipa_bits, (1 << 48) - 1] {
            assert_eq!(touch(&core, address), Err(Refused::OutOfReach), "{address:#x}");
            assert_eq!(core.machine().access(HOSTVISOR, ipa(address)), Err(Fault::AddressSize));
            let mut nothing = Held::nothing();
            assert_eq!(core.walk_s2pt(HOSTVISOR, ipa(address), &mut nothing), Err(Refused::OutOfReach));
            assert_eq!(core.get_level_s2pt(HOSTVISOR, ipa(address), &mut nothing), Err(Refused::OutOfReach));
            assert_eq!(core.clear_pfn_host(pfn(address), &mut nothing), Err(Refused::OutOfReach));
        }
        assert_eq!(snapshot(&core), before);
        touch(&core, (1 << ipa_bits) - 1).unwrap();
    }
}

// Tests: LK-1, LK-7, NW-1, NW-2, NO-1, NO-2
#[test]
fn the_tables_own_walk_agrees_with_the_hardwares() {
    let world = ragged(40);
    let core = world.boot();
    take(&core, 0x5000_0000).unwrap();
    touch(&core, 0x0900_0000).unwrap();
    let edges = host_view(&core).into_iter().flat_map(|(start, end, _)| [start - 1, start, end - 1, end]);
    for address in edges.chain([0, 0x0900_0000, 0x5000_0000, 0x5000_1000, (1 << 40) - 1]) {
        let mut nothing = Held::nothing();
        let mut pt = core.acquire_lock_pt(HOSTVISOR, &mut nothing).unwrap();
        let walked = pt.mapping(ipa(address)).unwrap();
        let level = pt.get_npt_level(ipa(address)).unwrap();
        assert_eq!((level.unwrap_or(walked.level), pt.walk_npt(ipa(address)).unwrap()), (walked.level, walked.desc));
        pt.release_lock_pt();
        assert_eq!(core.get_level_s2pt(HOSTVISOR, ipa(address), &mut nothing), Ok(level));
        assert_eq!(core.walk_s2pt(HOSTVISOR, ipa(address), &mut nothing), Ok(walked.desc));
        assert_eq!(level.is_some(), walked.desc.is_valid());
        let hardware = core.machine().walk(HOSTVISOR, ipa(address)).ok();
        let pa = walked.translate(ipa(address)).map(|pa| pa.as_u64());
        assert_eq!(pa, hardware.map(|leaf| leaf.pa(ipa(address))), "{address:#x}");
        assert_eq!(hardware.map(|leaf| leaf.size), pa.map(|_| walked.level.size()), "{address:#x}");
    }
}

#[test]
fn two_cpus_split_and_map_at_the_same_time() {
    let core = World { ram: vec![range(GIB, 2 * GIB)], ..World::default() }.boot();
    std::thread::scope(|scope| {
        for cpu in 0..2 {
            let core = &core;
            scope.spawn(move || {
                sim::set_cpu(cpu);
                for i in 0..8 {
                    let page = GIB + i * 64 * MIB + cpu as u64 * PAGE_SIZE;
                    take(core, page).unwrap();
                    assert!(core.machine().access(HOSTVISOR, ipa(page)).is_err());
                    core.map_page_host(ipa((4 + i) * GIB), &mut Held::nothing()).unwrap();
                    give(core, page);
                    core.map_page_host(ipa(page), &mut Held::nothing()).unwrap();
                }
            });
        }
    });
    let view = host_view(&core);
    assert_eq!(view.len(), 1 + 8);
    assert_eq!(stat(&core, stat::BLOCK_SPLIT), 1 + 8);
    assert_eq!(stat(&core, stat::TLB_INVALIDATIONS), core.machine().invalidations());
}
