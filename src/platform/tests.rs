// SPDX-License-Identifier: GPL-2.0-only
//! Device trees made in code, like those of QEMU's virt machine, and what boot makes of them.

mod discover;
mod host_image;
mod host_tree;
mod image_keys;
mod layout;
mod past_smmus;
mod smmus;

use dtoolkit::ToPropertyValue;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use std::format;
use std::vec::Vec;

/// Two cells for each value.
fn cells(values: &[u64]) -> Vec<u32> {
    values.iter().flat_map(|v| [(v >> 32) as u32, *v as u32]).collect()
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
}

fn child<'t>(parent: &'t mut DeviceTreeNode, name: &str) -> &'t mut DeviceTreeNode {
    parent.add_child_mut(DeviceTreeNode::new_unchecked(name))
}

/// A node with `compatible` and, if `reg` is not empty, that in two cells for each value.
fn device<'t>(parent: &'t mut DeviceTreeNode, name: &str, compatible: &[&str], reg: &[u64]) -> &'t mut DeviceTreeNode {
    let node = child(parent, name);
    set(node, "compatible", compatible);
    if !reg.is_empty() {
        set(node, "reg", cells(reg));
    }
    node
}

fn set_cells(node: &mut DeviceTreeNode, address: u32, size: u32) {
    set(node, "#address-cells", address);
    set(node, "#size-cells", size);
}

fn add_cpus(root: &mut DeviceTreeNode, count: u32) {
    let cpus = child(root, "cpus");
    set_cells(cpus, 1, 0);
    for i in 0..count {
        let mpidr = ((i / 8) << 8) | (i % 8);
        let cpu = child(cpus, &format!("cpu@{mpidr:x}"));
        set(cpu, "device_type", "cpu");
        set(cpu, "reg", mpidr);
        set(cpu, "enable-method", "psci");
    }
}

/// A module node of /chosen.
fn module(tree: &mut DeviceTree, what: &str, start: u64, size: u64) {
    let chosen = tree.find_node_mut("/chosen").unwrap();
    let kind = format!("multiboot,{what}");
    device(chosen, &format!("module@{start:x}"), &[&kind, "multiboot,module"], &[start, size]);
}

/// QEMU's virt machine with two CPUs, 1 GiB, GICv3, and the host's kernel and ramdisk as its guest-loader puts them.
fn virt() -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    set_cells(root, 2, 2);
    set(root, "compatible", "linux,dummy-virt");
    set(root, "interrupt-parent", 0x8002u32);
    let psci = device(root, "psci", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"], &[]);
    set(psci, "method", "smc");
    set(psci, "cpu_on", 0xC400_0003u32);
    let memory = child(root, "memory@40000000");
    set(memory, "device_type", "memory");
    set(memory, "reg", cells(&[0x4000_0000, 0x4000_0000]));
    add_cpus(root, 2);
    let timer = device(root, "timer", &["arm,armv8-timer", "arm,armv7-timer"], &[]);
    set(timer, "interrupts", [1u32, 13, 0x104, 1, 14, 0x204, 1, 11, 0x304, 1, 10, 0x404]);
    set(timer, "always-on", [0u8; 0]);
    let gic = device(root, "intc@8000000", &["arm,gic-v3"], &[0x0800_0000, 0x1_0000, 0x080A_0000, 0xF6_0000]);
    set_cells(gic, 2, 2);
    set(gic, "#interrupt-cells", 3u32);
    set(gic, "ranges", [0u8; 0]);
    set(gic, "phandle", 0x8002u32);
    device(gic, "its@8080000", &["arm,gic-v3-its"], &[0x0808_0000, 0x2_0000]);
    device(root, "pl011@9000000", &["arm,pl011", "arm,primecell"], &[0x0900_0000, 0x1000]);
    let pcie = device(root, "pcie@10000000", &["pci-host-ecam-generic"], &[0x40_1000_0000, 0x1000_0000]);
    set(pcie, "iommu-map", [0u32, 0x8004, 0, 0x1_0000]);
    let chosen = child(root, "chosen");
    set(chosen, "stdout-path", "/pl011@9000000");
    set(chosen, "bootargs", "corevisor.log=debug");
    set(chosen, "rng-seed", [7u8; 32]);
    module(&mut tree, "kernel", 0x4400_0000, 0x123_4567);
    set(tree.find_node_mut("/chosen/module@44000000").unwrap(), "bootargs", "console=ttyAMA0");
    module(&mut tree, "ramdisk", 0x4800_0000, 0x10_0001);
    tree
}

/// `edit`ed [`virt`], flattened.
fn virt_with(edit: impl FnOnce(&mut DeviceTree)) -> Vec<u8> {
    let mut tree = virt();
    edit(&mut tree);
    tree.to_dtb()
}
