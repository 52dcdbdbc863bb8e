// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootOps: VMs, vCPUs and images; the VM's consent to what happens to its SMMU banks.

pub mod low;

use crate::abstract_machine::{
    get_vm_load_addr, get_vm_mapped_pages, get_vm_next_load_idx, get_vm_remap_addr, get_vm_state, panic, set_vm_state,
    verify_image,
};
use crate::boot_aux::unmap_and_load_vm_image;
use crate::boot_core::gen_vmid;
use crate::constants::model_only::{PAGE_HYP, REMAP_END};
use crate::constants::state::{ACTIVE, POWEROFF, READY, UNUSED, VERIFIED};
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID64, KVM_ADDR_SPACE, MAX_LOAD_INFO_NUM, PAGE_SIZE, PMD_PAGE_NUM, is_addr, is_gfn,
    is_load_idx, is_pfn, is_smmu, is_smmu_addr, is_smmu_cfg, is_vcpu, is_vm, is_vmid,
};
use crate::locks::{acquire_lock_vm, release_lock_vm};
use crate::mem_manager::{assign_smmu_locked, map_vm_io, unmap_smmu_locked, update_smmu_locked};
use crate::mmio_spt_ops::init_locked;
use crate::npt_ops::map_locked;
use crate::oracle;
use crate::rdata::lock_id::{CORE, S2PAGE, SPT, pt, vm};
use crate::rdata::{Image, RData};
use crate::{Spec, rely};
use std::ops::Range;

/// Halts with the locks taken so far held.
fn refuse(d: &mut RData) -> Spec {
    d.halt_in_section();
    Some(())
}

/// Releases VM(`vmid`), unless a step inside has halted: then it stays held.
fn done(d: &mut RData, vmid: u32) -> Spec {
    if d.halt { Some(()) } else { d.leave(vm(vmid)) }
}

/// Spec: BO-1 (high). The last image that fits wins.
pub fn search_load_info(d: &mut RData, vmid: u32, addr: u64) -> Spec<u64> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.enter(vm(vmid))?;
    let count = d.vm(vmid).next_load_info;
    rely(count <= MAX_LOAD_INFO_NUM)?;
    let mut found = 0;
    for i in 0..count {
        let image = d.vm(vmid).image(i);
        rely(is_addr(image.load_addr) && is_addr(image.load_size) && is_addr(image.remap_addr))?;
        rely(image.remap_addr + image.load_size <= KVM_ADDR_SPACE)?;
        if addr >= image.load_addr && addr - image.load_addr < image.load_size {
            found = addr - image.load_addr + image.remap_addr;
        }
    }
    d.leave(vm(vmid))?;
    Some(found)
}

/// Spec: BO-2 (high).
pub fn set_vcpu_active(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    if d.halt {
        return Some(());
    }
    d.enter(vm(vmid))?;
    let info = d.vm(vmid);
    if info.vm_state != VERIFIED || info.vcpu_state(vcpuid) != READY {
        return refuse(d);
    }
    info.vcpu_state.insert(vcpuid, ACTIVE);
    d.leave(vm(vmid))
}

/// Spec: BO-3 (high).
pub fn set_vcpu_inactive(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    if d.halt {
        return Some(());
    }
    d.enter(vm(vmid))?;
    let info = d.vm(vmid);
    if info.vcpu_state(vcpuid) != ACTIVE {
        return refuse(d);
    }
    info.vcpu_state.insert(vcpuid, READY);
    d.leave(vm(vmid))
}

/// Spec: BO-4 (high). D-98: the other registers are what they were.
pub fn register_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    if d.halt {
        return Some(());
    }
    d.enter(vm(vmid))?;
    let info = d.vm(vmid);
    if info.vm_state != READY || info.vcpu_state(vcpuid) != UNUSED {
        return refuse(d);
    }
    let known = |(reg, value): (_, u64)| reg != "dirty" && value != 0;
    if d.ctxt(vmid, vcpuid).nonzero().any(known) {
        d.tag(98);
    }
    let info = d.vm(vmid);
    info.vcpu.insert(vcpuid, oracle::shared_vcpu(vmid, vcpuid));
    info.vcpu_state.insert(vcpuid, READY);
    d.ctxt(vmid, vcpuid).set("dirty", INVALID64);
    d.leave(vm(vmid))
}

/// Spec: BO-5 (high).
pub fn register_kvm(d: &mut RData) -> Spec<u32> {
    let vmid = gen_vmid(d)?;
    if d.halt {
        return Some(0);
    }
    d.enter(vm(vmid))?;
    let info = d.vm(vmid);
    if info.vm_state != UNUSED {
        d.halt_in_section();
        return Some(0);
    }
    info.kvm = oracle::shared_kvm(vmid);
    info.vm_state = READY;
    d.leave(vm(vmid))?;
    Some(vmid)
}

