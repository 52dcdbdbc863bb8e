// SPDX-License-Identifier: GPL-2.0-only
//! Planning the memory.

use super::{device, virt_with};
use crate::addr::{PAGE_SIZE, PMD_SIZE, Range};
use crate::corevisor::{FIXED_TABLE_PAGES, VM_TABLE_PAGES, host_table_pages};
use crate::platform::BootError;
use crate::platform::discover::{Platform, discover};
use crate::platform::layout::{Busy, GRANULE, GUARD_SIZE, STACK_SIZE, busy, carve_out, lowest_hole, regions};
use crate::platform::smmus::{SMMUS_V2, SMMUS_V3, Smmu, SmmuKind};
use crate::smmu3;
use crate::world::{GIB, MIB, range};
use dtoolkit::fdt::Fdt;

fn platform(ram: &[Range], cpus: u64) -> Platform<'static> {
    Platform {
        ram: ram.iter().copied().collect(),
        cpus: (0..cpus).collect(),
        kernel: range(ram[0].start + 64 * MIB, 16 * MIB),
        ..Platform::default()
    }
}

#[test]
fn the_carve_out_costs_a_256th_of_ram_and_8_mib_at_most() {
    for gib in [1, 4, 64] {
        for cpus in [1, 2, 8, 64] {
            for split in [false, true] {
                let ram = match split {
                    true => &[range(GIB, GIB / 2), range(4 * GIB, gib * GIB - GIB / 2)][..],
                    false => &[range(GIB, gib * GIB)],
                };
                let platform = platform(ram, cpus);
                let regions = regions(&platform).unwrap();
                let plan = carve_out(&platform, &regions, &mut Busy::new()).unwrap();
                // The image is of it, too: 2.25 MiB of room for it, if there are 8 CPUs.
                let room = if cpus <= 8 { 9 * MIB / 4 } else { 0 };
                let bound = gib * GIB / 256 + 8 * MIB - room;
                assert!(plan.range.size() <= bound, "{gib} GiB, {cpus} CPUs: {} > {bound}", plan.range.size());
            }
        }
    }
}

/// An SMMU of this kind.
fn smmu(kind: SmmuKind) -> Smmu {
    let name = if kind == SmmuKind::V3 { SMMUS_V3[0] } else { SMMUS_V2[0] };
    let dtb = virt_with(|tree| _ = device(&mut tree.root, "smmu", &[name], &[0x0905_0000, 0x2_0000]));
    discover(Fdt::new(&dtb).unwrap()).unwrap().smmus.remove(0)
}

#[test]
fn the_hosts_dma_table_has_room_where_there_is_an_smmu_v3() {
    let mut platform = platform(&[range(GIB, GIB)], 2);
    let regions = regions(&platform).unwrap();
    let mut frames = |more: Option<Smmu>| {
        platform.smmus.extend(more);
        platform.doorbells = (0..2).map(|i| range(0x0809_0000 + i * MIB, PAGE_SIZE)).collect();
        carve_out(&platform, &regions, &mut Busy::new()).unwrap().frames.size()
    };
    let without = frames(None);
    assert_eq!(frames(Some(smmu(SmmuKind::V2))), without);
    let with = frames(Some(smmu(SmmuKind::V3)));
    // A level-3 table for each 2 MiB, one of level 2, one of level 1, three for each doorbell, and the root.
    let tables = (512 + 1 + 1 + 2 * 3 + FIXED_TABLE_PAGES + smmu3::FRAME_PAGES) * PAGE_SIZE;
    assert!((with - without).abs_diff(tables) < GRANULE, "{} KiB", (with - without) / 1024);
    let own = smmu3::FRAME_PAGES * PAGE_SIZE;
    let more = frames(Some(smmu(SmmuKind::V3))) - with;
    assert!(more.abs_diff(own) < GRANULE, "one table, however many SMMUs");
    assert_eq!(frames(Some(smmu(SmmuKind::V3))), with + more, "one more than can be driven");
}

#[test]
fn the_carve_out_has_room_for_all_it_holds() {
    let platform = platform(&[range(GIB + 0x5000, GIB), range(4 * GIB, 64 * MIB + 0x3000)], 5);
    let regions = regions(&platform).unwrap();
    let mut taken = Busy::new();
    let plan = carve_out(&platform, &regions, &mut taken).unwrap();
    assert_eq!(taken[..], [plan.range]);
    assert!(plan.range.start.is_multiple_of(GRANULE) && plan.range.end.is_multiple_of(GRANULE));
    assert_eq!(plan.range.end, 4 * GIB + 64 * MIB, "at the top");
    let parts = [plan.records, plan.stacks, plan.frames];
    assert!(plan.records.size() >= regions.pages() * 8);
    assert_eq!(plan.stacks.size(), 5 * (STACK_SIZE + GUARD_SIZE));
    let tables = host_table_pages(&regions) + FIXED_TABLE_PAGES + VM_TABLE_PAGES;
    assert!(plan.frames.size() >= tables * PAGE_SIZE);
    let sum = plan.records.size() + plan.stacks.size() + tables * PAGE_SIZE;
    assert!(plan.range.size() - sum < GRANULE, "nothing twice");
    for (i, part) in parts.into_iter().enumerate() {
        assert!(plan.range.covers(part) && part.start.is_multiple_of(PAGE_SIZE));
        assert!(parts[i + 1..].iter().all(|other| !part.overlaps(*other)));
    }
}

