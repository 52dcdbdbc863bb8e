// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootAux. The high and the low text are the same.

use crate::abstract_machine::panic;
use crate::constants::{COREVISOR, PAGE_SIZE, PMD_PAGE_NUM, PMD_SIZE, is_addr, is_gfn, is_vm, phys_page};
use crate::memory_ops::prot_and_map_vm_s2pt;
use crate::npt_ops::walk_s2pt;
use crate::rdata::RData;
use crate::{Spec, rely};

/// Spec: BA-1. D-20: that the image's pages are those of the block is not asked.
pub fn unmap_and_load_vm_image(d: &mut RData, vmid: u32, target_addr: u64, remap_addr: u64, num: u64) -> Spec {
    rely(is_vm(vmid) && is_addr(target_addr) && is_addr(remap_addr) && is_gfn(num))?;
    let mut start = target_addr / PMD_SIZE * PMD_SIZE;
    let end = target_addr + num * PAGE_SIZE;
    let blocks = (end - start).div_ceil(PMD_SIZE);
    let (mut target, mut remap) = (target_addr, remap_addr);
    for _ in 0..blocks {
        rely(is_addr(start) && is_addr(target) && is_addr(remap))?;
        let pte = walk_s2pt(d, COREVISOR, remap)?;
        let base = phys_page(pte) / PMD_SIZE * PMD_PAGE_NUM;
        if base == 0 {
            panic(d)?;
        } else {
            prot_and_map_vm_s2pt(d, vmid, start, base * PAGE_SIZE, 2)?;
        }
        remap += start + PMD_SIZE - target;
        start += PMD_SIZE;
        target = start;
    }
    Some(())
}
