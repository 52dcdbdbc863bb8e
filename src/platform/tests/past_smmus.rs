// SPDX-License-Identifier: GPL-2.0-only
//! Devices that no SMMU is in front of.

use super::discover::{node, with};
use super::{child, device, set};
use crate::platform::host_tree::{HostView, host_tree};
use crate::world::range;
use dtoolkit::Node;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::DeviceTree;
use std::string::ToString;

const FW_CFG: &str = "fw-cfg@9020000";

fn add_fw_cfg(tree: &mut DeviceTree) {
    let fw_cfg = device(&mut tree.root, FW_CFG, &["qemu,fw-cfg-mmio"], &[0x0902_0000, 0x18]);
    set(fw_cfg, "dma-coherent", [0u8; 0]);
}

fn past(edit: impl FnOnce(&mut DeviceTree)) -> std::string::String {
    with(edit, |found| {
        let found = found.unwrap().past_smmus;
        let text = found.to_string();
        assert_eq!(found.is_empty(), text.is_empty());
        text
    })
}

#[test]
fn those_that_do_dma_past_smmus_are_named_or_counted() {
    assert_eq!(past(|_| {}), "");
    let virtio = |tree: &mut DeviceTree, count: u64| {
        for i in 0..count {
            let at = 0x0A00_0000 + 0x200 * i;
            let name = std::format!("virtio_mmio@{at:x}");
            set(device(&mut tree.root, &name, &["virtio,mmio"], &[at, 0x200]), "dma-coherent", [0u8; 0]);
        }
    };
    assert_eq!(past(|tree| virtio(tree, 1)), "virtio_mmio@a000000");
    assert_eq!(past(|tree| virtio(tree, 3)), "virtio_mmio@a000000, virtio_mmio@a000200, virtio_mmio@a000400");
    assert_eq!(
        past(|tree| virtio(tree, 32)),
        "virtio_mmio@a000000, virtio_mmio@a000200, virtio_mmio@a000400 and 29 more"
    );
    for (property, is_past) in [("iommus", false), ("iommu-map", false), ("#iommu-cells", false), ("reg", true)] {
        let found = past(|tree| {
            virtio(tree, 1);
            set(node(tree, "/virtio_mmio@a000000"), property, [0u32, 0]);
        });
        assert_eq!(!found.is_empty(), is_past, "{property}");
    }
    let disabled = past(|tree| {
        virtio(tree, 1);
        set(node(tree, "/virtio_mmio@a000000"), "status", "disabled");
    });
    assert_eq!(disabled, "");
    let on_a_bus = past(|tree| {
        let soc = device(&mut tree.root, "soc", &["simple-bus"], &[]);
        set(soc, "dma-coherent", [0u8; 0]);
        set(child(soc, "mmc@1"), "dma-coherent", [0u8; 0]);
    });
    assert_eq!(on_a_bus, "mmc@1");
}

#[test]
fn fw_cfg_writes_to_any_address_and_is_not_the_hosts() {
    assert_eq!(past(add_fw_cfg), "");
    with(add_fw_cfg, |found| assert_eq!(found.unwrap().fw_cfg, Some(range(0x0902_0000, 0x1000))));
    let before = super::virt_with(add_fw_cfg);
    let view = HostView { owned: &[], page_0: false, bootargs: None, ramdisk: None };
    let after = host_tree(&Fdt::new(&before).unwrap(), &view).unwrap();
    let after = DeviceTree::from_fdt(&Fdt::new(&after).unwrap());
    assert_eq!(after.find_node("/fw-cfg@9020000"), None);
    assert!(after.find_node("/pl011@9000000").is_some());
    assert!(after.root.children().all(|node| node.name() != FW_CFG));
}
