// SPDX-License-Identifier: GPL-2.0-only
//! The SMMUs of the device tree, and the streams of the devices in front of them.

use super::BootError;
use super::discover::{MAX_DEPTH, is_enabled, is_one_of};
use crate::addr::Range;
use arrayvec::ArrayVec;
use core::fmt;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};
use log::warn;

/// Most SMMUs that the device tree may name.
pub const MAX_SMMUS: usize = 8;
/// Most ranges of streams of one SMMU; ranges that touch are one.
pub const MAX_STREAM_RANGES: usize = 64;

/// What an SMMU of version 3 is compatible with.
pub const SMMUS_V3: [&str; 1] = ["arm,smmu-v3"];
/// What an SMMU of version 1 or 2 is compatible with; its registers say what it can do.
pub const SMMUS_V2: [&str; 6] =
    ["arm,smmu-v2", "arm,mmu-500", "arm,mmu-401", "arm,smmu-v1", "arm,mmu-400", "cavium,smmu-v2"];

/// An SMMU, as the device tree has it.
#[derive(Clone, Debug)]
pub struct Smmu {
    /// Its registers, widened to whole pages.
    pub window: Range,
    /// Its architecture.
    pub kind: SmmuKind,
    /// Whether it reads its tables and queues as the CPUs' caches have them (`dma-coherent`).
    pub coherent: bool,
    /// The streams that the device tree names, in the order of the tree. Ranges may overlap.
    pub streams: ArrayVec<StreamRange, MAX_STREAM_RANGES>,
    /// What devices refer to it by.
    phandle: Option<u32>,
    /// Cells that name a stream.
    iommu_cells: u32,
}

/// An SMMU's architecture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SmmuKind {
    /// SMMUv2, or v1, which has less (Arm IHI 0062).
    V2,
    /// SMMUv3 (Arm IHI 0070).
    V3,
}

/// Streams `first` to `first + count - 1`, which are no more than 2^32 - 1; `count` is not 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamRange {
    /// The first one's id.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl StreamRange {
    /// `None` if there are none, or ids beyond 32 bits among them.
    pub fn new(first: u32, count: u32) -> Option<Self> {
        first.checked_add(count.checked_sub(1)?)?;
        Some(Self { first, count })
    }

    /// Whether it has stream `id`.
    pub fn contains(&self, id: u32) -> bool {
        id.checked_sub(self.first).is_some_and(|index| index < self.count)
    }
}

impl fmt::Display for StreamRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first + (self.count - 1) {
            last if last == self.first => write!(f, "{last:#x}"),
            last => write!(f, "{:#x} - {last:#x}", self.first),
        }
    }
}

impl fmt::Display for SmmuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V2 => "SMMUv2",
            Self::V3 => "SMMUv3",
        })
    }
}

impl Smmu {
    /// The one that `node` describes, with registers in `window`; without streams yet.
    pub(super) fn new(node: FdtNode<'_>, window: Range) -> Self {
        let cell = |name| node.property(name).and_then(|p| p.value_as::<u32>().ok());
        Self {
            window,
            kind: if is_one_of(node, &SMMUS_V3) { SmmuKind::V3 } else { SmmuKind::V2 },
            coherent: node.property("dma-coherent").is_some(),
            streams: ArrayVec::new(),
            phandle: cell("phandle").or_else(|| cell("linux,phandle")),
            iommu_cells: cell("#iommu-cells").unwrap_or(1),
        }
    }

    /// Adds a range.
    ///
    /// # Errors
    /// Why it is none: what the boot line says.
    fn add(&mut self, first: u32, count: u32) -> Result<(), &'static str> {
        let new = StreamRange::new(first, count).ok_or("no streams of 32 bits")?;
        if let Some(last) = self.streams.last_mut()
            && last.first.checked_add(last.count) == Some(first)
            && let Some(both) = last.count.checked_add(count).and_then(|count| StreamRange::new(last.first, count))
        {
            *last = both;
            return Ok(());
        }
        self.streams.try_push(new).map_err(|_| "more ranges of streams than are supported")
    }
}

/// Fills in the streams that devices name. What is malformed, or too much, is told and left out: the SMMU ends what such a
/// device sends.
pub(super) fn find_streams(fdt: Fdt<'_>, smmus: &mut [Smmu]) {
    if !smmus.is_empty() {
        streams_below(fdt.root(), smmus, MAX_DEPTH);
    }
}

