// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioSPTWalk. From here upward a table is its abstract map.

use crate::constants::{PAGE_SIZE, is_smmu, is_smmu_addr, is_smmu_cfg, smmu_ttbr};
use crate::mmio_spt_ops::{note_in_use, note_other};
use crate::npt_ops::note_full;
use crate::page_table::Mapped;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: SS-1 (high).
pub fn clear_smmu_pt(d: &mut RData, cbndx: u32, index: u32) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SPT)?;
    note_in_use(d, cbndx, index);
    d.spts.clear(cbndx, index);
    d.tstate = 1;
    Some(())
}

/// Spec: SS-2 (high).
pub fn walk_smmu_pt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    Some(d.spts.get(smmu_ttbr(index, cbndx), addr / PAGE_SIZE).pte)
}

/// Spec: SS-3 (high).
pub fn set_smmu_pt(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(addr))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SPT)?;
    rely(d.tstate == 0)?;
    note_other(d, cbndx, index, addr, pte);
    match d.spts.local_spt_map(cbndx, index, addr, pte) {
        Mapped::Done => d.tstate = 1,
        halt => {
            note_full(d, halt);
            d.halt_in_section();
        }
    }
    Some(())
}

/// Spec: SS-4 (high).
pub fn dev_load_ref(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
    low::dev_load_ref(d, gfn, reg, cbndx, index)
}

/// Spec: SS-5 (high).
pub fn dev_store_ref(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
    low::dev_store_ref(d, gfn, reg, cbndx, index)
}

/// The same as calls into the layer below, which works on the words of the table pools.
pub mod low {
    use super::{RData, Spec};
    use crate::abstract_machine::{check64, dev_load_raw, get_smmu_cfg_hw_ttbr, smmu_pt_clear};
    use crate::mmio_pt_walk::{set_smmu_pte, walk_smmu_pgd, walk_smmu_pmd, walk_smmu_pte};

    /// Spec: SS-1 (low).
    pub fn clear_smmu_pt(d: &mut RData, cbndx: u32, index: u32) -> Spec {
        smmu_pt_clear(d, cbndx, index)
    }

    /// Spec: SS-2 (low).
    pub fn walk_smmu_pt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
        let ttbr = get_smmu_cfg_hw_ttbr(d, cbndx, index)?;
        let pgd = walk_smmu_pgd(d, ttbr, addr, 0)?;
        let pmd = walk_smmu_pmd(d, pgd, addr, 0)?;
        let pte = walk_smmu_pte(d, pmd, addr)?;
        check64(d, pte)
    }

    /// Spec: SS-3 (low).
    pub fn set_smmu_pt(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) -> Spec {
        let ttbr = get_smmu_cfg_hw_ttbr(d, cbndx, index)?;
        let pgd = walk_smmu_pgd(d, ttbr, addr, 1)?;
        let pmd = walk_smmu_pmd(d, pgd, addr, 1)?;
        set_smmu_pte(d, pmd, addr, pte)
    }

    /// Spec: SS-4 (low).
    pub fn dev_load_ref(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
        dev_load_raw(d, gfn, reg, cbndx, index)
    }

    /// Spec: SS-5 (low). D-56: calls the load primitive.
    pub fn dev_store_ref(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
        dev_load_raw(d, gfn, reg, cbndx, index)
    }
}
