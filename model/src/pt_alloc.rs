// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PTAlloc.

use crate::constants::{PAGE_SIZE, is_vmid, pgd_start, pmd_start, pool_end, pud_start};
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: PA-1 (high).
pub fn alloc_pgd_page(d: &mut RData, vmid: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    let next = d.npt(vmid).pgd_next;
    rely(pgd_start(vmid) <= next && next <= pud_start(vmid))?;
    if next + PAGE_SIZE <= pud_start(vmid) {
        d.npt(vmid).pgd_next = next + PAGE_SIZE;
        Some(next)
    } else {
        d.halt = true;
        Some(0)
    }
}

/// Spec: PA-2 (high).
pub fn alloc_pud_page(d: &mut RData, vmid: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    let next = d.npt(vmid).pud_next;
    rely(pud_start(vmid) <= next && next <= pmd_start(vmid))?;
    if next + PAGE_SIZE <= pmd_start(vmid) {
        d.npt(vmid).pud_next = next + PAGE_SIZE;
        Some(next)
    } else {
        d.halt = true;
        Some(0)
    }
}

/// Spec: PA-3 (high).
pub fn alloc_pmd_page(d: &mut RData, vmid: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    let next = d.npt(vmid).pmd_next;
    rely(pmd_start(vmid) <= next && next <= pool_end(vmid))?;
    if next + PAGE_SIZE <= pool_end(vmid) {
        d.npt(vmid).pmd_next = next + PAGE_SIZE;
        Some(next)
    } else {
        d.halt = true;
        Some(0)
    }
}

/// The same as calls into the layer below. They rely on less: on an address, not on one inside the pool.
pub mod low {
    use super::{PAGE_SIZE, RData, Spec, is_vmid, pmd_start, pool_end, pud_start, rely};
    use crate::abstract_machine::{
        check64, get_pgd_next, get_pmd_next, get_pud_next, panic, set_pgd_next, set_pmd_next, set_pud_next,
    };
    use crate::constants::is_addr;

    /// Spec: PA-1 (low).
    pub fn alloc_pgd_page(d: &mut RData, vmid: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        let next = get_pgd_next(d, vmid)?;
        rely(is_addr(next))?;
        if next + PAGE_SIZE <= pud_start(vmid) {
            set_pgd_next(d, vmid, next + PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        check64(d, next)
    }

    /// Spec: PA-2 (low).
    pub fn alloc_pud_page(d: &mut RData, vmid: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        let next = get_pud_next(d, vmid)?;
        rely(is_addr(next))?;
        if next + PAGE_SIZE <= pmd_start(vmid) {
            set_pud_next(d, vmid, next + PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        check64(d, next)
    }

    /// Spec: PA-3 (low).
    pub fn alloc_pmd_page(d: &mut RData, vmid: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        let next = get_pmd_next(d, vmid)?;
        rely(is_addr(next))?;
        if next + PAGE_SIZE <= pool_end(vmid) {
            set_pmd_next(d, vmid, next + PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        check64(d, next)
    }
}