/// Spec: BO-6 (high). D-19: an image may have no pages. D-81: when the window is full, the image count has grown already.
pub fn set_boot_info(d: &mut RData, vmid: u32, load_addr: u64, size: u64) -> Spec<u32> {
    rely(is_vmid(vmid) && is_addr(load_addr) && is_addr(size))?;
    if d.halt {
        return Some(0);
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(CORE)?;
    d.enter(vm(vmid))?;
    if d.vm(vmid).vm_state != READY {
        d.halt_in_section();
        return Some(0);
    }
    if size == 0 {
        d.tag(19);
    }
    let index = d.vm(vmid).next_load_info;
    if index < MAX_LOAD_INFO_NUM {
        d.vm(vmid).next_load_info = index + 1;
        d.enter(CORE)?;
        let remap_addr = d.core_data.next_remap_ptr;
        rely(is_addr(remap_addr))?;
        let next = remap_addr + size.div_ceil(PAGE_SIZE) * PAGE_SIZE;
        if next >= REMAP_END {
            d.tag(81);
            d.halt_in_section();
            return Some(0);
        }
        d.core_data.next_remap_ptr = next;
        d.leave(CORE)?;
        *d.vm(vmid).image_mut(index) = Image { load_addr, load_size: size, remap_addr, mapped_pages: 0 };
    }
    d.leave(vm(vmid))?;
    Some(index)
}

/// Spec: BO-7 (high). D-21: whose page it is is not asked.
pub fn remap_vm_image(d: &mut RData, vmid: u32, pfn: u64, load_idx: u32) -> Spec {
    rely(is_vmid(vmid) && is_pfn(pfn) && is_load_idx(load_idx))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(pt(COREVISOR))?;
    d.enter(vm(vmid))?;
    if d.vm(vmid).vm_state != READY {
        return refuse(d);
    }
    if load_idx < d.vm(vmid).next_load_info {
        let image = d.vm(vmid).image(load_idx);
        rely(is_addr(image.load_size))?;
        if image.mapped_pages < image.load_size.div_ceil(PAGE_SIZE) {
            rely(is_addr(image.remap_addr))?;
            let remap = image.remap_addr + image.mapped_pages * PAGE_SIZE;
            rely(is_addr(remap))?;
            let page = d.s2page.get(pfn);
            if page.owner != HOSTVISOR || page.count != 0 {
                d.tag(21);
            }
            map_locked(d, COREVISOR, remap, 3, (pfn * PAGE_SIZE) | PAGE_HYP)?;
            if !d.halt {
                d.vm(vmid).image_mut(load_idx).mapped_pages += 1;
            }
        }
    }
    done(d, vmid)
}

/// Whether all images are complete, each lies in memory as it is to lie in the VM, and no two share a block of either.
fn well_placed(d: &RData, vmid: u32) -> bool {
    let info = d.vminfos.get(&vmid).cloned().unwrap_or_default();
    let window = &d.npts[COREVISOR as usize];
    let mut placed = vec![];
    for i in 0..info.next_load_info {
        let image = info.image(i);
        let (pages, remap) = (image.load_size.div_ceil(PAGE_SIZE), image.remap_addr / PAGE_SIZE);
        let (first, base) = (image.load_addr / PAGE_SIZE, window.get(remap).pfn);
        let contiguous = (0..pages).all(|n| window.get(remap + n).pfn == base + n);
        if pages == 0 || image.mapped_pages != pages || !contiguous || first % PMD_PAGE_NUM != base % PMD_PAGE_NUM {
            return false;
        }
        let blocks = |page: u64| page / PMD_PAGE_NUM..(page + pages).div_ceil(PMD_PAGE_NUM);
        placed.push((blocks(first), blocks(base)));
    }
    let apart = |a: &Range<u64>, b: &Range<u64>| a.end <= b.start || b.end <= a.start;
    placed.iter().enumerate().all(|(i, (vm, memory))| {
        placed[..i].iter().all(|(other_vm, other)| apart(vm, other_vm) && apart(memory, other))
    })
}

/// Spec: BO-8. The high and the low text are the same. D-20: neither alignment nor completeness is asked. D-90: a VM
/// whose image is not its own stops the machine, after its pages have changed hands.
pub fn verify_and_load_images(d: &mut RData, vmid: u32) -> Spec {
    acquire_lock_vm(d, vmid)?;
    if get_vm_state(d, vmid)? == READY {
        let count = get_vm_next_load_idx(d, vmid)?;
        rely(count <= MAX_LOAD_INFO_NUM)?;
        if !d.halt && !well_placed(d, vmid) {
            d.tag(20);
        }
        for i in 0..count {
            let load_addr = get_vm_load_addr(d, vmid, i)?;
            let remap_addr = get_vm_remap_addr(d, vmid, i)?;
            let mapped = get_vm_mapped_pages(d, vmid, i)?;
            rely(is_addr(load_addr) && is_addr(remap_addr))?;
            unmap_and_load_vm_image(d, vmid, load_addr, remap_addr, mapped)?;
            if verify_image(d, vmid, remap_addr)? == 0 && !d.halt {
                d.tag(90);
                panic(d)?;
            }
        }
        set_vm_state(d, vmid, VERIFIED)?;
    } else {
        panic(d)?;
    }
    release_lock_vm(d, vmid)
}

/// Spec: BO-9 (high).
pub fn alloc_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32) -> Spec {
    rely(is_vmid(vmid) && is_smmu(index) && is_smmu_cfg(cbndx))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(SPT)?;
    d.enter(vm(vmid))?;
    if is_vm(vmid) && d.vm(vmid).vm_state == VERIFIED {
        return refuse(d);
    }
    note_no_owner(d, vmid);
    if is_vm(vmid) && d.vm(vmid).vm_state == POWEROFF {
        d.tag(88);
    }
    init_locked(d, cbndx, index)?;
    d.leave(vm(vmid))
}

