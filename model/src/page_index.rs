// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PageIndex.

use crate::constants::{INVALID64, PAGE_SIZE, is_addr};
use crate::rdata::{RData, REGIONS};
use crate::{Spec, rely};

/// Spec: PI-1 (high). Does not look at `halt`.
pub fn get_s2_page_index(_d: &mut RData, addr: u64) -> Spec<u64> {
    rely(is_addr(addr))?;
    let region = REGIONS.iter().rev().find(|r| r.base <= addr && addr < r.base + r.size);
    Some(match region {
        Some(r) if r.index != INVALID64 => r.index + (addr - r.base) / PAGE_SIZE,
        _ => INVALID64,
    })
}

/// The same as calls into the layer below.
pub mod low {
    use super::{INVALID64, PAGE_SIZE, RData, Spec, rely};
    use crate::abstract_machine::{get_mem_region_base, get_mem_region_index};
    use crate::constants::INVALID;
    use crate::mem_region::mem_region_search;

    /// Spec: PI-1 (low).
    pub fn get_s2_page_index(d: &mut RData, addr: u64) -> Spec<u64> {
        let region = mem_region_search(d, addr)?;
        if region == INVALID {
            return Some(INVALID64);
        }
        let index = get_mem_region_index(d, region)?;
        if index == INVALID64 {
            return Some(INVALID64);
        }
        let base = get_mem_region_base(d, region)?;
        rely(addr >= base)?;
        Some(index + (addr - base) / PAGE_SIZE)
    }
}
