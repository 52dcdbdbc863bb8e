// SPDX-License-Identifier: GPL-2.0-only
//! The device tree that the host is given: the machine's, with Corevisor's memory reserved, its own boot data in
//! /chosen, the physical timer instead of the virtual one, no SMMUs or fw_cfg, and a /hypervisor node, which has the
//! virtual one's interrupt.
//!
//! This is the one module that allocates: from a heap that exists only until the host starts.

use super::BootError;
use super::past_smmus::FW_CFG;
use super::smmus::{SMMUS_V2, SMMUS_V3};
use crate::addr::{PAGE_SIZE, Range};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property, ToPropertyValue};

/// What the host is told.
#[derive(Debug)]
pub struct HostView<'a> {
    /// Ranges that are Corevisor's.
    pub owned: &'a [Range],
    /// Whether RAM has a page 0, which the host can't have.
    pub page_0: bool,
    /// The kernel's command line.
    pub bootargs: Option<&'a str>,
    /// The initial RAM disk.
    pub ramdisk: Option<Range>,
}

/// What a module with keys for images of VMs is compatible with.
pub const IMAGE_KEYS: &str = "corevisor,image-keys";

fn compatible_with(node: &impl Node, names: &[&str]) -> bool {
    let Some(property) = node.property("compatible") else { return false };
    let mut all = property.value().split(|&b| b == 0);
    all.any(|name| names.iter().any(|n| n.as_bytes() == name))
}

/// Edits `fdt`. The result is the new tree, flattened.
pub fn host_tree(fdt: &Fdt<'_>, view: &HostView<'_>) -> Result<Vec<u8>, BootError> {
    let mut tree = DeviceTree::from_fdt(fdt);
    let root = &mut tree.root;
    reserve(root, view);
    chosen(root, view);
    let interrupt_cells = interrupt_cells(root);
    let hypervisor = hypervisor(root, interrupt_cells);
    devices(root, interrupt_cells);
    root.remove_child("hypervisor");
    root.add_child(hypervisor);
    Ok(tree.to_dtb())
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    match node.property_mut(name) {
        Some(property) => property.set_value(value),
        None => node.add_property(DeviceTreeProperty::new_unchecked(name, value)),
    }
}

fn cell(node: &DeviceTreeNode, name: &str, default: u32) -> u32 {
    node.property(name).and_then(|p| p.value_as().ok()).unwrap_or(default)
}

/// /reserved-memory, in the root's cell counts, as its binding demands.
fn reserve(root: &mut DeviceTreeNode, view: &HostView<'_>) {
    let address_cells = cell(root, "#address-cells", 2);
    let size_cells = cell(root, "#size-cells", 1);
    if root.child("reserved-memory").is_none() {
        let mut node = DeviceTreeNode::new_unchecked("reserved-memory");
        set(&mut node, "#address-cells", address_cells);
        set(&mut node, "#size-cells", size_cells);
        set(&mut node, "ranges", [0u8; 0]);
        root.add_child(node);
    }
    let Some(reserved) = root.child_mut("reserved-memory") else { return };
    let page_0 = view.page_0.then_some(Range { start: 0, end: PAGE_SIZE });
    for range in view.owned.iter().copied().chain(page_0) {
        let mut node = DeviceTreeNode::new_unchecked(format!("corevisor@{:x}", range.start));
        let mut reg = Vec::new();
        push_cells(&mut reg, range.start, address_cells);
        push_cells(&mut reg, range.size(), size_cells);
        set(&mut node, "reg", reg);
        set(&mut node, "no-map", [0u8; 0]);
        reserved.add_child(node);
    }
}

fn push_cells(reg: &mut Vec<u32>, value: u64, cells: u32) {
    for cell in (0..cells).rev() {
        reg.push(if cell < 2 { (value >> (32 * cell)) as u32 } else { 0 });
    }
}

fn chosen(root: &mut DeviceTreeNode, view: &HostView<'_>) {
    let Some(chosen) = root.child_mut("chosen") else { return };
    let modules: Vec<String> = chosen
        .children()
        .filter(|n| compatible_with(n, &["multiboot,module", "multiboot,kernel", "multiboot,ramdisk", IMAGE_KEYS]))
        .map(|n| String::from(n.name()))
        .collect();
    for module in &modules {
        chosen.remove_child(module);
    }
    // These were for us, or for what a bootloader thought it was loading.
    for name in ["bootargs", "linux,initrd-start", "linux,initrd-end"] {
        chosen.remove_property(name);
    }
    if let Some(bootargs) = view.bootargs {
        set(chosen, "bootargs", bootargs);
    }
    if let Some(ramdisk) = view.ramdisk {
        set(chosen, "linux,initrd-start", ramdisk.start);
        set(chosen, "linux,initrd-end", ramdisk.end);
    }
}

