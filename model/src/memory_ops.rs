// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemoryOps. The high and the low text are the same.

use crate::constants::{
    PAGE_SIZE, PMD_PAGE_NUM, PMD_SIZE, PTRS_PER_PMD, is_addr, is_gfn, is_pfn, is_vm, is_vmid, phys_page,
};
use crate::mem_manager::{assign_pfn_to_vm, clear_vm_page, grant_vm_page, map_pfn_vm, revoke_vm_page};
use crate::npt_ops::{get_level_s2pt, walk_s2pt};
use crate::rdata::RData;
use crate::{Spec, rely};

/// Spec: MO-1. D-84: as MM-2.
pub fn clear_vm_range(d: &mut RData, vmid: u32, pfn: u64, num: u64) -> Spec {
    rely(is_pfn(pfn) && is_pfn(num))?;
    if !is_vm(vmid) {
        d.tag(84);
    }
    for page in pfn..pfn + num {
        rely(is_pfn(page))?;
        clear_vm_page(d, vmid, page)?;
    }
    Some(())
}

/// Spec: MO-2. D-20: that a block and its place are aligned is not asked.
pub fn prot_and_map_vm_s2pt(d: &mut RData, vmid: u32, addr: u64, pte: u64, level: u32) -> Spec {
    rely(is_vmid(vmid) && is_addr(addr))?;
    let pfn = phys_page(pte) / PAGE_SIZE;
    let gfn = addr / PAGE_SIZE;
    if level == 2 {
        if !(pfn.is_multiple_of(PMD_PAGE_NUM) && addr.is_multiple_of(PMD_SIZE)) {
            d.tag(20);
        }
        let gfn = gfn / PTRS_PER_PMD * PTRS_PER_PMD;
        for i in 0..PMD_PAGE_NUM {
            rely(is_gfn(gfn + i) && is_pfn(pfn + i))?;
            assign_pfn_to_vm(d, vmid, gfn + i, pfn + i)?;
        }
        map_pfn_vm(d, vmid, addr, pte, level)
    } else {
        assign_pfn_to_vm(d, vmid, gfn, pfn)?;
        map_pfn_vm(d, vmid, addr, pte, 3)
    }
}

/// Calls `each` with the physical page of every guest page of a range. The number of pages comes from the size alone:
/// an unaligned range that crosses a page border misses its last page.
fn each_page(d: &mut RData, vmid: u32, addr: u64, size: u64, each: fn(&mut RData, u32, u64) -> Spec) -> Spec {
    rely(is_vm(vmid) && is_addr(addr) && is_addr(size))?;
    for i in 0..size.div_ceil(PAGE_SIZE) {
        let addr = addr + i * PAGE_SIZE;
        rely(is_addr(addr))?;
        let pte = walk_s2pt(d, vmid, addr)?;
        let level = get_level_s2pt(d, vmid, addr)?;
        let mut pfn = phys_page(pte) / PAGE_SIZE;
        if pfn == 0 {
            continue;
        }
        if level == 2 {
            pfn += (addr / PAGE_SIZE) & (PTRS_PER_PMD - 1);
        }
        each(d, vmid, pfn)?;
    }
    Some(())
}

/// Spec: MO-3.
pub fn grant_stage2_sg_gpa(d: &mut RData, vmid: u32, addr: u64, size: u64) -> Spec {
    each_page(d, vmid, addr, size, grant_vm_page)
}

/// Spec: MO-4.
pub fn revoke_stage2_sg_gpa(d: &mut RData, vmid: u32, addr: u64, size: u64) -> Spec {
    each_page(d, vmid, addr, size, revoke_vm_page)
}
