// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PageManager. From here upward the ownership table is indexed by page number.

use crate::constants::{INVALID, is_gfn, is_vmid};
use crate::rdata::{RData, S2Page, lock_id};
use crate::{Spec, rely};

/// Reads a field of a record; 0 when halted.
fn read<T: Default>(d: &mut RData, pfn: u64, field: impl FnOnce(S2Page) -> T) -> Spec<T> {
    rely(is_gfn(pfn))?;
    if d.halt {
        return Some(T::default());
    }
    d.rely_held(lock_id::S2PAGE)?;
    Some(field(d.s2page.get(pfn)))
}

/// Changes a record, unless the page is not RAM.
fn write(d: &mut RData, pfn: u64, rely_value: bool, change: impl FnOnce(&mut S2Page)) -> Spec {
    rely(is_gfn(pfn))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::S2PAGE)?;
    if d.s2page.get(pfn).owner != INVALID {
        rely(rely_value)?;
        d.s2page.update(pfn, change);
    }
    Some(())
}

/// Spec: PM-1 (high).
pub fn get_pfn_owner(d: &mut RData, pfn: u64) -> Spec<u32> {
    read(d, pfn, |page| page.owner)
}

/// Spec: PM-2 (high).
pub fn set_pfn_owner(d: &mut RData, pfn: u64, vmid: u32) -> Spec {
    write(d, pfn, is_vmid(vmid), |page| page.owner = vmid)
}

/// Spec: PM-3 (high).
pub fn get_pfn_count(d: &mut RData, pfn: u64) -> Spec<u32> {
    read(d, pfn, |page| page.count)
}

/// Spec: PM-4 (high).
pub fn set_pfn_count(d: &mut RData, pfn: u64, count: u32) -> Spec {
    write(d, pfn, true, |page| page.count = count)
}

/// Spec: PM-5 (high).
pub fn get_pfn_map(d: &mut RData, pfn: u64) -> Spec<u64> {
    read(d, pfn, |page| page.gfn)
}

/// Spec: PM-6 (high).
pub fn set_pfn_map(d: &mut RData, pfn: u64, gfn: u64) -> Spec {
    write(d, pfn, true, |page| page.gfn = gfn)
}

/// The same as calls into the layer below, where the ownership table is indexed by record number.
pub mod low {
    use super::{INVALID, RData, Spec, is_gfn, rely};
    use crate::abstract_machine::{
        check, check64, get_s2_page_count, get_s2_page_gfn, get_s2_page_vmid, set_s2_page_count, set_s2_page_gfn,
        set_s2_page_vmid,
    };
    use crate::constants::{INVALID64, PAGE_SIZE};
    use crate::page_index::get_s2_page_index;

    /// Number of the record of `pfn`.
    fn index_of(d: &mut RData, pfn: u64) -> Spec<u64> {
        rely(is_gfn(pfn))?;
        get_s2_page_index(d, pfn * PAGE_SIZE)
    }

    /// Spec: PM-1 (low).
    pub fn get_pfn_owner(d: &mut RData, pfn: u64) -> Spec<u32> {
        let index = index_of(d, pfn)?;
        let owner = if index == INVALID64 { INVALID } else { get_s2_page_vmid(d, index)? };
        check(d, owner)
    }

    /// Spec: PM-2 (low).
    pub fn set_pfn_owner(d: &mut RData, pfn: u64, vmid: u32) -> Spec {
        let index = index_of(d, pfn)?;
        if index == INVALID64 { Some(()) } else { set_s2_page_vmid(d, index, vmid) }
    }

    /// Spec: PM-3 (low).
    pub fn get_pfn_count(d: &mut RData, pfn: u64) -> Spec<u32> {
        let index = index_of(d, pfn)?;
        let count = if index == INVALID64 { INVALID } else { get_s2_page_count(d, index)? };
        check(d, count)
    }

    /// Spec: PM-4 (low).
    pub fn set_pfn_count(d: &mut RData, pfn: u64, count: u32) -> Spec {
        let index = index_of(d, pfn)?;
        if index == INVALID64 { Some(()) } else { set_s2_page_count(d, index, count) }
    }

    /// Spec: PM-5 (low).
    pub fn get_pfn_map(d: &mut RData, pfn: u64) -> Spec<u64> {
        let index = index_of(d, pfn)?;
        let gfn = if index == INVALID64 { INVALID64 } else { get_s2_page_gfn(d, index)? };
        check64(d, gfn)
    }

    /// Spec: PM-6 (low).
    pub fn set_pfn_map(d: &mut RData, pfn: u64, gfn: u64) -> Spec {
        let index = index_of(d, pfn)?;
        if index == INVALID64 { Some(()) } else { set_s2_page_gfn(d, index, gfn) }
    }
}
