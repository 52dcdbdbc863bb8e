// SPDX-License-Identifier: GPL-2.0-only
//! VMs: their pages, images, states, and the running vCPU.

use super::smmu::dma_mappings;
use super::{Strength, cpus, mapped};
use crate::RData;
use crate::constants::model_only::{REMAP_END, REMAP_START};
use crate::constants::state::{ACTIVE, POWEROFF, VERIFIED};
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID, INVALID64, MAX_LOAD_INFO_NUM, PAGE_SIZE, VCPU_PER_VM, ctxt_id, is_vcpu, is_vm,
    is_vmid,
};

/// State of a VM.
fn vm_state(d: &RData, vmid: u32) -> u32 {
    d.vminfos.get(&vmid).map_or(0, |info| info.vm_state)
}

/// All VMs.
fn vms() -> impl Iterator<Item = u32> {
    HOSTVISOR + 1..COREVISOR
}

/// I7, VM isolation: what the table of a VM that is not off maps, is no RAM or is the VM's.
pub fn i7(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    for vmid in vms().filter(|vmid| vm_state(d, *vmid) <= VERIFIED) {
        for (gfn, entry) in mapped(&d.npts[vmid as usize]) {
            let owner = d.s2page.get(entry.pfn).owner;
            if owner != INVALID && owner != vmid {
                broken.push(format!("guest page {gfn:#x} of VM {vmid} is page {:#x} of {owner}", entry.pfn));
            }
        }
    }
    broken
}

/// Whether KCore's window has a page in `range`.
fn window_has(d: &RData, range: std::ops::Range<u64>) -> bool {
    range.start < range.end && d.npts[COREVISOR as usize].pt.range(range).any(|(_, entry)| entry.pfn != 0)
}

/// I12: the remap pointer is positive, and KCore's window beyond it is unmapped.
pub fn i12(d: &RData, _strength: Strength) -> Vec<String> {
    let next = d.core_data.next_remap_ptr;
    let mut broken = vec![];
    if next == 0 {
        broken.push("the remap pointer is 0".to_owned());
    }
    if window_has(d, next.max(REMAP_START).div_ceil(PAGE_SIZE)..REMAP_END / PAGE_SIZE) {
        broken.push(format!("a page beyond the remap pointer {next:#x} is mapped"));
    }
    broken
}

/// I13: windows of registered images lie below the remap pointer and apart from each other, and hold at most the image's
/// pages, of which those not yet mapped are unmapped.
pub fn i13(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    let mut windows = vec![];
    for (vmid, info) in &d.vminfos {
        if info.next_load_info > MAX_LOAD_INFO_NUM {
            broken.push(format!("VM {vmid} has {} images", info.next_load_info));
        }
        for i in 0..info.next_load_info {
            let image = info.image(i);
            let pages = image.load_size.div_ceil(PAGE_SIZE);
            let first = image.remap_addr / PAGE_SIZE;
            if image.mapped_pages > pages {
                broken.push(format!("image {i} of VM {vmid}: {} of {pages} pages mapped", image.mapped_pages));
            }
            if (first + pages) * PAGE_SIZE > d.core_data.next_remap_ptr {
                broken.push(format!("image {i} of VM {vmid} ends beyond the remap pointer"));
            }
            if window_has(d, first + image.mapped_pages.min(pages)..first + pages) {
                broken.push(format!("image {i} of VM {vmid}: pages beyond the first {} are there", image.mapped_pages));
            }
            if pages > 0 {
                windows.push((first, first + pages, *vmid, i));
            }
        }
    }
    windows.sort_unstable();
    for pair in windows.windows(2).filter(|pair| pair[0].1 > pair[1].0) {
        broken.push(format!(
            "image {} of VM {} and image {} of VM {} overlap",
            pair[0].3, pair[0].2, pair[1].3, pair[1].2
        ));
    }
    broken
}

/// I14: the CPU knows whom it serves.
pub fn i14(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    let (vmid, vcpuid) = (d.cur_vmid, d.cur_vcpuid);
    let current = || format!("CPU {}, current {vmid}/{vcpuid}, ihost {}, icore {}", d.curid, d.ihost, d.icore);
    if !is_vcpu(d.curid) || !is_vmid(vmid) || !is_vcpu(vcpuid) {
        broken.push(format!("{}: out of range", current()));
        return broken;
    }
    if !d.icore && vmid == HOSTVISOR && (!d.ihost || vcpuid != d.curid) {
        broken.push(format!("{}: the host runs elsewhere", current()));
    }
    if !d.ihost && !d.icore && !is_vm(vmid) {
        broken.push(format!("{}: no VM runs", current()));
    }
    let never_run = d.shadow_ctxts.get(&ctxt_id(vmid, vcpuid)).is_some_and(|ctxt| ctxt.get("dirty") == INVALID64);
    if !d.ihost && !d.icore && never_run {
        broken.push(format!("{}: runs, but was never prepared", current()));
    }
    broken
}

/// E2, as far as one state shows it: when a page that a VM's tables still map is no longer its own, the VM is off, none of
/// its vCPUs is ACTIVE and none of its banks is enabled; and a bank without an owner maps nothing (D-68, D-75).
pub fn e2(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    for (&vmid, info) in d.vminfos.iter().filter(|(_, info)| info.vm_state == POWEROFF) {
        let foreign = |pfn: u64| ![INVALID, vmid].contains(&d.s2page.get(pfn).owner);
        let in_table = d.npts.get(vmid as usize).and_then(|npt| mapped(npt).find(|(_, entry)| foreign(entry.pfn)));
        let active = (0..VCPU_PER_VM).find(|c| info.vcpu_state(*c) == ACTIVE);
        if let (Some((gfn, entry)), Some(vcpuid)) = (in_table, active) {
            let page = entry.pfn;
            broken.push(format!("vCPU {vcpuid} of VM {vmid} is ACTIVE, and its guest page {gfn:#x} is page {page:#x}"));
        }
        for m in dma_mappings(d).filter(|m| m.owner == vmid && foreign(m.pfn)) {
            broken.push(format!("bank {} of VM {vmid}, which is off, maps page {:#x}", m.bank, m.pfn));
        }
    }
    for m in dma_mappings(d).filter(|m| m.owner == INVALID) {
        broken.push(format!("bank {} has no owner and maps page {:#x}", m.bank, m.pfn));
    }
    broken
}

/// E6, for this CPU: the vCPU that it runs is ACTIVE. See [`cpus`] for several.
pub fn e6(d: &RData, _strength: Strength) -> Vec<String> {
    cpus::running(d, &[cpus::Cpu::of(d)])
}