#[test]
fn the_carve_out_lies_below_what_is_at_the_top() {
    let ram = range(GIB, GIB);
    let platform = platform(&[ram], 1);
    let regions = regions(&platform).unwrap();
    let size = carve_out(&platform, &regions, &mut Busy::new()).unwrap().range.size();
    for (at, expected) in [
        (ram.end - 1, ram.end - GRANULE - size),
        (ram.end - size, ram.end - 2 * size),
        (ram.end - size - 1, ram.end - size),
        (ram.end - size + GRANULE, ram.end - 2 * size + GRANULE),
        (ram.end - 10 * size, ram.end - size),
    ] {
        let mut taken: Busy = [range(at, 1)].into_iter().collect();
        let plan = carve_out(&platform, &regions, &mut taken).unwrap();
        assert_eq!(plan.range.start, expected, "{at:#x}");
        assert!(!plan.range.contains(at));
    }
}

#[test]
fn holes_are_found_between_busy_ranges_or_not_at_all() {
    let ram = range(GIB, 16 * MIB);
    let platform = platform(&[ram], 1);
    let block = |n: u64| range(GIB + n * PMD_SIZE, PMD_SIZE);
    let taken = [block(0), range(GIB + 5 * MIB, 1), block(7)];
    let hole = |size| lowest_hole(&platform, &taken, size).map(|r| ((r.start - GIB) / MIB, r.size()));
    assert_eq!(hole(1), Some((2, 1)));
    assert_eq!(hole(2 * MIB), Some((2, 2 * MIB)));
    assert_eq!(hole(3 * MIB), Some((2, 3 * MIB)));
    assert_eq!(hole(3 * MIB + 1), Some((6, 3 * MIB + 1)));
    assert_eq!(hole(8 * MIB), Some((6, 8 * MIB)));
    assert_eq!(hole(8 * MIB + 1), None);
    assert_eq!(hole(u64::MAX), None);
}

#[test]
fn the_lowest_hole_is_the_lowest_of_all_regions() {
    let platform = platform(&[range(4 * GIB, GIB), range(GIB + 0x1000, 8 * MIB)], 1);
    assert_eq!(lowest_hole(&platform, &[], MIB), Some(range(GIB + 2 * MIB, MIB)));
    assert_eq!(lowest_hole(&platform, &[], 7 * MIB), Some(range(4 * GIB, 7 * MIB)));
}

#[test]
fn too_little_ram_is_an_error_that_says_how_much() {
    let platform = platform(&[range(GIB, 4 * MIB), range(2 * GIB, 3 * MIB)], 1);
    let regions = regions(&platform).unwrap();
    let blocks = [GIB + 2 * MIB - 1, GIB + 2 * MIB, 2 * GIB];
    let mut taken: Busy = blocks.into_iter().map(|at| range(at, 1)).collect();
    let got = carve_out(&platform, &regions, &mut taken);
    assert!(matches!(got, Err(BootError::TooLittleRam("the carve-out", size)) if size == 83 * GRANULE), "{got:?}");
    assert_eq!(taken.len(), 3);
}

#[test]
fn modules_must_not_lie_on_corevisor() {
    let mut platform = platform(&[range(GIB, GIB)], 1);
    platform.ramdisk = Some(range(GIB + 128 * MIB, MIB));
    platform.image_keys = Some(range(GIB + 140 * MIB, 32));
    platform.no_map.push(range(GIB + 200 * MIB, 0x1000));
    platform.reserved.push(range(GIB + 300 * MIB, 0x10));
    let tree = range(GIB + 100 * MIB, 0x1000);
    let image = |at| range(at, MIB);
    let free = busy(&platform, image(GIB), tree).unwrap();
    for r in [platform.kernel, platform.ramdisk.unwrap(), image(GIB), tree, platform.no_map[0], platform.reserved[0]] {
        assert!(free.contains(&r), "{r}");
    }
    let error = |at| busy(&platform, image(at), tree).unwrap_err();
    assert!(matches!(error(platform.kernel.end - 1), BootError::ModulesOverlap("kernel", _, "Corevisor", _)));
    assert!(matches!(error(GIB + 127 * MIB + 1), BootError::ModulesOverlap("ramdisk", _, "Corevisor", _)));
    assert!(matches!(error(GIB + 140 * MIB), BootError::ModulesOverlap("image keys", _, "Corevisor", _)));
    assert!(free.contains(&range(GIB + 140 * MIB, 32)));
    assert!(busy(&platform, image(GIB + 127 * MIB), tree).is_ok());
}
