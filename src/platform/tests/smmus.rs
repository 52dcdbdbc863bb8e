// SPDX-License-Identifier: GPL-2.0-only
//! SMMUs in the tree, and who is in front of them.

use super::discover::{error, node, with};
use super::{cells, child, device, set, set_cells};
use crate::platform::smmus::{MAX_STREAM_RANGES, SmmuKind, StreamRange, check_reach};
use crate::world::range;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use std::format;
use std::vec;
use std::vec::Vec;

const WINDOW: u64 = 0x0905_0000;

/// An SMMUv3 as QEMU has it: /pcie@10000000 is in front of it.
fn smmu_v3(tree: &mut DeviceTree) -> &mut DeviceTreeNode {
    let smmu = device(&mut tree.root, "smmuv3@9050000", &["arm,smmu-v3"], &[WINDOW, 0x2_0000]);
    set(smmu, "phandle", 0x8004u32);
    set(smmu, "#iommu-cells", 1u32);
    smmu
}

/// An SMMUv2 that the devices that are added to the root are in front of, by phandle 9.
fn smmu_v2(tree: &mut DeviceTree, cells: u32) {
    let smmu = device(&mut tree.root, "iommu@9100000", &["vendor,smmu", "arm,mmu-500"], &[0x0910_0000, 0x1_0000]);
    set(smmu, "phandle", 9u32);
    set(smmu, "#iommu-cells", cells);
}

/// The streams of each SMMU, as first and count.
fn streams(edit: impl FnOnce(&mut DeviceTree)) -> Vec<Vec<(u32, u32)>> {
    with(edit, |found| {
        let of = |streams: &[StreamRange]| streams.iter().map(|s| (s.first, s.count)).collect();
        found.unwrap().smmus.iter().map(|smmu| of(&smmu.streams)).collect()
    })
}

/// Those of one SMMUv3 that PCI devices are in front of by this map and mask.
fn mapped(map: &[u32], mask: Option<u32>) -> Vec<(u32, u32)> {
    let edit = |tree: &mut DeviceTree| {
        smmu_v3(tree);
        let pcie = node(tree, "/pcie@10000000");
        set(pcie, "iommu-map", map);
        if let Some(mask) = mask {
            set(pcie, "iommu-map-mask", mask);
        }
    };
    streams(edit).remove(0)
}

#[test]
fn smmus_are_found_by_whole_pages() {
    let edit = |tree: &mut DeviceTree| {
        set(smmu_v3(tree), "dma-coherent", [0u8; 0]);
        device(&mut tree.root, "iommu@9100000", &["vendor,smmu", "arm,mmu-500"], &[0x0910_0000, 0x1800]);
        let off = device(&mut tree.root, "smmu@a000000", &["arm,smmu-v2"], &[0x0A00_0000, 0x1_0000]);
        set(off, "status", "disabled");
    };
    with(edit, |found| {
        let found = found.unwrap();
        let all: Vec<_> = found.smmus.iter().map(|s| (s.window, s.kind, s.coherent)).collect();
        let v3 = (range(WINDOW, 0x2_0000), SmmuKind::V3, true);
        assert_eq!(all, [v3, (range(0x0910_0000, 0x2000), SmmuKind::V2, false)]);
    });
}

#[test]
fn smmus_that_can_not_be_are_an_error() {
    let malformed = "device tree unreadable: an SMMU's reg is missing or malformed";
    let at = |reg: &'static [u64]| {
        error(|tree| {
            smmu_v3(tree);
            device(&mut tree.root, "other", &["arm,smmu-v3"], reg);
        })
    };
    assert_eq!(at(&[0x0A00_0000, 0x2_0000]), "");
    // None, half a range, past the end, that of the other one, in RAM, not a page's.
    for reg in [
        &[][..],
        &[0x0A00_0000],
        &[u64::MAX, 2],
        &[WINDOW + 0x1_F000, 0x2_0000],
        &[0x7FFF_F000, 0x2000],
        &[0x0A00_0800, 0x2_0000],
    ] {
        assert_eq!(at(reg), malformed, "{reg:x?}");
    }
    let edit =
        |tree: &mut DeviceTree| _ = device(&mut tree.root, "smmu", &["arm,smmu-v3"], &[(1 << 40) - 0x2_0000, 0x2_0000]);
    with(edit, |found| {
        let reached = [39, 40, 48].map(|bits| check_reach(&found.as_ref().unwrap().smmus, bits).is_ok());
        assert_eq!(reached, [false, true, true]);
    });
    let in_a_hole = |covered: u64| {
        error(|tree| {
            let reserved = child(&mut tree.root, "reserved-memory");
            set_cells(reserved, 2, 2);
            let hole = child(reserved, "hole@70000000");
            set(hole, "reg", cells(&[0x7000_0000, covered]));
            set(hole, "no-map", [0u8; 0]);
            device(&mut tree.root, "smmu@70000000", &["arm,smmu-v2"], &[0x7000_0000, 0x1_0000]);
        })
    };
    assert_eq!(in_a_hole(0x1_0000), "", "memory that is no RAM may be anything");
    assert_eq!(in_a_hole(0xF000), malformed);
    let nine = |tree: &mut DeviceTree| {
        for i in 0..9u64 {
            device(&mut tree.root, &format!("smmu@{i}"), &["arm,smmu-v3"], &[i << 24, 0x1000]);
        }
    };
    assert_eq!(error(nine), "too many SMMUs: at most 8 are supported");
}

