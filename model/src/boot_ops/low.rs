// SPDX-License-Identifier: GPL-2.0-only
//! The same as calls into the layer below.

use crate::abstract_machine::{
    check, check64, decrypt_gp_regs, decrypt_mem_buf, decrypt_sys_regs, encrypt_gp_regs, encrypt_mem_buf,
    encrypt_sys_regs, get_shared_kvm, get_shared_vcpu, get_vcpu_state, get_vm_inc_exe, get_vm_load_addr,
    get_vm_load_size, get_vm_mapped_pages, get_vm_next_load_idx, get_vm_remap_addr, get_vm_state, panic,
    set_shadow_ctxt, set_vcpu_state, set_vm_inc_exe, set_vm_kvm, set_vm_load_addr, set_vm_load_size,
    set_vm_mapped_pages, set_vm_next_load_idx, set_vm_remap_addr, set_vm_state, set_vm_vcpu,
};
use crate::boot_core::{alloc_remap_addr, gen_vmid};
use crate::constants::model_only::PAGE_HYP;
use crate::constants::state::{ACTIVE, READY, UNUSED, VERIFIED};
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID64, KVM_ADDR_SPACE, MAX_LOAD_INFO_NUM, PAGE_SIZE, is_addr, is_load_idx, is_pfn, is_vm,
};
use crate::locks::{acquire_lock_s2page, acquire_lock_vm, release_lock_s2page, release_lock_vm};
use crate::mem_manager::{assign_pfn_to_smmu, map_vm_io, unmap_smmu_page, update_smmu_page};
use crate::mmio_spt_ops::init_spt;
use crate::npt_ops::{clear_pfn_host, map_s2pt};
use crate::page_manager::{get_pfn_owner, set_pfn_count, set_pfn_map, set_pfn_owner};
use crate::rdata::RData;
use crate::registers::DIRTY;
use crate::{Spec, rely};

/// Spec: BO-1 (low).
pub fn search_load_info(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
    acquire_lock_vm(d, vmid)?;
    let count = get_vm_next_load_idx(d, vmid)?;
    rely(count <= MAX_LOAD_INFO_NUM)?;
    let mut found = 0;
    for i in 0..count {
        let base = get_vm_load_addr(d, vmid, i)?;
        let size = get_vm_load_size(d, vmid, i)?;
        let remap = get_vm_remap_addr(d, vmid, i)?;
        rely(is_addr(base) && is_addr(size) && is_addr(remap) && remap + size <= KVM_ADDR_SPACE)?;
        if addr >= base && addr - base < size {
            found = addr - base + remap;
        }
    }
    release_lock_vm(d, vmid)?;
    check64(d, found)
}

