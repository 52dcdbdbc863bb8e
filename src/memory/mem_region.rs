// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemRegion (`spec/layers/05-memory.md` §5.1).

use crate::addr::{Pa, Range};
use arrayvec::ArrayVec;

/// Most regions that are kept (specification: `MAX_MEMBLOCK_NUM`).
pub const MAX_REGIONS: usize = 32;

/// One range of memory that the device tree names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemRegion {
    /// Where it lies; whole pages (AM-41 `get_mem_region_base`, AM-42 `get_mem_region_size`).
    pub range: Range,
    /// Number of its first record in the ownership table (AM-43 `get_mem_region_index`); `None` for memory that is not
    /// tracked (`no-map`), which is all that AM-44 `get_mem_region_flag` tells.
    pub index: Option<u64>,
}

/// All regions (AM-40 `get_mem_region_cnt` of them); constant after boot.
#[derive(Clone, Debug, Default)]
pub struct MemRegions(ArrayVec<MemRegion, MAX_REGIONS>);

impl MemRegions {
    /// Appends a region of whole pages, numbering its records after those before it. `None` if there are
    /// [`MAX_REGIONS`] already.
    pub fn push(&mut self, range: Range, tracked: bool) -> Option<()> {
        let index = tracked.then(|| self.pages());
        self.0.try_push(MemRegion { range, index }).ok()
    }

    /// Spec: MR-1. The last region that `addr` lies in.
    pub fn mem_region_search(&self, addr: Pa) -> Option<&MemRegion> {
        self.0.iter().rev().find(|r| r.range.contains(addr.as_u64()))
    }

    /// Pages of all tracked regions: the length of the ownership table.
    pub fn pages(&self) -> u64 {
        self.tracked().map(|r| r.size() >> crate::addr::PAGE_SHIFT).sum()
    }

    /// The tracked ranges.
    pub fn tracked(&self) -> impl Iterator<Item = Range> + '_ {
        self.0.iter().filter(|r| r.index.is_some()).map(|r| r.range)
    }

    /// The first page number above `pfn` with which a region begins or ends.
    pub fn next_edge(&self, pfn: u64) -> Option<u64> {
        let edges =
            self.0.iter().flat_map(|r| [r.range.start, r.range.end]).map(|edge| edge >> crate::addr::PAGE_SHIFT);
        edges.filter(|&edge| edge > pfn).min()
    }

    /// All regions, in order.
    pub fn iter(&self) -> impl Iterator<Item = &MemRegion> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Tests: MR-1
    #[test]
    fn the_last_match_wins_and_bounds_are_half_open() {
        let mut regions = MemRegions::default();
        let range = |start, size| Range::new(start, size).unwrap();
        regions.push(range(0x4000_0000, 0x1000_0000), true).unwrap();
        regions.push(range(0x4800_0000, 0x1000), false).unwrap();
        regions.push(range(0x8000_0000, 0x2000), true).unwrap();
        let search = |a| regions.mem_region_search(Pa::new(a).unwrap()).copied();
        assert_eq!(search(0x3fff_ffff), None);
        assert_eq!(search(0x4000_0000).unwrap().index, Some(0));
        assert_eq!(search(0x4800_0fff).unwrap().index, None);
        assert_eq!(search(0x8000_0000).unwrap().index, Some(0x1_0000));
        assert_eq!(search(0x8000_2000), None);
        assert_eq!(regions.pages(), 0x1_0002);
        let edges: std::vec::Vec<_> = core::iter::successors(Some(0), |&pfn| regions.next_edge(pfn)).collect();
        assert_eq!(edges, [0, 0x4_0000, 0x4_8000, 0x4_8001, 0x5_0000, 0x8_0000, 0x8_0002]);
    }

    #[test]
    fn a_33rd_region_is_refused() {
        let mut regions = MemRegions::default();
        for i in 0..MAX_REGIONS as u64 {
            regions.push(Range::new(i << 20, 4096).unwrap(), true).unwrap();
        }
        assert_eq!(regions.push(Range::new(1 << 40, 4096).unwrap(), true), None);
    }
}
