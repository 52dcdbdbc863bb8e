// SPDX-License-Identifier: GPL-2.0-only
//! Stage-2 and SMMU table memory.

use crate::constants::model_only::{SMMU_PGD_START, SMMU_PMD_START, SMMU_POOL_END, SMMU_POOL_START};
use crate::constants::{
    TABLE, is_smmu, is_smmu_cfg, is_vmid, pgd_start, pmd_start, pool_end, pool_start, pt_vttbr, pud_start, smmu_ttbr,
};
use crate::page_table::{load, store};
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Declares getter and setter of a stage-2 bump pointer.
macro_rules! next_pointer {
    ($field:ident; $(#[$get_doc:meta])* fn $get:ident; $(#[$set_doc:meta])* fn $set:ident;) => {
        $(#[$get_doc])*
        pub fn $get(d: &mut RData, vmid: u32) -> Spec<u64> {
            if d.halt {
                return Some(0);
            }
            rely(is_vmid(vmid))?;
            d.rely_held(lock_id::pt(vmid))?;
            Some(d.npt(vmid).$field)
        }

        $(#[$set_doc])*
        pub fn $set(d: &mut RData, vmid: u32, next: u64) -> Spec {
            if d.halt {
                return Some(());
            }
            rely(is_vmid(vmid))?;
            d.rely_held(lock_id::pt(vmid))?;
            d.npt(vmid).$field = next;
            Some(())
        }
    };
}

next_pointer! {
    pgd_next;
    /// Spec: AM-22.
    fn get_pgd_next;
    /// Spec: AM-23.
    fn set_pgd_next;
}

next_pointer! {
    pud_next;
    /// Spec: AM-24.
    fn get_pud_next;
    /// Spec: AM-25.
    fn set_pud_next;
}

next_pointer! {
    pmd_next;
    /// Spec: AM-26.
    fn get_pmd_next;
    /// Spec: AM-27.
    fn set_pmd_next;
}

/// Spec: AM-28.
pub fn pt_load(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid))?;
    rely(pool_start(vmid) <= addr && addr < pool_end(vmid))?;
    d.rely_held(lock_id::pt(vmid))?;
    let npt = d.npt(vmid);
    let pool = if addr < pgd_start(vmid) {
        &npt.vttbr_pool
    } else if addr < pud_start(vmid) {
        &npt.pgd_pool
    } else if addr < pmd_start(vmid) {
        &npt.pud_pool
    } else {
        &npt.pmd_pool
    };
    Some(load(pool, addr))
}

/// Spec: AM-29.
pub fn pt_store(d: &mut RData, vmid: u32, addr: u64, value: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_vmid(vmid))?;
    rely(pool_start(vmid) <= addr && addr < pool_end(vmid))?;
    d.rely_held(lock_id::pt(vmid))?;
    let tstate = d.tstate;
    let npt = d.npt(vmid);
    if addr < pgd_start(vmid) {
        store(&mut npt.vttbr_pool, addr, value);
    } else if addr < pud_start(vmid) {
        store(&mut npt.pgd_pool, addr, value);
    } else if addr < pmd_start(vmid) && value & TABLE == TABLE {
        store(&mut npt.pud_pool, addr, value);
    } else {
        rely(tstate == 0)?;
        store(if addr < pmd_start(vmid) { &mut npt.pud_pool } else { &mut npt.pmd_pool }, addr, value);
        d.tstate = 1;
    }
    Some(())
}

/// Spec: AM-30.
pub fn get_pt_vttbr(d: &mut RData, vmid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid))?;
    Some(pt_vttbr(vmid))
}

/// Spec: AM-31. No effect in the model.
pub fn set_pt_vttbr(_d: &mut RData, _vmid: u32, _vttbr: u64) -> Spec {
    Some(())
}

/// Spec: AM-32.
pub fn get_smmu_pgd_next(d: &mut RData) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    Some(d.spts.pgd_next)
}

/// Spec: AM-33.
pub fn set_smmu_pgd_next(d: &mut RData, next: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SPT)?;
    d.spts.pgd_next = next;
    Some(())
}

/// Spec: AM-34.
pub fn get_smmu_pmd_next(d: &mut RData) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SPT)?;
    Some(d.spts.pmd_next)
}

/// Spec: AM-35.
pub fn set_smmu_pmd_next(d: &mut RData, next: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SPT)?;
    d.spts.pmd_next = next;
    Some(())
}

/// Spec: AM-36.
pub fn get_smmu_cfg_hw_ttbr(d: &mut RData, cbndx: u32, index: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    Some(smmu_ttbr(index, cbndx))
}

/// Spec: AM-37.
pub fn smmu_pt_load(d: &mut RData, addr: u64) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely((SMMU_POOL_START..SMMU_POOL_END).contains(&addr))?;
    d.rely_held(lock_id::SPT)?;
    let pool = if addr < SMMU_PGD_START {
        &d.spts.vttbr_pool
    } else if addr < SMMU_PMD_START {
        &d.spts.pgd_pool
    } else {
        &d.spts.pmd_pool
    };
    Some(load(pool, addr))
}

/// Spec: AM-38.
pub fn smmu_pt_store(d: &mut RData, addr: u64, value: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely((SMMU_POOL_START..SMMU_POOL_END).contains(&addr))?;
    d.rely_held(lock_id::SPT)?;
    if addr < SMMU_PGD_START {
        store(&mut d.spts.vttbr_pool, addr, value);
    } else if addr < SMMU_PMD_START {
        store(&mut d.spts.pgd_pool, addr, value);
    } else {
        rely(d.tstate == 0)?;
        store(&mut d.spts.pmd_pool, addr, value);
        d.tstate = 1;
    }
    Some(())
}

/// Spec: AM-39. D-64: the published loop rewrites the first entry again and again; the other 1023 stay. The vectors
/// decide that `tstate` stays 0, unlike the text's table of events.
pub fn smmu_pt_clear(d: &mut RData, cbndx: u32, index: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    d.rely_held(lock_id::SPT)?;
    rely(d.tstate == 0)?;
    d.tag(64);
    store(&mut d.spts.vttbr_pool, smmu_ttbr(index, cbndx), 0);
    Some(())
}

/// The variants that ask the barrier automaton.
pub mod low {
    use crate::Spec;
    use crate::abstract_machine::synchronisation::rely_valid;
    use crate::rdata::RData;

    /// Declares the low variants.
    macro_rules! valid {
        ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {$(
            $(#[$doc])*
            pub fn $name(d: &mut RData, $($arg: $ty),*) -> Spec<$ret> {
                if !d.halt {
                    rely_valid(d)?;
                }
                super::$name(d, $($arg),*)
            }
        )*};
    }

    valid! {
        /// Spec: AM-22 (low).
        fn get_pgd_next(vmid: u32) -> u64;
        /// Spec: AM-23 (low).
        fn set_pgd_next(vmid: u32, next: u64) -> ();
        /// Spec: AM-24 (low).
        fn get_pud_next(vmid: u32) -> u64;
        /// Spec: AM-25 (low).
        fn set_pud_next(vmid: u32, next: u64) -> ();
        /// Spec: AM-26 (low).
        fn get_pmd_next(vmid: u32) -> u64;
        /// Spec: AM-27 (low).
        fn set_pmd_next(vmid: u32, next: u64) -> ();
        /// Spec: AM-28 (low).
        fn pt_load(vmid: u32, addr: u64) -> u64;
        /// Spec: AM-29 (low).
        fn pt_store(vmid: u32, addr: u64, value: u64) -> ();
    }
}
