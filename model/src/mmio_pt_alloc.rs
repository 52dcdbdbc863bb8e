// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioPTAlloc.

use crate::constants::PAGE_SIZE;
use crate::constants::model_only::{SMMU_PMD_START, SMMU_POOL_END, SMMU_POOL_START};
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: SA-1 (high). D-65: the lower bound relied on is that of the roots.
pub fn alloc_smmu_pgd_page(d: &mut RData) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    let next = d.spts.pgd_next;
    rely((SMMU_POOL_START..=SMMU_PMD_START).contains(&next))?;
    if next + PAGE_SIZE <= SMMU_PMD_START {
        d.spts.pgd_next = next + PAGE_SIZE;
        Some(next)
    } else {
        d.halt = true;
        Some(0)
    }
}

/// Spec: SA-2 (high).
pub fn alloc_smmu_pmd_page(d: &mut RData) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    let next = d.spts.pmd_next;
    rely((SMMU_PMD_START..=SMMU_POOL_END).contains(&next))?;
    if next + PAGE_SIZE <= SMMU_POOL_END {
        d.spts.pmd_next = next + PAGE_SIZE;
        Some(next)
    } else {
        d.halt = true;
        Some(0)
    }
}

/// The same as calls into the layer below. They rely on less: on an address, not on one inside the pool.
pub mod low {
    use super::{PAGE_SIZE, RData, SMMU_PMD_START, SMMU_POOL_END, Spec, rely};
    use crate::abstract_machine::{
        check64, get_smmu_pgd_next, get_smmu_pmd_next, panic, set_smmu_pgd_next, set_smmu_pmd_next,
    };
    use crate::constants::is_addr;

    /// Spec: SA-1 (low).
    pub fn alloc_smmu_pgd_page(d: &mut RData) -> Spec<u64> {
        let next = get_smmu_pgd_next(d)?;
        rely(is_addr(next))?;
        if next + PAGE_SIZE <= SMMU_PMD_START {
            set_smmu_pgd_next(d, next + PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        check64(d, next)
    }

    /// Spec: SA-2 (low).
    pub fn alloc_smmu_pmd_page(d: &mut RData) -> Spec<u64> {
        let next = get_smmu_pmd_next(d)?;
        rely(is_addr(next))?;
        if next + PAGE_SIZE <= SMMU_POOL_END {
            set_smmu_pmd_next(d, next + PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        check64(d, next)
    }
}
