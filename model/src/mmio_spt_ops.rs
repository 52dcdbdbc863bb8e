// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioSPTOps.

use crate::constants::{PAGE_SIZE, is_smmu, is_smmu_addr, is_smmu_cfg, smmu_ttbr};
use crate::mmio_ops::note_no_bank;
use crate::npt_ops::note_full;
use crate::page_table::Mapped;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: SO-1 (high).
pub fn init_spt(d: &mut RData, cbndx: u32, index: u32) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    if d.halt {
        return Some(());
    }
    init_locked(d, cbndx, index)
}

/// D-64: a table that maps pages is forgotten, and the pages' counts stay.
pub(crate) fn note_in_use(d: &mut RData, cbndx: u32, index: u32) {
    let ttbr = smmu_ttbr(index, cbndx);
    if d.spts.pt.range((ttbr, 0)..=(ttbr, u64::MAX)).any(|(_, entry)| entry.pte != 0) {
        d.tag(64);
    }
}

/// D-89: one mapping takes another one's place.
pub(crate) fn note_other(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) {
    let old = d.spts.get(smmu_ttbr(index, cbndx), addr / PAGE_SIZE).pte;
    if old != 0 && pte != 0 && old != pte {
        d.tag(89);
    }
}

/// Forgets the table of a bank, under SPT.
pub(crate) fn init_locked(d: &mut RData, cbndx: u32, index: u32) -> Spec {
    note_in_use(d, cbndx, index);
    d.enter(lock_id::SPT)?;
    d.spts.clear(cbndx, index);
    d.leave(lock_id::SPT)
}

/// Spec: SO-2 (high).
pub fn walk_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    d.enter(lock_id::SPT)?;
    let pte = d.spts.get(smmu_ttbr(index, cbndx), addr / PAGE_SIZE).pte;
    d.leave(lock_id::SPT)?;
    Some(pte)
}

/// Spec: SO-3 (high).
pub fn map_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(addr))?;
    if d.halt {
        return Some(());
    }
    map_locked(d, cbndx, index, addr, pte)
}

/// One mapping operation under SPT. A halt leaves the lock held.
pub(crate) fn map_locked(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) -> Spec {
    d.enter(lock_id::SPT)?;
    note_other(d, cbndx, index, addr, pte);
    match d.spts.local_spt_map(cbndx, index, addr, pte) {
        Mapped::Done => d.leave(lock_id::SPT),
        halt => {
            note_full(d, halt);
            d.halt_in_section();
            Some(())
        }
    }
}

/// Spec: SO-4 (high).
pub fn unmap_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(addr))?;
    if d.halt {
        return Some(0);
    }
    note_no_bank(d, cbndx, index);
    let pte = unmap_locked(d, cbndx, index, addr)?;
    Some(if d.halt { 0 } else { pte })
}

/// Unmaps an io page, under SPT, and returns what was there.
pub(crate) fn unmap_locked(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
    let pte = d.spts.get(smmu_ttbr(index, cbndx), addr / PAGE_SIZE).pte;
    if pte == 0 {
        d.enter(lock_id::SPT)?;
        d.leave(lock_id::SPT)?;
    } else {
        map_locked(d, cbndx, index, addr, 0)?;
    }
    Some(pte)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{RData, Spec};
    use crate::abstract_machine::check64;
    use crate::locks::{acquire_lock_spt, release_lock_spt};
    use crate::mmio_spt_walk::{clear_smmu_pt, set_smmu_pt, walk_smmu_pt};

    /// Spec: SO-1 (low).
    pub fn init_spt(d: &mut RData, cbndx: u32, index: u32) -> Spec {
        acquire_lock_spt(d)?;
        clear_smmu_pt(d, cbndx, index)?;
        release_lock_spt(d)
    }

    /// Spec: SO-2 (low).
    pub fn walk_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
        acquire_lock_spt(d)?;
        let pte = walk_smmu_pt(d, cbndx, index, addr)?;
        release_lock_spt(d)?;
        check64(d, pte)
    }

    /// Spec: SO-3 (low).
    pub fn map_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64, pte: u64) -> Spec {
        acquire_lock_spt(d)?;
        set_smmu_pt(d, cbndx, index, addr, pte)?;
        release_lock_spt(d)
    }

    /// Spec: SO-4 (low).
    pub fn unmap_spt(d: &mut RData, cbndx: u32, index: u32, addr: u64) -> Spec<u64> {
        acquire_lock_spt(d)?;
        let pte = walk_smmu_pt(d, cbndx, index, addr)?;
        if pte != 0 {
            set_smmu_pt(d, cbndx, index, addr, 0)?;
        }
        release_lock_spt(d)?;
        check64(d, pte)
    }
}
