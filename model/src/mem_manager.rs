// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemManager: who owns a page, and who may map it.
//!
//! The high specifications look at all locks that any of their cases takes before they look at a case.

pub mod low;

use crate::constants::model_only::{PAGE_S2_KERNEL, SMMU_HOST_OFFSET};
use crate::constants::{
    EL2_SMMU_CFG_SIZE, HOSTVISOR, INVALID, INVALID64, MAX_SHARE_COUNT, PAGE_S2_DEVICE, PAGE_SIZE, PMD_SIZE,
    PMD_TABLE_BIT, S2_RDWR, is_addr, is_gfn, is_paddr, is_pfn, is_smmu, is_smmu_addr, is_smmu_cfg, is_vm, is_vmid,
    phys_page,
};
use crate::mmio_ops::note_no_bank;
use crate::mmio_ops_aux;
use crate::mmio_spt_ops;
use crate::npt_ops::{clear_host_locked, map_locked};
use crate::rdata::lock_id::{S2PAGE, SPT, pt};
use crate::rdata::{RData, S2Page};
use crate::{Spec, rely};

/// Halts with S2PAGE held.
fn refuse(d: &mut RData) -> Spec {
    d.halt_in_section();
    Some(())
}

/// Releases S2PAGE, unless a step inside has halted: then it stays held.
fn done(d: &mut RData) -> Spec {
    if d.halt { Some(()) } else { d.leave(S2PAGE) }
}

/// Spec: MM-1 (high). D-01: a count of INVALID passes for "shared".
pub fn map_page_host(d: &mut RData, addr: u64) -> Spec {
    rely(is_paddr(addr))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(HOSTVISOR))?;
    let pfn = addr / PAGE_SIZE;
    let page = d.s2page.get(pfn);
    d.enter(S2PAGE)?;
    if page.owner == INVALID {
        map_locked(d, HOSTVISOR, addr, 3, (pfn * PAGE_SIZE) | PAGE_S2_DEVICE | S2_RDWR)?;
    } else if page.owner == HOSTVISOR || page.count > 0 {
        if page.owner != HOSTVISOR && page.count == INVALID {
            d.tag(1);
        }
        map_locked(d, HOSTVISOR, addr, 3, (pfn * PAGE_SIZE) | PAGE_S2_KERNEL)?;
    } else {
        return refuse(d);
    }
    done(d)
}

/// D-84: pages of VMs, says the name; the host and Corevisor are accepted.
fn note_no_vm(d: &mut RData, vmid: u32) {
    if !is_vm(vmid) {
        d.tag(84);
    }
}

/// Spec: MM-2 (high). D-03: the host's table is left alone. D-82: so is the VM's.
pub fn clear_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    d.enter(S2PAGE)?;
    if d.s2page.get(pfn).owner == vmid {
        if d.npt(HOSTVISOR).level(pfn) != 0 {
            d.tag(3);
        }
        let gfn = d.s2page.get(pfn).gfn;
        if d.npt(vmid).level(gfn) != 0 && d.npt(vmid).get(gfn).pfn == pfn {
            d.tag(82);
        }
        d.s2page.set(pfn, S2Page { owner: HOSTVISOR, count: 0, gfn: pfn + SMMU_HOST_OFFSET });
        d.set_page(pfn, 0);
    }
    d.leave(S2PAGE)
}

/// Spec: MM-3 (high). D-81: when taking the page from the host halts, the record has changed already.
pub fn assign_pfn_to_vm(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_gfn(gfn) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(HOSTVISOR))?;
    let page = d.s2page.get(pfn);
    d.enter(S2PAGE)?;
    if page.owner == HOSTVISOR {
        if page.count != 0 {
            return refuse(d);
        }
        d.s2page.set(pfn, S2Page { owner: vmid, count: 0, gfn });
        clear_host_locked(d, pfn)?;
        if d.halt {
            d.tag(81);
        } else {
            let value = d.draw(vmid);
            d.set_page(pfn, value);
        }
    } else if page.owner == vmid && (page.gfn == INVALID64 || page.gfn == gfn) {
        let count = if page.count == INVALID { 0 } else { page.count };
        if count != page.count && d.npt(HOSTVISOR).level(pfn) != 0 {
            d.tag(1);
        }
        d.s2page.set(pfn, S2Page { owner: vmid, count, gfn });
    } else {
        return refuse(d);
    }
    done(d)
}

/// Spec: MM-4 (high). D-20: that a block and its place are aligned is not asked.
pub fn map_pfn_vm(d: &mut RData, vmid: u32, addr: u64, pte: u64, level: u32) -> Spec {
    rely(is_vmid(vmid) && is_addr(addr))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    let pte = phys_page(pte) | PAGE_S2_KERNEL;
    if level == 2 && !(phys_page(pte).is_multiple_of(PMD_SIZE) && addr.is_multiple_of(PMD_SIZE)) {
        d.tag(20);
    }
    if level == 2 { map_locked(d, vmid, addr, 2, pte & !PMD_TABLE_BIT) } else { map_locked(d, vmid, addr, 3, pte) }
}