/// D-88: a VM that does not exist can be the owner of a bank.
fn note_no_owner(d: &mut RData, vmid: u32) {
    if is_vm(vmid) && d.vm(vmid).vm_state == UNUSED {
        d.tag(88);
    }
}

/// Spec: BO-10 (high). D-12: the test of the state is the wrong way round.
pub fn assign_smmu(d: &mut RData, vmid: u32, pfn: u64, gfn: u64) -> Spec {
    rely(is_vmid(vmid) && is_gfn(gfn) && is_pfn(pfn))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(HOSTVISOR))?;
    d.enter(vm(vmid))?;
    if is_vm(vmid) {
        d.tag(12);
        note_no_owner(d, vmid);
        if d.vm(vmid).vm_state != VERIFIED {
            return refuse(d);
        }
        assign_smmu_locked(d, vmid, gfn, pfn)?;
    }
    done(d, vmid)
}

/// Spec: BO-11 (high).
pub fn map_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64, pte: u64) -> Spec {
    rely(is_vmid(vmid) && is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(S2PAGE)?;
    d.rely_free(SPT)?;
    d.enter(vm(vmid))?;
    if is_vm(vmid) && d.vm(vmid).vm_state == VERIFIED {
        return refuse(d);
    }
    note_no_owner(d, vmid);
    if is_vm(vmid) && d.vm(vmid).vm_state == POWEROFF {
        d.tag(103);
    }
    update_smmu_locked(d, vmid, cbndx, index, iova, pte)?;
    done(d, vmid)
}

/// Spec: BO-12 (high). D-14: only VERIFIED halts, not POWEROFF.
pub fn clear_smmu(d: &mut RData, vmid: u32, cbndx: u32, index: u32, iova: u64) -> Spec {
    rely(is_vmid(vmid) && is_smmu(index) && is_smmu_cfg(cbndx) && is_smmu_addr(iova))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(S2PAGE)?;
    d.rely_free(SPT)?;
    d.enter(vm(vmid))?;
    if is_vm(vmid) && d.vm(vmid).vm_state == VERIFIED {
        return refuse(d);
    }
    note_no_owner(d, vmid);
    unmap_smmu_locked(d, cbndx, index, iova)?;
    done(d, vmid)
}

/// Spec: BO-13 (high).
pub fn map_io(d: &mut RData, vmid: u32, gpa: u64, pa: u64) -> Spec {
    rely(is_vmid(vmid) && is_addr(gpa) && is_addr(pa))?;
    if d.halt {
        return Some(());
    }
    d.rely_free(vm(vmid))?;
    d.rely_free(S2PAGE)?;
    d.rely_free(pt(vmid))?;
    d.enter(vm(vmid))?;
    if d.vm(vmid).vm_state != READY {
        return refuse(d);
    }
    map_vm_io(d, vmid, gpa, pa)?;
    done(d, vmid)
}

/// Spec: BO-14 (high). From here on, the high text is the low one: calls, without assumptions of its own.
pub fn is_inc_exe(d: &mut RData, vmid: u32) -> Spec<u32> {
    low::is_inc_exe(d, vmid)
}

/// Spec: BO-15 (high). D-27: no lock, no test of any state.
pub fn save_encrypted_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    d.tag(27);
    low::save_encrypted_vcpu(d, vmid, vcpuid)
}

/// Spec: BO-16 (high). D-22: the flag ends up in the image count.
pub fn load_encrypted_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    low::load_encrypted_vcpu(d, vmid, vcpuid)?;
    if !d.halt {
        d.tag(22);
    }
    Some(())
}

/// Spec: BO-17 (high). D-25: `outbuf` is an address here and a page number there.
pub fn save_encrypt_buf(d: &mut RData, vmid: u32, inbuf: u64, outbuf: u64) -> Spec {
    let result = low::save_encrypt_buf(d, vmid, inbuf, outbuf);
    if result.is_none() || !d.halt {
        d.tag(25);
    }
    result
}

/// Spec: BO-18 (high). D-24: the count is not asked. D-25: `inbuf` is an address here and a page number there.
pub fn load_decrypt_buf(d: &mut RData, vmid: u32, inbuf: u64) -> Spec {
    let count = d.s2page.get(inbuf / PAGE_SIZE).count;
    let result = low::load_decrypt_buf(d, vmid, inbuf);
    if result.is_none() || !d.halt {
        d.tag(25);
        if count != 0 {
            d.tag(24);
        }
    }
    result
}
