// SPDX-License-Identifier: GPL-2.0-only
//! The tree that the host gets, read again.

use super::{cells, child, device, set, set_cells, virt};
use crate::addr::Range;
use crate::platform::host_tree::{HostView, host_tree};
use crate::world::range;
use dtoolkit::fdt::Fdt;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

const OWNED: [Range; 2] =
    [Range { start: 0x4020_0000, end: 0x4040_0000 }, Range { start: 0x7F80_0000, end: 0x8000_0000 }];

fn view() -> HostView<'static> {
    let ramdisk = Some(range(0x4800_0000, 0x10_0001));
    HostView { owned: &OWNED, page_0: false, bootargs: Some("console=ttyAMA0 quiet"), ramdisk }
}

/// The host's version of `tree`.
fn edited(tree: &DeviceTree, view: &HostView<'_>) -> DeviceTree {
    let before = tree.to_dtb();
    let after = host_tree(&Fdt::new(&before).unwrap(), view).unwrap();
    DeviceTree::from_fdt(&Fdt::new(&after).unwrap())
}

fn value(tree: &DeviceTree, path: &str, name: &str) -> Option<Vec<u8>> {
    Some(tree.find_node(path)?.property(name)?.value().to_vec())
}

fn be(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|c| c.to_be_bytes()).collect()
}

fn names(node: &DeviceTreeNode) -> Vec<String> {
    node.children().map(|n| n.name().to_string()).collect()
}

#[test]
fn corevisors_memory_is_reserved() {
    let tree = edited(&virt(), &view());
    let reserved = tree.find_node("/reserved-memory").unwrap();
    assert_eq!(names(reserved), ["corevisor@40200000", "corevisor@7f800000"]);
    assert_eq!(value(&tree, "/reserved-memory", "#address-cells"), Some(be(&[2])));
    assert_eq!(value(&tree, "/reserved-memory", "#size-cells"), Some(be(&[2])));
    assert_eq!(value(&tree, "/reserved-memory", "ranges"), Some(vec![]));
    for (node, owned) in reserved.children().zip(OWNED) {
        assert_eq!(node.property("reg").unwrap().value(), be(&cells(&[owned.start, owned.size()])));
        assert_eq!(node.property("no-map").unwrap().value(), []);
    }
}

#[test]
fn page_0_is_reserved_if_there_is_one() {
    let tree = edited(&virt(), &HostView { page_0: true, ..view() });
    assert_eq!(value(&tree, "/reserved-memory/corevisor@0", "reg"), Some(be(&cells(&[0, 0x1000]))));
}

#[test]
fn reservations_that_were_there_stay() {
    let mut tree = virt();
    tree.memory_reservations = vec![MemoryReservation::new(0x4100_0000, 0x1000)];
    let reserved = child(&mut tree.root, "reserved-memory");
    set_cells(reserved, 2, 2);
    set(reserved, "ranges", [0u8; 0]);
    set(child(reserved, "optee@7e000000"), "reg", cells(&[0x7E00_0000, 0x10_0000]));
    let optee = reserved.child("optee@7e000000").cloned();
    let after = edited(&tree, &view());
    assert_eq!(after.memory_reservations, tree.memory_reservations);
    assert_eq!(after.find_node("/reserved-memory/optee@7e000000"), optee.as_ref());
    assert_eq!(names(after.find_node("/reserved-memory").unwrap()).len(), 3);
}

#[test]
fn reservations_take_the_roots_cells() {
    for (address, size) in [(1, 1), (2, 1), (3, 2)] {
        let mut tree = virt();
        set_cells(&mut tree.root, address, size);
        let after = edited(&tree, &view());
        let mut reg = vec![0; address as usize + size as usize];
        reg[address as usize - 1] = OWNED[0].start as u32;
        reg[(address + size) as usize - 1] = OWNED[0].size() as u32;
        assert_eq!(value(&after, "/reserved-memory/corevisor@40200000", "reg"), Some(be(&reg)));
    }
}

