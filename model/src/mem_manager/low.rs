// SPDX-License-Identifier: GPL-2.0-only
//! The same as calls into the layer below. The vectors decide that they do not rely on the principal themselves: only a
//! callee may.

use crate::abstract_machine::{clear_phys_page, fetch_from_doracle, panic};
use crate::constants::model_only::{PAGE_S2_KERNEL, SMMU_HOST_OFFSET};
use crate::constants::{
    EL2_SMMU_CFG_SIZE, HOSTVISOR, INVALID, INVALID64, MAX_SHARE_COUNT, PAGE_S2_DEVICE, PAGE_SIZE, PMD_TABLE_BIT,
    S2_RDWR, is_addr, is_gfn, is_pfn, phys_page,
};
use crate::locks::{acquire_lock_s2page, release_lock_s2page};
use crate::mmio_spt_ops::{map_spt, unmap_spt};
use crate::npt_ops::{clear_pfn_host, map_s2pt};
use crate::page_manager::{get_pfn_count, get_pfn_map, get_pfn_owner, set_pfn_count, set_pfn_map, set_pfn_owner};
use crate::rdata::RData;
use crate::{Spec, rely};

/// Spec: MM-1 (low).
pub fn map_page_host(d: &mut RData, addr: u64) -> Spec {
    rely(is_addr(addr))?;
    let pfn = addr / PAGE_SIZE;
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, pfn)?;
    let count = get_pfn_count(d, pfn)?;
    if owner == INVALID {
        map_s2pt(d, HOSTVISOR, addr, 3, (pfn * PAGE_SIZE) | PAGE_S2_DEVICE | S2_RDWR)?;
    } else if owner == HOSTVISOR || count > 0 {
        map_s2pt(d, HOSTVISOR, addr, 3, (pfn * PAGE_SIZE) | PAGE_S2_KERNEL)?;
    } else {
        panic(d)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-2 (low). D-03: takes the page from the host's table first.
pub fn clear_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_pfn(pfn))?;
    acquire_lock_s2page(d)?;
    if get_pfn_owner(d, pfn)? == vmid {
        clear_pfn_host(d, pfn)?;
        set_pfn_owner(d, pfn, HOSTVISOR)?;
        set_pfn_count(d, pfn, 0)?;
        set_pfn_map(d, pfn, pfn + SMMU_HOST_OFFSET)?;
        clear_phys_page(d, pfn)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-3 (low).
pub fn assign_pfn_to_vm(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
    rely(is_gfn(gfn) && is_pfn(pfn))?;
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, pfn)?;
    let count = get_pfn_count(d, pfn)?;
    if owner == HOSTVISOR {
        if count == 0 {
            clear_pfn_host(d, pfn)?;
            set_pfn_owner(d, pfn, vmid)?;
            set_pfn_map(d, pfn, gfn)?;
            fetch_from_doracle(d, vmid, pfn, 1)?;
        } else {
            panic(d)?;
        }
    } else if owner == vmid {
        let map = get_pfn_map(d, pfn)?;
        if map == INVALID64 || map == gfn {
            set_pfn_map(d, pfn, gfn)?;
            if count == INVALID {
                set_pfn_count(d, pfn, 0)?;
            }
        } else {
            panic(d)?;
        }
    } else {
        panic(d)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-4 (low).
pub fn map_pfn_vm(d: &mut RData, vmid: u32, addr: u64, pte: u64, level: u32) -> Spec {
    let pte = phys_page(pte) | PAGE_S2_KERNEL;
    if level == 2 { map_s2pt(d, vmid, addr, 2, pte & !PMD_TABLE_BIT) } else { map_s2pt(d, vmid, addr, 3, pte) }
}

/// Spec: MM-5 (low).
pub fn map_vm_io(d: &mut RData, vmid: u32, gpa: u64, pa: u64) -> Spec {
    rely(is_addr(gpa) && is_addr(pa))?;
    acquire_lock_s2page(d)?;
    if get_pfn_owner(d, pa / PAGE_SIZE)? == INVALID {
        map_s2pt(d, vmid, gpa, 3, phys_page(pa) | PAGE_S2_DEVICE | S2_RDWR)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-6 (low).
pub fn grant_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_pfn(pfn))?;
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, pfn)?;
    let count = get_pfn_count(d, pfn)?;
    if owner == vmid && count < MAX_SHARE_COUNT {
        set_pfn_count(d, pfn, count + 1)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-7 (low). D-11: a count of INVALID is decremented, too.
pub fn revoke_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_pfn(pfn))?;
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, pfn)?;
    let count = get_pfn_count(d, pfn)?;
    if owner == vmid && count > 0 {
        set_pfn_count(d, pfn, count - 1)?;
        if count == 1 {
            clear_pfn_host(d, pfn)?;
            fetch_from_doracle(d, vmid, pfn, 1)?;
        }
    }
    release_lock_s2page(d)
}

/// Spec: MM-8 (low). D-04: draws nothing.
pub fn assign_pfn_to_smmu(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
    rely(is_gfn(gfn) && is_pfn(pfn))?;
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, pfn)?;
    let count = get_pfn_count(d, pfn)?;
    if owner == HOSTVISOR {
        if count == 0 {
            clear_pfn_host(d, pfn)?;
            set_pfn_owner(d, pfn, vmid)?;
            set_pfn_map(d, pfn, gfn)?;
            set_pfn_count(d, pfn, INVALID)?;
        } else {
            panic(d)?;
        }
    } else if owner != vmid {
        panic(d)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-9 (low).
pub fn update_smmu_page(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    acquire_lock_s2page(d)?;
    let pfn = phys_page(pte) / PAGE_SIZE;
    let owner = get_pfn_owner(d, pfn)?;
    let gfn = get_pfn_map(d, pfn)?;
    if vmid == owner && gfn == iova / PAGE_SIZE {
        map_spt(d, cbndx, index, iova, pte)?;
        if owner == HOSTVISOR {
            let count = get_pfn_count(d, pfn)?;
            if count < EL2_SMMU_CFG_SIZE {
                set_pfn_count(d, pfn, count + 1)?;
            }
        }
    } else {
        panic(d)?;
    }
    release_lock_s2page(d)
}

/// Spec: MM-10 (low).
pub fn unmap_smmu_page(d: &mut RData, cbndx: u32, index: u32, iova: u64) -> Spec {
    rely(is_addr(iova))?;
    acquire_lock_s2page(d)?;
    let pte = unmap_spt(d, cbndx, index, iova)?;
    let pfn = phys_page(pte) / PAGE_SIZE;
    if get_pfn_owner(d, pfn)? == HOSTVISOR {
        let count = get_pfn_count(d, pfn)?;
        if count > 0 {
            set_pfn_count(d, pfn, count - 1)?;
        }
    }
    release_lock_s2page(d)
}