#[test]
fn streams_of_pci_devices() {
    assert_eq!(streams(|tree| _ = smmu_v3(tree)), [vec![(0, 0x1_0000)]], "as QEMU has it");
    assert_eq!(mapped(&[0, 0x8004, 0x100, 0x10], None), [(0x100, 0x10)]);
    assert_eq!(mapped(&[0, 0x8004, 0, 8, 0x10, 0x8004, 0x10, 8], None), [(0, 8), (0x10, 8)]);
    assert_eq!(mapped(&[0, 0x8004, 0, 8, 8, 0x8004, 8, 8], None), [(0, 0x10)], "they touch");
    // Functions that are all one; and an entry that no requester gets to.
    assert_eq!(mapped(&[0, 0x8004, 0, 0x1_0000], Some(0xFFF8)), [(0, 0xFFF9)]);
    assert_eq!(mapped(&[0, 0x8004, 0, 0x1_0000, 0x10, 0x8004, 0x5_0000, 1], Some(0xF)), [(0, 0x10)]);
    assert_eq!(mapped(&[0, 0x8004, 0, 8], Some(u32::MAX)), [(0, 8)]);
    // The last streams there are.
    assert_eq!(mapped(&[0, 0x8004, u32::MAX, 1], None), [(u32::MAX, 1)]);
}

#[test]
fn maps_that_make_no_sense_name_no_streams() {
    for map in [&[][..], &[0], &[0, 0x8004, 0], &[0, 0x8004, 0, 0], &[0, 7, 0, 8], &[0, 0x8004, u32::MAX, 2]] {
        assert_eq!(mapped(map, None), [], "{map:x?}");
    }
    // What is right stays.
    assert_eq!(mapped(&[0, 0x8004, 0, 8, 8, 0x8004], None), [(0, 8)]);
    assert_eq!(mapped(&[0, 7, 0, 8, 8, 0x8004, 8, 8], None), [(8, 8)]);
    let with_mask = |mask: &'static [u8]| {
        streams(|tree| {
            smmu_v3(tree);
            set(node(tree, "/pcie@10000000"), "iommu-map-mask", mask);
        })
    };
    assert_eq!(with_mask(&[0, 0, 0, 7]), [vec![(0, 8)]]);
    assert_eq!(with_mask(&[0, 0, 7]), [vec![]]);
    let odd = |tree: &mut DeviceTree| {
        smmu_v3(tree);
        set(node(tree, "/pcie@10000000"), "iommu-map", [0u8; 17]);
    };
    assert_eq!(streams(odd), [vec![]]);
    let off = |tree: &mut DeviceTree| {
        smmu_v3(tree);
        set(node(tree, "/pcie@10000000"), "status", "disabled");
    };
    assert_eq!(streams(off), [vec![]]);
}

#[test]
fn streams_of_devices() {
    let of = |cells: u32, iommus: &'static [u32]| {
        let edit = |tree: &mut DeviceTree| {
            // In front of its SMMU in the tree, too.
            let soc = child(&mut tree.root, "soc");
            let nic = child(soc, "nic@0");
            set(nic, "iommus", iommus);
            smmu_v3(tree);
            smmu_v2(tree, cells);
            tree.root.remove_child("pcie@10000000");
        };
        let mut all = streams(edit);
        (all.remove(0), all.remove(0))
    };
    assert_eq!(of(1, &[9, 5]), (vec![], vec![(5, 1)]));
    assert_eq!(of(1, &[9, 5, 0x8004, 7, 9, 6, 0x8004, 1]), (vec![(7, 1), (1, 1)], vec![(5, 2)]));
    assert_eq!(of(2, &[9, 0x40, 0xF, 9, 0x80, 0]), (vec![], vec![(0x40, 0x10), (0x80, 1)]));
    assert_eq!(of(2, &[9, 0x41, 0xFFFF_000F]), (vec![], vec![(0x40, 0x10)]));
    // Half an entry, no SMMU, more cells.
    for (cells, iommus) in [(1, &[9][..]), (1, &[7, 5, 9, 5]), (2, &[9, 5]), (3, &[9, 5, 0, 0]), (0, &[9])] {
        assert_eq!(of(cells, iommus), (vec![], vec![]), "{cells} {iommus:?}");
    }
    assert_eq!(of(1, &[9, 5, 7, 5]), (vec![], vec![(5, 1)]), "what is right stays");
}

#[test]
fn more_streams_than_there_is_room_for_are_left_out() {
    let count = MAX_STREAM_RANGES as u32;
    let map: Vec<u32> = (0..count + 1).flat_map(|i| [i, 0x8004, 2 * i, 1]).collect();
    let found = mapped(&map, None);
    assert_eq!(found, (0..count).map(|i| (2 * i, 1)).collect::<Vec<_>>());
}

#[test]
fn ranges_of_streams() {
    assert_eq!([StreamRange::new(0, 0), StreamRange::new(2, u32::MAX), StreamRange::new(u32::MAX, 2)], [None; 3]);
    let range = StreamRange::new(0x10, 0x10).unwrap();
    assert_eq!([0xF, 0x10, 0x1F, 0x20, u32::MAX].map(|id| range.contains(id)), [false, true, true, false, false]);
    let last = StreamRange::new(u32::MAX, 1).unwrap();
    assert_eq!([0, u32::MAX - 1, u32::MAX].map(|id| last.contains(id)), [false, false, true]);
    assert_eq!(format!("{range}, {last}"), "0x10 - 0x1f, 0xffffffff");
}