fn streams_below(parent: FdtNode<'_>, smmus: &mut [Smmu], depth: usize) {
    for node in parent.children().filter(|n| is_enabled(*n)) {
        for (name, add) in [("iommu-map", add_map as fn(_, &[u8], &mut [Smmu]) -> _), ("iommus", add_streams)] {
            let Some(property) = node.property(name) else { continue };
            if let Err(why) = add(node, property.value(), smmus) {
                warn!("device tree: {name} of {}: {why}; streams that are left out abort", node.name());
            }
        }
        if depth > 1 {
            streams_below(node, smmus, depth - 1);
        }
    }
}

/// The big-endian cells of a property.
fn cells(value: &[u8]) -> Result<impl Iterator<Item = u32> + Clone, &'static str> {
    let (cells, rest) = value.as_chunks::<4>();
    if rest.is_empty() { Ok(cells.iter().map(|&cell| u32::from_be_bytes(cell))) } else { Err("no whole cells") }
}

fn with_phandle(smmus: &mut [Smmu], phandle: u32) -> Result<&mut Smmu, &'static str> {
    smmus.iter_mut().find(|smmu| smmu.phandle == Some(phandle)).ok_or("refers to something that is no SMMU")
}

/// The streams of a PCI host bridge: for requester ids `base` to `base + length - 1`, after the mask, those from `first` on.
/// Where the mask has holes, the streams between are in, too: no device has them.
fn add_map(node: FdtNode<'_>, value: &[u8], smmus: &mut [Smmu]) -> Result<(), &'static str> {
    let mask = node.property("iommu-map-mask").map_or(Ok(u32::MAX), |p| p.value_as::<u32>());
    let mask = mask.map_err(|_| "its mask is malformed")?;
    let mut result = Ok(());
    let mut cells = cells(value)?;
    while let Some(base) = cells.next() {
        let (Some(phandle), Some(first), Some(length)) = (cells.next(), cells.next(), cells.next()) else {
            return Err("no whole entries");
        };
        let length = match mask.checked_sub(base) {
            Some(last) => length.min(last.saturating_add(1)),
            None => continue, // no requester has such an id
        };
        let smmu = with_phandle(smmus, phandle);
        result = result.and(smmu.and_then(|smmu| smmu.add(first, length)));
    }
    result
}

/// The streams of a device. An SMMUv2's stream may have a mask: of bits that don't matter.
fn add_streams(_: FdtNode<'_>, value: &[u8], smmus: &mut [Smmu]) -> Result<(), &'static str> {
    let mut result = Ok(());
    let mut cells = cells(value)?;
    while let Some(phandle) = cells.next() {
        let smmu = with_phandle(smmus, phandle)?; // else nobody knows where the next one starts
        let id = cells.next().ok_or("no whole entries")?;
        let added = match (smmu.iommu_cells, smmu.kind) {
            (1, _) => smmu.add(id, 1),
            (2, SmmuKind::V2) => {
                let mask = cells.next().ok_or("no whole entries")? & u32::from(u16::MAX);
                smmu.add(id & !mask, mask + 1)
            }
            _ => return Err("streams of more cells than are supported"),
        };
        result = result.and(added);
    }
    result
}

/// That CPUs with addresses of `bits` bits reach all registers of `smmus`.
pub fn check_reach(smmus: &[Smmu], bits: u32) -> Result<(), BootError> {
    let reached = smmus.iter().all(|smmu| smmu.window.end <= 1 << bits);
    if reached { Ok(()) } else { Err(BootError::Property("an SMMU's reg")) }
}

/// Two SMMUs at one address, or one where RAM is, are a mistake that nothing good can come of.
pub(super) fn check_windows(smmus: &[Smmu], ram: &[Range], no_map: &[Range]) -> Result<(), BootError> {
    let covered = |window: Range| no_map.iter().any(|hole| hole.covers(window));
    for (i, smmu) in smmus.iter().enumerate() {
        let twice = smmus.iter().take(i).any(|other| other.window.overlaps(smmu.window));
        if twice || ram.iter().any(|ram| ram.overlaps(smmu.window)) && !covered(smmu.window) {
            return Err(BootError::Property("an SMMU's reg"));
        }
    }
    Ok(())
}