/// Spec: MM-5 (high). D-83: registers of an SMMU are device memory like any other.
pub fn map_vm_io(d: &mut RData, vmid: u32, gpa: u64, pa: u64) -> Spec {
    rely(is_vmid(vmid) && is_addr(gpa) && is_addr(pa))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(vmid))?;
    let owner = d.s2page.get(pa / PAGE_SIZE).owner;
    d.enter(S2PAGE)?;
    if owner == INVALID {
        if mmio_ops_aux::search(phys_page(pa)) != INVALID {
            d.tag(83);
        }
        map_locked(d, vmid, gpa, 3, phys_page(pa) | PAGE_S2_DEVICE | S2_RDWR)?;
    }
    done(d)
}

/// Spec: MM-6 (high).
pub fn grant_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    d.enter(S2PAGE)?;
    let page = d.s2page.get(pfn);
    if page.owner == vmid && page.count < MAX_SHARE_COUNT {
        d.s2page.set(pfn, S2Page { count: page.count + 1, ..page });
    }
    d.leave(S2PAGE)
}

/// Spec: MM-7 (high). D-11: a count of INVALID is decremented, too.
pub fn revoke_vm_page(d: &mut RData, vmid: u32, pfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    note_no_vm(d, vmid);
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(HOSTVISOR))?;
    d.enter(S2PAGE)?;
    let page = d.s2page.get(pfn);
    if page.owner == vmid && page.count > 0 {
        if page.count == INVALID {
            d.tag(11);
        }
        d.s2page.set(pfn, S2Page { count: page.count - 1, ..page });
        if page.count == 1 {
            clear_host_locked(d, pfn)?;
            if !d.halt {
                let value = d.draw(vmid);
                d.set_page(pfn, value);
            }
        }
    }
    done(d)
}

/// Spec: MM-8 (high). D-04: draws a value for the contents.
pub fn assign_pfn_to_smmu(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_gfn(gfn) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    assign_smmu_locked(d, vmid, gfn, pfn)
}

/// What MM-8 does when not halted; on a halt the record stays as it was.
pub(crate) fn assign_smmu_locked(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(HOSTVISOR))?;
    let page = d.s2page.get(pfn);
    d.enter(S2PAGE)?;
    if page.owner == HOSTVISOR {
        if page.count != 0 {
            return refuse(d);
        }
        clear_host_locked(d, pfn)?;
        if !d.halt {
            d.s2page.set(pfn, S2Page { owner: vmid, count: INVALID, gfn });
            let value = d.draw(vmid);
            d.set_page(pfn, value);
        }
    } else if page.owner != vmid {
        return refuse(d);
    }
    done(d)
}

/// Spec: MM-9 (high). D-09: a host page must sit at io page pfn + 10^9. D-10: beyond 16, mappings go uncounted.
pub fn update_smmu_page(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    rely(is_vmid(vmid) && is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    update_smmu_locked(d, vmid, cbndx, index, iova, pte)
}

/// What MM-9 does when not halted.
pub(crate) fn update_smmu_locked(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    d.rely_free(S2PAGE)?;
    d.rely_free(SPT)?;
    let pfn = phys_page(pte) / PAGE_SIZE;
    let page = d.s2page.get(pfn);
    d.enter(S2PAGE)?;
    if vmid == HOSTVISOR && page.owner == HOSTVISOR {
        d.tag(9);
        if page.count >= EL2_SMMU_CFG_SIZE {
            d.tag(10);
        }
    }
    if page.owner != vmid || page.gfn != iova / PAGE_SIZE {
        return refuse(d);
    }
    mmio_spt_ops::map_locked(d, cbndx, index, iova, pte)?;
    if !d.halt && page.owner == HOSTVISOR && page.count < EL2_SMMU_CFG_SIZE {
        d.s2page.set(pfn, S2Page { count: page.count + 1, ..page });
    }
    done(d)
}

/// Spec: MM-10 (high).
pub fn unmap_smmu_page(d: &mut RData, cbndx: u32, index: u32, iova: u64) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    unmap_smmu_locked(d, cbndx, index, iova)
}

/// What MM-10 does when not halted.
pub(crate) fn unmap_smmu_locked(d: &mut RData, cbndx: u32, index: u32, iova: u64) -> Spec {
    note_no_bank(d, cbndx, index);
    d.rely_free(S2PAGE)?;
    d.rely_free(SPT)?;
    d.enter(S2PAGE)?;
    let pte = mmio_spt_ops::unmap_locked(d, cbndx, index, iova)?;
    let pfn = phys_page(pte) / PAGE_SIZE;
    let page = d.s2page.get(pfn);
    if !d.halt && page.owner == HOSTVISOR && page.count > 0 {
        d.s2page.set(pfn, S2Page { count: page.count - 1, ..page });
    }
    done(d)
}
