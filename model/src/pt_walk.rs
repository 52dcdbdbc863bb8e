// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PTWalk.

use crate::constants::{
    TABLE, is_addr, is_vmid, pgd_idx, pgd_start, phys_page, pmd_idx, pmd_start, pool_end, pool_start, pte_idx, pud_idx,
    pud_start,
};
use crate::page_table::{load, store};
use crate::pt_alloc::{alloc_pgd_page, alloc_pmd_page, alloc_pud_page};
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Address of entry `index` of the table that `descriptor` points to.
fn entry(descriptor: u64, index: u64) -> u64 {
    phys_page(descriptor) | (index * 8)
}

/// Spec: PW-1 (high).
pub fn walk_pgd(d: &mut RData, vmid: u32, vttbr: u64, addr: u64, alloc: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    let p = entry(vttbr, pgd_idx(addr));
    rely(pool_start(vmid) <= p && p < pgd_start(vmid))?;
    let pgd = load(&d.npt(vmid).vttbr_pool, p);
    if pgd != 0 || alloc != 1 {
        return Some(pgd);
    }
    let next = alloc_pgd_page(d, vmid)?;
    if d.halt {
        return Some(0);
    }
    let npt = d.npt(vmid);
    store(&mut npt.vttbr_pool, p, next | TABLE);
    store(&mut npt.pgd_par, next, p);
    Some(next | TABLE)
}

/// Spec: PW-2 (high).
pub fn walk_pud(d: &mut RData, vmid: u32, pgd: u64, addr: u64, alloc: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    if pgd == 0 {
        return Some(0);
    }
    let p = entry(pgd, pud_idx(addr));
    rely(pgd_start(vmid) <= p && p < pud_start(vmid))?;
    let pud = load(&d.npt(vmid).pgd_pool, p);
    if pud != 0 || alloc != 1 {
        return Some(pud);
    }
    let next = alloc_pud_page(d, vmid)?;
    if d.halt {
        return Some(0);
    }
    let npt = d.npt(vmid);
    store(&mut npt.pgd_pool, p, next | TABLE);
    store(&mut npt.pud_par, next, p);
    Some(next | TABLE)
}

/// Spec: PW-3 (high). "Missing" is "the entry is 0": a block is returned as it is (D-78).
pub fn walk_pmd(d: &mut RData, vmid: u32, pud: u64, addr: u64, alloc: u32) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    if pud == 0 {
        return Some(0);
    }
    let p = entry(pud, pmd_idx(addr));
    rely(pud_start(vmid) <= p && p < pmd_start(vmid))?;
    let pmd = load(&d.npt(vmid).pud_pool, p);
    if pmd != 0 || alloc != 1 {
        return Some(pmd);
    }
    let next = alloc_pmd_page(d, vmid)?;
    if d.halt {
        return Some(0);
    }
    let npt = d.npt(vmid);
    store(&mut npt.pud_pool, p, next | TABLE);
    store(&mut npt.pmd_par, next, p);
    Some(next | TABLE)
}

/// Spec: PW-4 (high).
pub fn walk_pte(d: &mut RData, vmid: u32, pmd: u64, addr: u64) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    if pmd == 0 {
        return Some(0);
    }
    let p = entry(pmd, pte_idx(addr));
    rely(pmd_start(vmid) <= p && p < pool_end(vmid))?;
    Some(load(&d.npt(vmid).pmd_pool, p))
}

/// Spec: PW-5 (high).
pub fn set_pmd(d: &mut RData, vmid: u32, pud: u64, addr: u64, pmd: u64) -> Spec {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::pt(vmid))?;
    let p = entry(pud, pmd_idx(addr));
    rely(pud_start(vmid) <= p && p < pmd_start(vmid))?;
    rely(pmd & TABLE != TABLE && d.tstate == 0)?;
    store(&mut d.npt(vmid).pud_pool, p, pmd);
    d.tstate = 1;
    Some(())
}

/// Spec: PW-6 (high).
pub fn set_pte(d: &mut RData, vmid: u32, pmd: u64, addr: u64, pte: u64) -> Spec {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::pt(vmid))?;
    let p = entry(pmd, pte_idx(addr));
    rely(pmd_start(vmid) <= p && p < pool_end(vmid))?;
    rely(d.tstate == 0)?;
    store(&mut d.npt(vmid).pmd_pool, p, pte);
    d.tstate = 1;
    Some(())
}

/// The same as calls into the layer below.
pub mod low {
    use super::{RData, Spec, TABLE, entry, is_vmid, pgd_idx, pmd_idx, pte_idx, pud_idx, rely};
    use crate::abstract_machine::{check64, pt_load, pt_store};
    use crate::pt_alloc::{alloc_pgd_page, alloc_pmd_page, alloc_pud_page};

    /// Spec: PW-1 (low).
    pub fn walk_pgd(d: &mut RData, vmid: u32, vttbr: u64, addr: u64, alloc: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        let p = entry(vttbr, pgd_idx(addr));
        let mut pgd = pt_load(d, vmid, p)?;
        if pgd == 0 && alloc == 1 {
            pgd = alloc_pgd_page(d, vmid)? | TABLE;
            pt_store(d, vmid, p, pgd)?;
        }
        check64(d, pgd)
    }

    /// Spec: PW-2 (low).
    pub fn walk_pud(d: &mut RData, vmid: u32, pgd: u64, addr: u64, alloc: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        if pgd == 0 {
            return check64(d, 0);
        }
        let p = entry(pgd, pud_idx(addr));
        let mut pud = pt_load(d, vmid, p)?;
        if pud == 0 && alloc == 1 {
            pud = alloc_pud_page(d, vmid)? | TABLE;
            pt_store(d, vmid, p, pud)?;
        }
        check64(d, pud)
    }

    /// Spec: PW-3 (low).
    pub fn walk_pmd(d: &mut RData, vmid: u32, pud: u64, addr: u64, alloc: u32) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        if pud == 0 {
            return check64(d, 0);
        }
        let p = entry(pud, pmd_idx(addr));
        let mut pmd = pt_load(d, vmid, p)?;
        if pmd == 0 && alloc == 1 {
            pmd = alloc_pmd_page(d, vmid)? | TABLE;
            pt_store(d, vmid, p, pmd)?;
        }
        check64(d, pmd)
    }

    /// Spec: PW-4 (low).
    pub fn walk_pte(d: &mut RData, vmid: u32, pmd: u64, addr: u64) -> Spec<u64> {
        rely(is_vmid(vmid))?;
        if pmd == 0 {
            return check64(d, 0);
        }
        let pte = pt_load(d, vmid, entry(pmd, pte_idx(addr)))?;
        check64(d, pte)
    }

    /// Spec: PW-5 (low).
    pub fn set_pmd(d: &mut RData, vmid: u32, pud: u64, addr: u64, pmd: u64) -> Spec {
        rely(is_vmid(vmid))?;
        pt_store(d, vmid, entry(pud, pmd_idx(addr)), pmd)
    }

    /// Spec: PW-6 (low).
    pub fn set_pte(d: &mut RData, vmid: u32, pmd: u64, addr: u64, pte: u64) -> Spec {
        rely(is_vmid(vmid))?;
        pt_store(d, vmid, entry(pmd, pte_idx(addr)), pte)
    }
}
