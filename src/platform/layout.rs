// SPDX-License-Identifier: GPL-2.0-only
//! Planning the memory: where the carve-out, the host's kernel and the host's device tree go.

use super::BootError;
use super::discover::Platform;
use super::smmus::SmmuKind;
use crate::addr::{PAGE_SIZE, PMD_SIZE, Range};
use crate::corevisor::{FIXED_TABLE_PAGES, VM_TABLE_PAGES, host_dma_table_pages, host_table_pages};
use crate::gic::ITS_PAGES;
use crate::memory::{MAX_REGIONS, MemRegions, S2Page};
use crate::smmu3::{self, MAX_SMMU3S};
use arrayvec::ArrayVec;

/// Bytes of a CPU's stack at EL2. Calls that encrypt need a third of it.
pub const STACK_SIZE: u64 = 32 * 1024;
/// Bytes of the unmapped page below each stack.
pub const GUARD_SIZE: u64 = PAGE_SIZE;
/// What the ends of the carve-out are multiples of: the largest page of a host. That it may begin amid 2 MiB takes one table
/// more of those that are reserved for the host anyway, because any of its blocks may be split.
pub const GRANULE: u64 = 64 * 1024;
/// Largest device tree that the host is given; also what its loader promises to keep free (arm64 boot protocol).
pub const TREE_SIZE: u64 = PMD_SIZE;

/// Ranges that nothing may be put over.
pub type Busy = ArrayVec<Range, { 2 * MAX_REGIONS + 8 }>;

/// The parts of the carve-out, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct CarveOut {
    /// All of it, in units of [`GRANULE`].
    pub range: Range,
    /// The ownership table.
    pub records: Range,
    /// For each CPU a guard page and a stack.
    pub stacks: Range,
    /// Frames of page tables: all the rest.
    pub frames: Range,
}

/// The memory regions as the specification knows them: RAM, and then, as the last match wins, `no-map` memory in it.
pub fn regions(platform: &Platform<'_>) -> Result<MemRegions, BootError> {
    let mut regions = MemRegions::default();
    let ram = platform.ram.iter().map(|&r| (r, true));
    for (range, tracked) in ram.chain(platform.no_map.iter().map(|&r| (r, false))) {
        regions.push(range, tracked).ok_or(BootError::TooManyRegions)?;
    }
    Ok(regions)
}

/// Everything that is there already: Corevisor's image, its device tree, the modules and all reservations.
///
/// # Errors
/// If a module overlaps Corevisor's image.
pub fn busy(platform: &Platform<'_>, image: Range, tree: Range) -> Result<Busy, BootError> {
    let mut busy = Busy::new();
    for (name, module) in platform.modules() {
        if module.overlaps(image) {
            return Err(BootError::ModulesOverlap(name, module, "Corevisor", image));
        }
        busy.push(module);
    }
    busy.push(image);
    busy.push(tree);
    busy.extend(platform.no_map.iter().chain(&platform.reserved).copied());
    Ok(busy)
}

/// Plans the carve-out, at the top of RAM. It is added to `busy`.
pub fn carve_out(platform: &Platform<'_>, regions: &MemRegions, busy: &mut Busy) -> Result<CarveOut, BootError> {
    let page_up = |bytes: u64| bytes.next_multiple_of(PAGE_SIZE);
    let records = page_up(regions.pages() * size_of::<S2Page>() as u64);
    let stacks = platform.cpus.len() as u64 * (GUARD_SIZE + STACK_SIZE);
    let dma = smmu_pages(platform, regions) + platform.its.len() as u64 * ITS_PAGES;
    let tables = host_table_pages(regions) + FIXED_TABLE_PAGES + vm_table_pages(platform) + dma;
    let size = (records + stacks + tables * PAGE_SIZE).next_multiple_of(GRANULE);
    let range = highest_hole(platform, busy, size).ok_or(BootError::TooLittleRam("the carve-out", size))?;
    busy.push(range);
    let records = Range { start: range.start, end: range.start + records };
    let stacks = Range { start: records.end, end: records.end + stacks };
    let frames = Range { start: stacks.end, end: range.end };
    Ok(CarveOut { range, records, stacks, frames })
}

/// Table pages for DMA: the host's DMA table, which only SMMUs of version 3 use.
fn smmu_pages(platform: &Platform<'_>, regions: &MemRegions) -> u64 {
    if smmu3s(platform) == 0 {
        return 0;
    }
    host_dma_table_pages(regions, platform.doorbells.len() as u64) + FIXED_TABLE_PAGES
}

/// Table pages for others than the host: for VMs, the image window and SMMUs, with what SMMUv3s need themselves.
pub fn vm_table_pages(platform: &Platform<'_>) -> u64 {
    VM_TABLE_PAGES + smmu3s(platform) * smmu3::FRAME_PAGES
}

/// How many SMMUv3s Corevisor may drive.
fn smmu3s(platform: &Platform<'_>) -> u64 {
    platform.smmus.iter().filter(|smmu| smmu.kind == SmmuKind::V3).take(MAX_SMMU3S).count() as u64
}

/// The highest hole of `size` bytes that begins at a multiple of [`GRANULE`].
fn highest_hole(platform: &Platform<'_>, busy: &[Range], size: u64) -> Option<Range> {
    let in_region = |ram: &Range| {
        let mut end = ram.end;
        loop {
            let start = end.checked_sub(size)? & !(GRANULE - 1);
            let hole = Range { start, end: start + size };
            match busy.iter().find(|b| b.overlaps(hole)) {
                _ if start < ram.start => return None,
                Some(b) => end = b.start,
                None => return Some(hole),
            }
        }
    };
    platform.ram.iter().filter_map(in_region).max_by_key(|hole| hole.start)
}

/// The lowest 2 MiB aligned hole of `size` bytes.
pub fn lowest_hole(platform: &Platform<'_>, busy: &[Range], size: u64) -> Option<Range> {
    let in_region = |ram: &Range| {
        let mut start = ram.start;
        loop {
            start = start.checked_next_multiple_of(PMD_SIZE)?;
            let hole = Range { start, end: start.checked_add(size)? };
            match busy.iter().find(|b| b.overlaps(hole)) {
                _ if hole.end > ram.end => return None,
                Some(b) => start = b.end,
                None => return Some(hole),
            }
        }
    };
    platform.ram.iter().filter_map(in_region).min_by_key(|hole| hole.start)
}