/// Spec: BO-2 (low).
pub fn set_vcpu_active(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    let vm_state = get_vm_state(d, vmid)?;
    let vcpu_state = get_vcpu_state(d, vmid, vcpuid)?;
    if vm_state == VERIFIED && vcpu_state == READY {
        set_vcpu_state(d, vmid, vcpuid, ACTIVE)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-3 (low).
pub fn set_vcpu_inactive(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if get_vcpu_state(d, vmid, vcpuid)? == ACTIVE {
        set_vcpu_state(d, vmid, vcpuid, READY)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-4 (low).
pub fn register_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    let vm_state = get_vm_state(d, vmid)?;
    let vcpu_state = get_vcpu_state(d, vmid, vcpuid)?;
    if vm_state == READY && vcpu_state == UNUSED {
        let vcpu = get_shared_vcpu(d, vmid, vcpuid)?;
        set_vm_vcpu(d, vmid, vcpuid, vcpu)?;
        set_vcpu_state(d, vmid, vcpuid, READY)?;
        set_shadow_ctxt(d, vmid, vcpuid, DIRTY, INVALID64)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-5 (low).
pub fn register_kvm(d: &mut RData) -> Spec<u32> {
    let vmid = gen_vmid(d)?;
    acquire_lock_vm(d, vmid)?;
    if get_vm_state(d, vmid)? == UNUSED {
        let kvm = get_shared_kvm(d, vmid)?;
        set_vm_kvm(d, vmid, kvm)?;
        set_vm_state(d, vmid, READY)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)?;
    check(d, vmid)
}

/// Spec: BO-6 (low).
pub fn set_boot_info(d: &mut RData, vmid: u32, load_addr: u64, size: u64) -> Spec<u32> {
    rely(is_addr(load_addr) && is_addr(size))?;
    acquire_lock_vm(d, vmid)?;
    let mut index = 0;
    if get_vm_state(d, vmid)? == READY {
        index = get_vm_next_load_idx(d, vmid)?;
        if index < MAX_LOAD_INFO_NUM {
            set_vm_next_load_idx(d, vmid, index + 1)?;
            let remap_addr = alloc_remap_addr(d, size.div_ceil(PAGE_SIZE))?;
            set_vm_load_addr(d, vmid, index, load_addr)?;
            set_vm_load_size(d, vmid, index, size)?;
            set_vm_remap_addr(d, vmid, index, remap_addr)?;
            set_vm_mapped_pages(d, vmid, index, 0)?;
        }
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)?;
    check(d, index)
}

/// Spec: BO-7 (low).
pub fn remap_vm_image(d: &mut RData, vmid: u32, pfn: u64, load_idx: u32) -> Spec {
    rely(is_pfn(pfn) && is_load_idx(load_idx))?;
    acquire_lock_vm(d, vmid)?;
    if get_vm_state(d, vmid)? == READY {
        if load_idx < get_vm_next_load_idx(d, vmid)? {
            let size = get_vm_load_size(d, vmid, load_idx)?;
            rely(is_addr(size))?;
            let mapped = get_vm_mapped_pages(d, vmid, load_idx)?;
            let remap = get_vm_remap_addr(d, vmid, load_idx)?;
            if mapped < size.div_ceil(PAGE_SIZE) {
                rely(is_addr(remap))?;
                let target = remap + mapped * PAGE_SIZE;
                map_s2pt(d, COREVISOR, target, 3, (pfn * PAGE_SIZE) | PAGE_HYP)?;
                set_vm_mapped_pages(d, vmid, load_idx, mapped + 1)?;
            }
        }
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-9 (low).
pub fn alloc_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if is_vm(vmid) && get_vm_state(d, vmid)? == VERIFIED {
        panic(d)?;
    }
    init_spt(d, cbndx, index)?;
    release_lock_vm(d, vmid)
}

/// Spec: BO-10 (low). D-12: here VERIFIED is what halts.
pub fn assign_smmu(d: &mut RData, vmid: u32, pfn: u64, gfn: u64) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if is_vm(vmid) {
        if get_vm_state(d, vmid)? == VERIFIED {
            panic(d)?;
        }
        assign_pfn_to_smmu(d, vmid, gfn, pfn)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-11 (low).
pub fn map_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if is_vm(vmid) && get_vm_state(d, vmid)? == VERIFIED {
        panic(d)?;
    }
    update_smmu_page(d, vmid, cbndx, index, iova, pte)?;
    release_lock_vm(d, vmid)
}

/// Spec: BO-12 (low).
pub fn clear_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if is_vm(vmid) && get_vm_state(d, vmid)? == VERIFIED {
        panic(d)?;
    }
    unmap_smmu_page(d, cbndx, index, iova)?;
    release_lock_vm(d, vmid)
}

/// Spec: BO-13 (low).
pub fn map_io(d: &mut RData, vmid: u32, gpa: u64, pa: u64) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if get_vm_state(d, vmid)? == READY {
        map_vm_io(d, vmid, gpa, pa)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-14 (low).
pub fn is_inc_exe(d: &mut RData, vmid: u32) -> Spec<u32> {
    acquire_lock_vm(d, vmid)?;
    let flag = get_vm_inc_exe(d, vmid)?;
    release_lock_vm(d, vmid)?;
    check(d, flag)
}

/// Spec: BO-15 (low).
pub fn save_encrypted_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    encrypt_gp_regs(d, vmid, vcpuid)?;
    encrypt_sys_regs(d, vmid, vcpuid)
}

/// Spec: BO-16 (low).
pub fn load_encrypted_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    let vm_state = get_vm_state(d, vmid)?;
    let vcpu_state = get_vcpu_state(d, vmid, vcpuid)?;
    if vm_state == READY && vcpu_state == READY {
        decrypt_gp_regs(d, vmid, vcpuid)?;
        decrypt_sys_regs(d, vmid, vcpuid)?;
        set_vm_inc_exe(d, vmid, 1)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-17 (low).
pub fn save_encrypt_buf(d: &mut RData, vmid: u32, inbuf: u64, outbuf: u64) -> Spec {
    acquire_lock_s2page(d)?;
    let owner = get_pfn_owner(d, inbuf / PAGE_SIZE)?;
    let out_owner = get_pfn_owner(d, outbuf / PAGE_SIZE)?;
    if owner == vmid && out_owner == HOSTVISOR {
        encrypt_mem_buf(d, vmid, inbuf, outbuf)?;
    } else {
        panic(d)?;
    }
    release_lock_s2page(d)
}

/// Spec: BO-18 (low).
pub fn load_decrypt_buf(d: &mut RData, vmid: u32, inbuf: u64) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if get_vm_state(d, vmid)? == READY {
        acquire_lock_s2page(d)?;
        let pfn = inbuf / PAGE_SIZE;
        if get_pfn_owner(d, pfn)? == HOSTVISOR {
            set_pfn_owner(d, pfn, vmid)?;
            set_pfn_count(d, pfn, 0)?;
            set_pfn_map(d, pfn, INVALID64)?;
            clear_pfn_host(d, pfn)?;
            decrypt_mem_buf(d, vmid, inbuf)?;
        } else {
            panic(d)?;
        }
        release_lock_s2page(d)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}
