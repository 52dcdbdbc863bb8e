// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioOps.

use crate::boot_ops::{assign_smmu, clear_smmu, map_smmu};
use crate::constants::state::{POWEROFF, UNUSED, VERIFIED};
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID, PAGE_SIZE, is_addr, is_gfn, is_pfn, is_smmu, is_smmu_addr, is_smmu_cfg, is_vcpu,
    is_vm, is_vmid, phys_page, smmu_id, smmu_ttbr,
};
use crate::mmio_ops_aux::{handle_host_mmio, search};
use crate::mmio_spt_ops::init_locked;
use crate::rdata::lock_id::{SMMU, SPT, vm};
use crate::rdata::{RData, SMMU_COUNT, SMMUS};
use crate::{Spec, rely};

/// Releases SMMU, unless a step inside has halted: then it stays held.
fn done(d: &mut RData) -> Spec {
    if d.halt { Some(()) } else { d.leave(SMMU) }
}

/// D-60: SMMUs have as many banks as they have; here there are always eight.
pub(crate) fn note_no_bank(d: &mut RData, cbndx: u32, index: u32) {
    if SMMUS.get(index as usize).is_some_and(|smmu| cbndx >= smmu.context_banks) {
        d.tag(60);
    }
}

/// D-63: the second SMMU is not looked for.
pub(crate) fn note_second_smmu(d: &mut RData, addr: u64) {
    let unseen = &SMMUS[SMMU_COUNT as usize..];
    if unseen.iter().any(|smmu| smmu.base <= addr && addr < smmu.base + smmu.size) {
        d.tag(63);
    }
}

/// Spec: IO-1 (high).
pub fn emulate_mmio(d: &mut RData, addr: u64, hsr: u32) -> Spec<u32> {
    rely(is_addr(addr) && is_addr(addr | d.regs.get("far_el2") & 0xFFF) && is_vcpu(d.cur_vcpuid))?;
    if d.halt {
        return Some(0);
    }
    d.enter(SMMU)?;
    note_second_smmu(d, addr);
    rely(is_smmu(SMMU_COUNT))?;
    let index = search(addr);
    if index != INVALID {
        rely(is_smmu(index))?;
        handle_host_mmio(d, addr, index, hsr)?;
        if d.halt {
            d.tstate = 0;
            return Some(0);
        }
    }
    d.leave(SMMU)?;
    Some(index)
}

/// Spec: IO-2 (high). D-15: the host's banks can't be freed. D-68: the table stays, and the hardware runs on.
pub fn el2_free_smmu_pgd(d: &mut RData, cbndx: u32, index: u32) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    if d.halt {
        return Some(());
    }
    note_no_bank(d, cbndx, index);
    d.enter(SMMU)?;
    let vmid = d.smmu_owner(smmu_id(index, cbndx));
    if vmid != INVALID {
        rely(is_vmid(vmid))?;
        d.enter(vm(vmid))?;
        let off = d.vm(vmid).vm_state == POWEROFF;
        d.tag(if vmid == HOSTVISOR { 15 } else { 68 });
        d.leave(vm(vmid))?;
        if !off {
            d.halt = true;
            return Some(());
        }
        d.smmu_vmid.insert(smmu_id(index, cbndx), INVALID);
    }
    d.leave(SMMU)
}

/// Spec: IO-3 (high). D-13: the VM is not asked.
pub fn el2_alloc_smmu_pgd(d: &mut RData, cbndx: u32, vmid: u32, index: u32) -> Spec {
    rely(is_vmid(vmid) && is_smmu(index) && is_smmu_cfg(cbndx))?;
    if d.halt {
        return Some(());
    }
    d.enter(SMMU)?;
    if cbndx >= SMMUS[index as usize].context_banks {
        d.halt_in_section();
        return Some(());
    }
    let id = smmu_id(index, cbndx);
    if vmid == COREVISOR {
        d.tag(88);
    }
    if d.smmu_owner(id) == INVALID {
        d.rely_free(SPT)?;
        if is_vm(vmid) {
            match d.vm(vmid).vm_state {
                VERIFIED => d.tag(13),
                UNUSED | POWEROFF => d.tag(88),
                _ => {}
            }
        }
        d.smmu_vmid.insert(id, vmid);
        init_locked(d, cbndx, index)?;
    }
    d.leave(SMMU)
}

/// Spec: IO-4 (high). D-12: with BO-10 the wrong way round.
pub fn smmu_assign_page(d: &mut RData, cbndx: u32, index: u32, pfn: u64, gfn: u64) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_gfn(gfn) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    note_no_bank(d, cbndx, index);
    d.enter(SMMU)?;
    let vmid = d.smmu_owner(smmu_id(index, cbndx));
    if vmid != INVALID {
        assign_smmu(d, vmid, pfn, gfn)?;
    }
    done(d)
}

