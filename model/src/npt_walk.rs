// SPDX-License-Identifier: GPL-2.0-only
//! Layer: NPTWalk. From here upward a table is its abstract map.

use crate::constants::{PAGE_SIZE, is_addr, is_vmid};
use crate::npt_ops::{note_full, note_replacement};
use crate::page_table::Mapped;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: NW-1 (high).
pub fn get_npt_level(d: &mut RData, vmid: u32, addr: u64) -> Spec<u32> {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    Some(d.npt(vmid).level(addr / PAGE_SIZE))
}

/// Spec: NW-2 (high).
pub fn walk_npt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::pt(vmid))?;
    Some(d.npt(vmid).get(addr / PAGE_SIZE).pte)
}

/// Spec: NW-3 (high).
pub fn set_npt(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::pt(vmid))?;
    rely(d.tstate == 0)?;
    rely((level == 2 || level == 3) && pte != 0)?;
    note_replacement(d, vmid, addr, level, pte);
    match d.npt(vmid).local_mmap(vmid, addr, level, pte)? {
        Mapped::Done => d.tstate = 1,
        halt => {
            note_full(d, halt);
            d.halt_in_section();
        }
    }
    Some(())
}

/// Spec: NW-4 (high).
pub fn mem_load_ref(d: &mut RData, gfn: u64, reg: u32) -> Spec {
    low::mem_load_ref(d, gfn, reg)
}

/// Spec: NW-5 (high).
pub fn mem_store_ref(d: &mut RData, gfn: u64, reg: u32) -> Spec {
    low::mem_store_ref(d, gfn, reg)
}

/// The same as calls into the layer below, which works on the words of the table pools.
pub mod low {
    use super::{RData, Spec};
    use crate::abstract_machine::{check, check64, get_pt_vttbr, mem_load_raw, mem_store_raw, panic};
    use crate::constants::{TABLE, phys_page};
    use crate::pt_walk::{set_pmd, set_pte, walk_pgd, walk_pmd, walk_pte, walk_pud};

    /// Spec: NW-1 (low).
    pub fn get_npt_level(d: &mut RData, vmid: u32, addr: u64) -> Spec<u32> {
        let pmd = pmd_of(d, vmid, addr, 0)?;
        let level = if pmd & TABLE == TABLE {
            let pte = walk_pte(d, vmid, pmd, addr)?;
            if phys_page(pte) == 0 { 0 } else { 3 }
        } else if phys_page(pmd) == 0 {
            0
        } else {
            2
        };
        check(d, level)
    }

    /// Spec: NW-2 (low).
    pub fn walk_npt(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
        let pmd = pmd_of(d, vmid, addr, 0)?;
        let pte = if pmd & TABLE == TABLE { walk_pte(d, vmid, pmd, addr)? } else { pmd };
        check64(d, pte)
    }

    /// Spec: NW-3 (low).
    pub fn set_npt(d: &mut RData, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec {
        let pud = pud_of(d, vmid, addr, 1)?;
        if level == 2 {
            return set_pmd(d, vmid, pud, addr, pte);
        }
        let pmd = walk_pmd(d, vmid, pud, addr, 1)?;
        if pmd & TABLE == TABLE { set_pte(d, vmid, pmd, addr, pte) } else { panic(d) }
    }

    /// Spec: NW-4 (low).
    pub fn mem_load_ref(d: &mut RData, gfn: u64, reg: u32) -> Spec {
        mem_load_raw(d, gfn, reg)
    }

    /// Spec: NW-5 (low).
    pub fn mem_store_ref(d: &mut RData, gfn: u64, reg: u32) -> Spec {
        mem_store_raw(d, gfn, reg)
    }

    /// The level-1 entry of `addr`.
    fn pud_of(d: &mut RData, vmid: u32, addr: u64, alloc: u32) -> Spec<u64> {
        let vttbr = get_pt_vttbr(d, vmid)?;
        let pgd = walk_pgd(d, vmid, vttbr, addr, alloc)?;
        walk_pud(d, vmid, pgd, addr, alloc)
    }

    /// The level-2 entry of `addr`.
    fn pmd_of(d: &mut RData, vmid: u32, addr: u64, alloc: u32) -> Spec<u64> {
        let pud = pud_of(d, vmid, addr, alloc)?;
        walk_pmd(d, vmid, pud, addr, alloc)
    }
}
