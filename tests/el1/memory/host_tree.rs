// SPDX-License-Identifier: GPL-2.0-only
//! The device tree.

use super::devices::smmu_expected;
use crate::rt::{PAGE, cpu, tree};
use dtoolkit::Node;
use dtoolkit::standard::NodeStandard;

pub fn corevisor_is_reserved() {
    let reserved = tree::node("/reserved-memory").expect("/reserved-memory");
    assert_eq!(tree::value(reserved, "ranges"), b"");
    let root = tree::root();
    assert_eq!(reserved.address_cells(), root.address_cells());
    assert_eq!(reserved.size_cells(), root.size_cells());
    let mut nodes = 0;
    for node in reserved.children().filter(|node| node.name_without_address() == "corevisor") {
        nodes += 1;
        assert_eq!(tree::value(node, "no-map"), b"");
        let mut ranges = tree::ranges(node);
        let range = ranges.next().expect("a range");
        assert_eq!(ranges.next(), None);
        let (_, address) = node.name().split_once('@').expect("a unit address");
        assert_eq!(u64::from_str_radix(address, 16), Ok(range.start));
        assert!(range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE), "{range:x?}");
        assert!(range.start < range.end, "{range:x?}");
        assert!(tree::ram().any(|ram| ram.start <= range.start && range.end <= ram.end), "{range:x?}");
        assert!(!range.contains(&cpu::entry()), "{range:x?}");
        let others = tree::corevisor().filter(|other| *other != range);
        assert!(others.into_iter().all(|other| other.end <= range.start || range.end <= other.start));
    }
    assert_eq!(nodes, 2, "the image and the carve-out");
}

pub fn hypervisor_node() {
    let node = tree::node("/hypervisor").expect("/hypervisor");
    assert_eq!(tree::value(node, "compatible"), b"corevisor,corevisor-1\0");
    assert_eq!(tree::root().children().filter(|node| node.name_without_address() == "hypervisor").count(), 1);
    // PPI 11: INTID 27, the virtual timer, as Corevisor's GIC has it.
    assert_eq!(tree::value(node, "interrupt-names"), b"virt-timer\0");
    let interrupts = tree::value(node, "interrupts");
    assert_eq!((interrupts.len(), &interrupts[..8]), (12, [0, 0, 0, 1, 0, 0, 0, 11].as_slice()));
    let gic = tree::compatible("arm,gic-v3").or(tree::compatible("arm,cortex-a15-gic")).expect("a GIC");
    assert_eq!(tree::value(node, "interrupt-parent"), tree::value(gic, "phandle"));
    // And the GIC keeps its own, the maintenance interrupt: PPI 9.
    assert_eq!(tree::value(gic, "interrupts")[..8], [0, 0, 0, 1, 0, 0, 0, 9]);
}

pub fn only_the_physical_timer() {
    let timer = tree::compatible("arm,armv8-timer").expect("a timer");
    assert_eq!(tree::value(timer, "interrupt-names"), b"phys\0");
    let interrupts = tree::value(timer, "interrupts");
    // PPI 14: INTID 30, the non-secure EL1 physical timer.
    assert_eq!((interrupts.len(), &interrupts[..8]), (12, [0, 0, 0, 1, 0, 0, 0, 14].as_slice()));
}

pub fn no_smmu_in_the_tree() {
    for smmu in ["arm,smmu-v3", "arm,smmu-v2", "arm,mmu-500", "arm,mmu-401"] {
        assert!(tree::compatible(smmu).is_none(), "{smmu}");
    }
    for node in tree::all() {
        for name in ["iommus", "iommu-map", "iommu-map-mask"] {
            assert!(node.property(name).is_none(), "{name} of {}", node.name());
        }
    }
    assert!(tree::compatible("pci-host-ecam-generic").is_some(), "the bus itself is there");
}

pub fn chosen_is_the_hosts() {
    let chosen = tree::node("/chosen").expect("/chosen");
    assert_eq!(chosen.children().count(), 0, "modules");
    let expected: &[u8] = if smmu_expected() { b"el1_memory iommu=smmuv3\0" } else { b"el1_memory\0" };
    assert_eq!(tree::value(chosen, "bootargs"), expected);
    for name in ["linux,initrd-start", "linux,initrd-end"] {
        assert!(chosen.property(name).is_none(), "{name}");
    }
    assert!(chosen.property("stdout-path").is_some());
}

pub fn psci_by_smc() {
    let psci = tree::compatible("arm,psci-1.0").or(tree::compatible("arm,psci-0.2")).expect("PSCI");
    assert_eq!(tree::value(psci, "method"), b"smc\0");
}