#[test]
fn chosen_is_the_hosts() {
    let mut tree = virt();
    let chosen = tree.find_node_mut("/chosen").unwrap();
    set(chosen, "linux,initrd-start", 1u64);
    device(chosen, "keys", &["corevisor,image-keys"], &[0x4A00_0000, 32]);
    let after = edited(&tree, &view());
    assert!(names(after.find_node("/chosen").unwrap()).is_empty(), "no modules");
    assert_eq!(value(&after, "/chosen", "bootargs"), Some(b"console=ttyAMA0 quiet\0".to_vec()));
    assert_eq!(value(&after, "/chosen", "linux,initrd-start"), Some(be(&cells(&[0x4800_0000]))));
    assert_eq!(value(&after, "/chosen", "linux,initrd-end"), Some(be(&cells(&[0x4810_0001]))));
    assert_eq!(value(&after, "/chosen", "rng-seed"), Some(vec![7; 32]));
    assert_eq!(value(&after, "/chosen", "stdout-path"), Some(b"/pl011@9000000\0".to_vec()));
    let after = edited(&tree, &HostView { bootargs: None, ramdisk: None, ..view() });
    for name in ["bootargs", "linux,initrd-start", "linux,initrd-end"] {
        assert_eq!(value(&after, "/chosen", name), None, "{name} was Corevisor's");
    }
}

/// The timer of a machine with these interrupts.
fn timer(interrupt_cells: u32, interrupts: &[u32], names: Option<&[&str]>) -> (Vec<u8>, Vec<u8>) {
    let mut tree = virt();
    set(tree.find_node_mut("/intc@8000000").unwrap(), "#interrupt-cells", interrupt_cells);
    let timer = tree.find_node_mut("/timer").unwrap();
    set(timer, "interrupts", interrupts);
    if let Some(names) = names {
        set(timer, "interrupt-names", names);
    }
    let after = edited(&tree, &view());
    let get = |name| value(&after, "/timer", name).unwrap();
    (get("interrupts"), get("interrupt-names"))
}

#[test]
fn the_host_has_the_physical_timer_only() {
    let phys = |cells: &[u32]| (be(cells), b"phys\0".to_vec());
    let three: Vec<u32> = (0..12).collect();
    let four: Vec<u32> = (0..16).collect();
    assert_eq!(timer(3, &three, None), phys(&[3, 4, 5]));
    assert_eq!(timer(4, &four, None), phys(&[4, 5, 6, 7]));
    assert_eq!(timer(3, &three, Some(&["sec-phys", "phys", "virt", "hyp-phys"])), phys(&[3, 4, 5]));
    assert_eq!(timer(3, &three, Some(&["phys", "virt", "hyp-phys", "hyp-virt"])), phys(&[0, 1, 2]));
    assert_eq!(timer(4, &four[..8], Some(&["virt", "phys"])), phys(&[4, 5, 6, 7]));
    assert!(edited(&virt(), &view()).find_node("/timer").unwrap().property("always-on").is_some());
}

/// interrupt-parent, interrupts and interrupt-names of /hypervisor, if `edit` is done to the machine's tree.
fn virtual_timer(edit: impl FnOnce(&mut DeviceTreeNode)) -> [Option<Vec<u8>>; 3] {
    let mut tree = virt();
    edit(&mut tree.root);
    let after = edited(&tree, &view());
    ["interrupt-parent", "interrupts", "interrupt-names"].map(|name| value(&after, "/hypervisor", name))
}

fn timer_node(root: &mut DeviceTreeNode) -> &mut DeviceTreeNode {
    root.child_mut("timer").unwrap()
}

