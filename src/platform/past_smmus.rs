// SPDX-License-Identifier: GPL-2.0-only
//! Devices that read and write memory with no SMMU in front of them, as far as the device tree tells: nothing restricts
//! what they reach.

use super::discover::{MAX_DEPTH, is_enabled};
use arrayvec::ArrayVec;
use core::fmt;
use dtoolkit::Node;
use dtoolkit::fdt::{Fdt, FdtNode};

/// What QEMU's interface to its own configuration is compatible with. It writes what it is asked for to any address, and
/// no SMMU is in front of it, so it is not for a host.
pub const FW_CFG: &str = "qemu,fw-cfg-mmio";
/// How many are named.
const NAMED: usize = 3;

/// Some of them, and how many there are.
#[derive(Debug, Default)]
pub struct PastSmmus<'a> {
    names: ArrayVec<&'a str, NAMED>,
    count: usize,
}

impl PastSmmus<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for PastSmmus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.names.iter().enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        match self.count - self.names.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The devices of `fdt` that are said to do DMA (`dma-coherent`), and to have no SMMU.
pub fn find(fdt: Fdt<'_>) -> PastSmmus<'_> {
    let mut found = PastSmmus::default();
    below(fdt.root(), &mut found, MAX_DEPTH);
    found
}

fn below<'a>(parent: FdtNode<'a>, found: &mut PastSmmus<'a>, depth: usize) {
    for node in parent.children().filter(|n| is_enabled(*n)) {
        let has = |name| node.property(name).is_some();
        let is = |prefix: &str| node.compatible().is_some_and(|mut all| all.any(|name| name.starts_with(prefix)));
        let translated = has("iommus") || has("iommu-map") || has("#iommu-cells");
        if has("dma-coherent") && !translated && !is(FW_CFG) && !is("simple-bus") {
            found.count += 1;
            let _ = found.names.try_push(node.name()); // the others are counted
        }
        if depth > 1 {
            below(node, found, depth - 1);
        }
    }
}
