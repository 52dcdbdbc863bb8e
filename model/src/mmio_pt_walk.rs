// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioPTWalk.

use crate::constants::model_only::{SMMU_PGD_START, SMMU_PMD_START, SMMU_POOL_END, SMMU_POOL_START};
use crate::constants::{TABLE, phys_page, pmd_idx, pte_idx, s2_pgd_idx};
use crate::mmio_pt_alloc::{alloc_smmu_pgd_page, alloc_smmu_pmd_page};
use crate::page_table::{load, store};
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Address of entry `index` of the table that `descriptor` points to.
fn entry(descriptor: u64, index: u64) -> u64 {
    phys_page(descriptor) | (index * 8)
}

/// Spec: SW-1 (high).
pub fn walk_smmu_pgd(d: &mut RData, ttbr: u64, addr: u64, alloc: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    let p = entry(ttbr, s2_pgd_idx(addr));
    rely((SMMU_POOL_START..SMMU_PGD_START).contains(&p))?;
    let pgd = load(&d.spts.vttbr_pool, p);
    if pgd != 0 || alloc != 1 {
        return Some(pgd);
    }
    let next = alloc_smmu_pgd_page(d)?;
    if d.halt {
        return Some(0);
    }
    store(&mut d.spts.vttbr_pool, p, next | TABLE);
    store(&mut d.spts.pgd_par, next, p);
    Some(next | TABLE)
}

/// Spec: SW-2 (high).
pub fn walk_smmu_pmd(d: &mut RData, pgd: u64, addr: u64, alloc: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    if pgd == 0 {
        return Some(0);
    }
    let p = entry(pgd, pmd_idx(addr));
    rely((SMMU_PGD_START..SMMU_PMD_START).contains(&p))?;
    let pmd = load(&d.spts.pgd_pool, p);
    if pmd != 0 || alloc != 1 {
        return Some(pmd);
    }
    let next = alloc_smmu_pmd_page(d)?;
    if d.halt {
        return Some(0);
    }
    store(&mut d.spts.pgd_pool, p, next | TABLE);
    store(&mut d.spts.pmd_par, next, p);
    Some(next | TABLE)
}

/// Spec: SW-3 (high).
pub fn walk_smmu_pte(d: &mut RData, pmd: u64, addr: u64) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    if pmd == 0 {
        return Some(0);
    }
    let p = entry(pmd, pte_idx(addr));
    rely((SMMU_PMD_START..SMMU_POOL_END).contains(&p))?;
    Some(load(&d.spts.pmd_pool, p))
}

/// Spec: SW-4 (high).
pub fn set_smmu_pte(d: &mut RData, pmd: u64, addr: u64, pte: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SPT)?;
    let p = entry(pmd, pte_idx(addr));
    rely((SMMU_PMD_START..SMMU_POOL_END).contains(&p))?;
    rely(d.tstate == 0)?;
    store(&mut d.spts.pmd_pool, p, pte);
    d.tstate = 1;
    Some(())
}

/// The same as calls into the layer below.
pub mod low {
    use super::{RData, Spec, TABLE, entry, pmd_idx, pte_idx, s2_pgd_idx};
    use crate::abstract_machine::{check64, smmu_pt_load, smmu_pt_store};
    use crate::mmio_pt_alloc::{alloc_smmu_pgd_page, alloc_smmu_pmd_page};

    /// Spec: SW-1 (low).
    pub fn walk_smmu_pgd(d: &mut RData, ttbr: u64, addr: u64, alloc: u32) -> Spec<u64> {
        let p = entry(ttbr, s2_pgd_idx(addr));
        let mut pgd = smmu_pt_load(d, p)?;
        if pgd == 0 && alloc == 1 {
            pgd = alloc_smmu_pgd_page(d)? | TABLE;
            smmu_pt_store(d, p, pgd)?;
        }
        check64(d, pgd)
    }

    /// Spec: SW-2 (low).
    pub fn walk_smmu_pmd(d: &mut RData, pgd: u64, addr: u64, alloc: u32) -> Spec<u64> {
        if pgd == 0 {
            return check64(d, 0);
        }
        let p = entry(pgd, pmd_idx(addr));
        let mut pmd = smmu_pt_load(d, p)?;
        if pmd == 0 && alloc == 1 {
            pmd = alloc_smmu_pmd_page(d)? | TABLE;
            smmu_pt_store(d, p, pmd)?;
        }
        check64(d, pmd)
    }

    /// Spec: SW-3 (low).
    pub fn walk_smmu_pte(d: &mut RData, pmd: u64, addr: u64) -> Spec<u64> {
        if pmd == 0 {
            return check64(d, 0);
        }
        let pte = smmu_pt_load(d, entry(pmd, pte_idx(addr)))?;
        check64(d, pte)
    }

    /// Spec: SW-4 (low).
    pub fn set_smmu_pte(d: &mut RData, pmd: u64, addr: u64, pte: u64) -> Spec {
        smmu_pt_store(d, entry(pmd, pte_idx(addr)), pte)
    }
}
