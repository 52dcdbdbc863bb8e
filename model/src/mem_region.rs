// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemRegion.

use crate::abstract_machine::{get_mem_region_base, get_mem_region_cnt, get_mem_region_size};
use crate::constants::{INVALID, MAX_MEMBLOCK_NUM, is_addr};
use crate::rdata::RData;
use crate::{Spec, rely};

/// Spec: MR-1. The high and the low text are the same. The last region that fits wins.
pub fn mem_region_search(d: &mut RData, addr: u64) -> Spec<u32> {
    rely(is_addr(addr))?;
    let count = get_mem_region_cnt(d)?;
    rely(count < MAX_MEMBLOCK_NUM)?;
    let mut found = INVALID;
    for i in 0..count {
        let base = get_mem_region_base(d, i)?;
        let size = get_mem_region_size(d, i)?;
        rely(is_addr(base) && is_addr(base + size))?;
        if base <= addr && addr < base + size {
            found = i;
        }
    }
    Some(found)
}