/// #interrupt-cells of the GIC.
fn interrupt_cells(node: &DeviceTreeNode) -> usize {
    let gics = ["arm,gic-v3", "arm,gic-400", "arm,cortex-a15-gic", "arm,cortex-a7-gic"];
    if compatible_with(node, &gics) {
        return cell(node, "#interrupt-cells", 3) as usize;
    }
    node.children().map(interrupt_cells).find(|&n| n != 0).unwrap_or(0)
}

/// All nodes below `node`: no SMMUs, nor anything that points at one, and no fw_cfg; the timer; PSCI by SMC.
fn devices(node: &mut DeviceTreeNode, interrupt_cells: usize) {
    let is_ours =
        |n: &&DeviceTreeNode| [&SMMUS_V3[..], &SMMUS_V2, &[FW_CFG]].iter().any(|names| compatible_with(*n, names));
    let withheld: Vec<String> = node.children().filter(is_ours).map(|n| String::from(n.name())).collect();
    for withheld in &withheld {
        node.remove_child(withheld);
    }
    for name in ["iommus", "iommu-map", "iommu-map-mask"] {
        node.remove_property(name);
    }
    if compatible_with(node, &TIMERS) {
        physical_timer(node, interrupt_cells);
    }
    if compatible_with(node, &["arm,psci", "arm,psci-0.2", "arm,psci-1.0"]) {
        set(node, "method", "smc");
    }
    for child in node.children_mut() {
        devices(child, interrupt_cells);
    }
}

const TIMERS: [&str; 1] = ["arm,armv8-timer"];

/// Leaves the timer node only the non-secure physical timer's interrupt, so that a Linux at EL1 takes that one, and the
/// virtual timer stays free for VMs.
fn physical_timer(timer: &mut DeviceTreeNode, interrupt_cells: usize) {
    const NON_SECURE: usize = 1;
    let Some(one) = timer_interrupt(timer, interrupt_cells, "phys", NON_SECURE) else { return };
    set(timer, "interrupts", one);
    set(timer, "interrupt-names", "phys");
}

/// The interrupt of that name of a timer node, which if the node gives no names is number `index`: the binding's order is
/// secure, non-secure, virtual, hypervisor.
fn timer_interrupt(timer: &DeviceTreeNode, interrupt_cells: usize, name: &str, index: usize) -> Option<Vec<u8>> {
    let index = match timer.property("interrupt-names") {
        Some(names) => names.value().split(|&b| b == 0).position(|n| n == name.as_bytes())?,
        None => index,
    };
    let size = interrupt_cells * 4;
    timer.property("interrupts")?.value().get(index * size..(index + 1) * size).map(Vec::from)
}

/// The node that names Corevisor. It has the virtual timer's interrupt, which the host has no other use for than to leave a
/// VM when its timer is due.
fn hypervisor(root: &DeviceTreeNode, interrupt_cells: usize) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked("hypervisor");
    set(&mut node, "compatible", "corevisor,corevisor-1");
    if let Some((parent, interrupt)) = virtual_timer(root, None, interrupt_cells) {
        set(&mut node, "interrupt-parent", parent);
        set(&mut node, "interrupts", interrupt);
        set(&mut node, "interrupt-names", "virt-timer");
    }
    node
}

/// The interrupt parent (`inherited`, if `node` does not say) and the virtual interrupt of the first timer node that has
/// one, of `node` and all below.
fn virtual_timer(node: &DeviceTreeNode, inherited: Option<u32>, interrupt_cells: usize) -> Option<(u32, Vec<u8>)> {
    const VIRTUAL: usize = 2;
    let parent = node.property("interrupt-parent").and_then(|p| p.value_as().ok()).or(inherited);
    if compatible_with(node, &TIMERS)
        && let Some(interrupt) = timer_interrupt(node, interrupt_cells, "virt", VIRTUAL)
    {
        return Some((parent?, interrupt));
    }
    node.children().find_map(|child| virtual_timer(child, parent, interrupt_cells))
}
