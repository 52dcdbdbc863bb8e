// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PageIndex (`spec/layers/05-memory.md` §5.2).

use super::MemRegions;
use crate::addr::{PAGE_SHIFT, Pfn};

impl MemRegions {
    /// Spec: PI-1. The number of `pfn`'s ownership record; `None` where the page is not tracked RAM.
    pub fn get_s2_page_index(&self, pfn: Pfn) -> Option<usize> {
        let addr = pfn.base();
        let region = self.mem_region_search(addr)?;
        let first = region.index?;
        Some((first + ((addr.as_u64() - region.range.start) >> PAGE_SHIFT)) as usize)
    }
}
