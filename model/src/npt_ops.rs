// SPDX-License-Identifier: GPL-2.0-only
//! Layer: NPTOps.

use crate::constants::{
    HOSTVISOR, PAGE_GUEST, PAGE_SIZE, is_addr, is_pfn, is_vmid, pgd_idx, phys_page, pmd_idx, pud_idx,
};
use crate::page_table::Mapped;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: NO-1 (high).
pub fn get_level_s2pt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u32> {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.enter(lock_id::pt(vmid))?;
    let level = d.npt(vmid).level(addr / PAGE_SIZE);
    d.leave(lock_id::pt(vmid))?;
    Some(level)
}

/// Spec: NO-2 (high).
pub fn walk_s2pt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.enter(lock_id::pt(vmid))?;
    let pte = d.npt(vmid).get(addr / PAGE_SIZE).pte;
    d.leave(lock_id::pt(vmid))?;
    Some(pte)
}

/// Spec: NO-3 (high).
pub fn map_s2pt(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(());
    }
    rely((level == 2 || level == 3) && pte != 0)?;
    map_locked(d, vmid, addr, level, pte)
}

/// One mapping operation under PT(`vmid`). D-07: a block replaces pages, and an entry another one. A halt leaves the lock held.
pub(crate) fn map_locked(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec {
    d.enter(lock_id::pt(vmid))?;
    if d.npt(vmid).get(addr / PAGE_SIZE).pte != pte {
        note_replacement(d, vmid, addr, level, pte);
    }
    let old = d.npt(vmid).get(addr / PAGE_SIZE);
    if d.npt(vmid).level(addr / PAGE_SIZE) == level && phys_page(pte) != 0 && old.pte != pte {
        d.tag(7);
    }
    match d.npt(vmid).local_mmap(vmid, addr, level, pte)? {
        Mapped::Done => d.leave(lock_id::pt(vmid)),
        halt => {
            note_full(d, halt);
            d.halt_in_section();
            Some(())
        }
    }
}

/// D-07: what a mapping operation replaces without a word, a careful implementation refuses: a table by a block, and a
/// page or block by another one.
pub(crate) fn note_replacement(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) {
    let npt = d.npt(vmid);
    let over_table = level == 2 && npt.pmd_t.contains(&(pgd_idx(addr), pud_idx(addr), pmd_idx(addr)));
    let old = npt.get(addr / PAGE_SIZE);
    let over_leaf = old.level == level && old.pfn != 0 && phys_page(pte) != 0 && old.pte != pte;
    if over_table || over_leaf {
        d.tag(7);
    }
}

/// D-71: an implementation's tables are not those of the pools.
pub(crate) fn note_full(d: &mut RData, mapped: Mapped) {
    if mapped == Mapped::Full {
        d.tag(71);
    }
}

/// Spec: NO-4 (high).
pub fn clear_pfn_host(d: &mut RData, pfn: u64) -> Spec {
    rely(is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    clear_host_locked(d, pfn)
}

/// Takes `pfn` out of the host's table, under PT(0). A halt leaves the lock held.
pub(crate) fn clear_host_locked(d: &mut RData, pfn: u64) -> Spec {
    if d.npt(HOSTVISOR).level(pfn) != 0 {
        return map_locked(d, HOSTVISOR, pfn * PAGE_SIZE, 3, PAGE_GUEST);
    }
    // D-05: of page 0 the address says nothing.
    let entry = d.npt(HOSTVISOR).get(pfn);
    if entry.pte != 0 && entry.pte != PAGE_GUEST {
        d.tag(5);
    }
    d.enter(lock_id::pt(HOSTVISOR))?;
    d.leave(lock_id::pt(HOSTVISOR))
}

/// The same as calls into the layer below.
pub mod low {
    use super::{HOSTVISOR, PAGE_GUEST, PAGE_SIZE, RData, Spec, is_pfn, rely};
    use crate::abstract_machine::{check, check64};
    use crate::locks::{acquire_lock_pt, release_lock_pt};
    use crate::npt_walk::{get_npt_level, set_npt, walk_npt};

    /// Spec: NO-1 (low).
    pub fn get_level_s2pt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u32> {
        acquire_lock_pt(d, vmid)?;
        let level = get_npt_level(d, vmid, addr)?;
        release_lock_pt(d, vmid)?;
        check(d, level)
    }

    /// Spec: NO-2 (low).
    pub fn walk_s2pt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
        acquire_lock_pt(d, vmid)?;
        let pte = walk_npt(d, vmid, addr)?;
        release_lock_pt(d, vmid)?;
        check64(d, pte)
    }

    /// Spec: NO-3 (low).
    pub fn map_s2pt(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec {
        acquire_lock_pt(d, vmid)?;
        set_npt(d, vmid, addr, level, pte)?;
        release_lock_pt(d, vmid)
    }

    /// Spec: NO-4 (low).
    pub fn clear_pfn_host(d: &mut RData, pfn: u64) -> Spec {
        rely(is_pfn(pfn))?;
        acquire_lock_pt(d, HOSTVISOR)?;
        if get_npt_level(d, HOSTVISOR, pfn * PAGE_SIZE)? != 0 {
            set_npt(d, HOSTVISOR, pfn * PAGE_SIZE, 3, PAGE_GUEST)?;
        }
        release_lock_pt(d, HOSTVISOR)
    }
}