#[test]
fn the_virtual_timers_interrupt_is_corevisors_nodes() {
    let found = |parent: u32, cells: &[u32]| [Some(be(&[parent])), Some(be(cells)), Some(b"virt-timer\0".to_vec())];
    assert_eq!(virtual_timer(|_| ()), found(0x8002, &[1, 11, 0x304]));
    let three: Vec<u32> = (0..12).collect();
    let named = |names: &'static [&str], interrupts: Vec<u32>| {
        virtual_timer(|root| {
            set(timer_node(root), "interrupt-names", names);
            set(timer_node(root), "interrupts", interrupts);
        })
    };
    assert_eq!(named(&["phys", "virt", "hyp-phys"], three[..9].to_vec()), found(0x8002, &[3, 4, 5]));
    assert_eq!(named(&["virt", "phys"], three[..6].to_vec()), found(0x8002, &[0, 1, 2]));
    let four = virtual_timer(|root| {
        set(root.child_mut("intc@8000000").unwrap(), "#interrupt-cells", 4u32);
        set(timer_node(root), "interrupts", (0..16).collect::<Vec<u32>>());
    });
    assert_eq!(four, found(0x8002, &[8, 9, 10, 11]));
    // The nearest parent counts, wherever the timer is.
    let own = virtual_timer(|root| set(timer_node(root), "interrupt-parent", 7u32));
    assert_eq!(own, found(7, &[1, 11, 0x304]));
    let moved = virtual_timer(|root| {
        let timer = root.remove_child("timer").unwrap();
        let soc = child(root, "soc");
        set(soc, "interrupt-parent", 9u32);
        soc.add_child(timer);
    });
    assert_eq!(moved, found(9, &[1, 11, 0x304]));
    // Nothing is said where nothing is known.
    let none = [None, None, None];
    assert_eq!(named(&["phys"], three[..3].to_vec()), none, "no such name");
    assert_eq!(named(&["phys", "virt"], three[..3].to_vec()), none, "no such interrupt");
    assert_eq!(virtual_timer(|root| set(timer_node(root), "interrupts", three[..6].to_vec())), none);
    assert_eq!(virtual_timer(|root| drop(root.remove_child("timer"))), none);
    assert_eq!(virtual_timer(|root| drop(root.remove_property("interrupt-parent"))), none);
}

#[test]
fn smmus_are_gone_and_nothing_points_at_one() {
    let mut tree = virt();
    device(&mut tree.root, "smmuv3@9050000", &["arm,smmu-v3"], &[0x0905_0000, 0x2_0000]);
    let soc = child(&mut tree.root, "soc");
    set_cells(soc, 2, 2);
    for (name, compatible) in [("iommu@1", "arm,smmu-v2"), ("iommu@2", "arm,mmu-500"), ("iommu@3", "arm,mmu-401")] {
        device(soc, name, &["vendor,smmu", compatible], &[1, 1]);
    }
    let nic = device(soc, "nic@4", &["vendor,nic"], &[4, 1]);
    set(nic, "iommus", [0x8004u32, 1]);
    set(nic, "iommu-map-mask", 7u32);
    let after = edited(&tree, &view());
    assert_eq!(after.find_node("/smmuv3@9050000"), None);
    assert_eq!(names(after.find_node("/soc").unwrap()), ["nic@4"]);
    assert_eq!(value(&after, "/soc/nic@4", "reg"), Some(be(&cells(&[4, 1]))));
    for (path, name) in [("/soc/nic@4", "iommus"), ("/soc/nic@4", "iommu-map-mask"), ("/pcie@10000000", "iommu-map")] {
        assert_eq!(value(&after, path, name), None, "{path} {name}");
    }
}

#[test]
fn psci_is_called_by_smc_and_corevisor_is_named() {
    let mut tree = virt();
    set(tree.find_node_mut("/psci").unwrap(), "method", "hvc");
    device(&mut tree.root, "hypervisor", &["xen,xen"], &[1, 2]);
    let after = edited(&tree, &view());
    assert_eq!(value(&after, "/psci", "method"), Some(b"smc\0".to_vec()));
    assert_eq!(value(&after, "/hypervisor", "compatible"), Some(b"corevisor,corevisor-1\0".to_vec()));
    assert_eq!(after.find_node("/hypervisor").unwrap().properties().count(), 4, "nothing of the other one");
}

#[test]
fn everything_else_is_as_it_was() {
    let before = virt();
    let mut after = edited(&before, &view());
    for name in names(&before.root).iter().filter(|n| !["timer", "chosen", "pcie@10000000"].contains(&n.as_str())) {
        assert_eq!(after.root.child(name), before.root.child(name), "{name}");
    }
    let properties = |root: &DeviceTreeNode| {
        root.properties().map(|p| (p.name().to_string(), p.value().to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(properties(&after.root), properties(&before.root));
    // Done twice it is done once, but that the virtual timer's interrupt is found no more.
    let mut twice = edited(&after, &view());
    twice.root.remove_child("hypervisor");
    after.root.remove_child("hypervisor");
    assert_eq!(twice, after);
    after.root.remove_child("reserved-memory");
    assert_eq!(names(&after.root), names(&before.root), "no other nodes, and in their order");
}