/// Spec: IO-5 (high).
pub fn smmu_map_page(d: &mut RData, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    note_no_bank(d, cbndx, index);
    d.enter(SMMU)?;
    let vmid = d.smmu_owner(smmu_id(index, cbndx));
    if vmid != INVALID {
        map_smmu(d, vmid, cbndx, index, iova, pte)?;
    }
    done(d)
}

/// Spec: IO-6 (high). D-62: of an unmapped page only the offset is left.
pub fn el2_arm_lpae_iova_to_phys(d: &mut RData, iova: u64, cbndx: u32, index: u32) -> Spec<u64> {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(0);
    }
    note_no_bank(d, cbndx, index);
    d.enter(SPT)?;
    let pte = d.spts.get(smmu_ttbr(index, cbndx), iova / PAGE_SIZE).pte;
    d.leave(SPT)?;
    Some(phys_page(pte) + (iova & (PAGE_SIZE - 1)))
}

/// Spec: IO-7 (high).
pub fn el2_arm_lpae_clear(d: &mut RData, iova: u64, cbndx: u32, index: u32) -> Spec {
    rely(is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    note_no_bank(d, cbndx, index);
    d.enter(SMMU)?;
    let vmid = d.smmu_owner(smmu_id(index, cbndx));
    if vmid != INVALID {
        clear_smmu(d, vmid, cbndx, index, iova)?;
    }
    done(d)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{INVALID, PAGE_SIZE, RData, Spec, phys_page};
    use crate::abstract_machine::{
        check, check64, get_smmu_cfg_vmid, get_smmu_num_context_banks, panic, set_smmu_cfg_vmid,
    };
    use crate::boot_ops::{alloc_smmu, assign_smmu, clear_smmu, map_smmu};
    use crate::locks::{acquire_lock_smmu, release_lock_smmu};
    use crate::mmio_ops_aux::{handle_host_mmio, is_smmu_range};
    use crate::mmio_spt_ops::walk_spt;
    use crate::vm_power::get_vm_poweron;

    /// Spec: IO-1 (low).
    pub fn emulate_mmio(d: &mut RData, addr: u64, hsr: u32) -> Spec<u32> {
        acquire_lock_smmu(d)?;
        let index = is_smmu_range(d, addr)?;
        if index != INVALID {
            handle_host_mmio(d, addr, index, hsr)?;
        }
        release_lock_smmu(d)?;
        check(d, index)
    }

    /// Spec: IO-2 (low).
    pub fn el2_free_smmu_pgd(d: &mut RData, cbndx: u32, index: u32) -> Spec {
        acquire_lock_smmu(d)?;
        let vmid = get_smmu_cfg_vmid(d, cbndx, index)?;
        if vmid != INVALID {
            if get_vm_poweron(d, vmid)? == 0 {
                set_smmu_cfg_vmid(d, cbndx, index, INVALID)?;
            } else {
                panic(d)?;
            }
        }
        release_lock_smmu(d)
    }

    /// Spec: IO-3 (low).
    pub fn el2_alloc_smmu_pgd(d: &mut RData, cbndx: u32, vmid: u32, index: u32) -> Spec {
        acquire_lock_smmu(d)?;
        if cbndx < get_smmu_num_context_banks(d, index)? {
            if get_smmu_cfg_vmid(d, cbndx, index)? == INVALID {
                set_smmu_cfg_vmid(d, cbndx, index, vmid)?;
                alloc_smmu(d, vmid, cbndx, index)?;
            }
        } else {
            panic(d)?;
        }
        release_lock_smmu(d)
    }

    /// Spec: IO-4 (low).
    pub fn smmu_assign_page(d: &mut RData, cbndx: u32, index: u32, pfn: u64, gfn: u64) -> Spec {
        acquire_lock_smmu(d)?;
        let vmid = get_smmu_cfg_vmid(d, cbndx, index)?;
        if vmid != INVALID {
            assign_smmu(d, vmid, pfn, gfn)?;
        }
        release_lock_smmu(d)
    }

    /// Spec: IO-5 (low).
    pub fn smmu_map_page(d: &mut RData, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
        acquire_lock_smmu(d)?;
        let vmid = get_smmu_cfg_vmid(d, cbndx, index)?;
        if vmid != INVALID {
            map_smmu(d, vmid, cbndx, index, iova, pte)?;
        }
        release_lock_smmu(d)
    }

    /// Spec: IO-6 (low).
    pub fn el2_arm_lpae_iova_to_phys(d: &mut RData, iova: u64, cbndx: u32, index: u32) -> Spec<u64> {
        let pte = walk_spt(d, cbndx, index, iova)?;
        check64(d, phys_page(pte) + (iova & (PAGE_SIZE - 1)))
    }

    /// Spec: IO-7 (low).
    pub fn el2_arm_lpae_clear(d: &mut RData, iova: u64, cbndx: u32, index: u32) -> Spec {
        acquire_lock_smmu(d)?;
        let vmid = get_smmu_cfg_vmid(d, cbndx, index)?;
        if vmid != INVALID {
            clear_smmu(d, vmid, cbndx, index, iova)?;
        }
        release_lock_smmu(d)
    }
}
