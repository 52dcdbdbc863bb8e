// SPDX-License-Identifier: GPL-2.0-only
//! Memory regions, ownership records, core data and VM records.

use crate::constants::{is_load_idx, is_memblock, is_s2page, is_vcpu, is_vmid};
use crate::rdata::{MemRegion, RData, REGIONS, lock_id};
use crate::{Spec, rely};

/// Region `index`; empty beyond the last.
fn region(index: u32) -> Spec<MemRegion> {
    rely(is_memblock(index))?;
    Some(REGIONS.get(index as usize).copied().unwrap_or(MemRegion { base: 0, size: 0, flag: 0, index: 0 }))
}

/// Spec: AM-40.
pub fn get_mem_region_cnt(_d: &mut RData) -> Spec<u32> {
    Some(REGIONS.len() as u32)
}

/// Spec: AM-41.
pub fn get_mem_region_base(_d: &mut RData, index: u32) -> Spec<u64> {
    Some(region(index)?.base)
}

/// Spec: AM-42.
pub fn get_mem_region_size(_d: &mut RData, index: u32) -> Spec<u64> {
    Some(region(index)?.size)
}

/// Spec: AM-43.
pub fn get_mem_region_index(_d: &mut RData, index: u32) -> Spec<u64> {
    Some(region(index)?.index)
}

/// Spec: AM-44.
pub fn get_mem_region_flag(_d: &mut RData, index: u32) -> Spec<u64> {
    Some(region(index)?.flag)
}

/// Declares getter and setter of a field that a lock protects.
macro_rules! field {
    ($lock:expr, ($($arg:ident: $aty:ty),*) if $ok:expr;
     $(#[$get_doc:meta])* fn $get:ident -> $ty:ty = |$d:ident| $read:expr;
     $(#[$set_doc:meta])* fn $set:ident = |$w:ident, $value:ident| $write:expr;) => {
        $(#[$get_doc])*
        pub fn $get($d: &mut RData, $($arg: $aty),*) -> Spec<$ty> {
            if $d.halt {
                return Some(0);
            }
            rely($ok)?;
            $d.rely_held($lock)?;
            Some($read)
        }

        $(#[$set_doc])*
        pub fn $set($w: &mut RData, $($arg: $aty,)* $value: $ty) -> Spec {
            if $w.halt {
                return Some(());
            }
            rely($ok)?;
            $w.rely_held($lock)?;
            $write;
            Some(())
        }
    };
}

field! {
    lock_id::S2PAGE, (index: u64) if is_s2page(index);
    /// Spec: AM-45.
    fn get_s2_page_vmid -> u32 = |d| d.s2page.get(index).owner;
    /// Spec: AM-46.
    fn set_s2_page_vmid = |d, value| d.s2page.update(index, |p| p.owner = value);
}

field! {
    lock_id::S2PAGE, (index: u64) if is_s2page(index);
    /// Spec: AM-47.
    fn get_s2_page_count -> u32 = |d| d.s2page.get(index).count;
    /// Spec: AM-48.
    fn set_s2_page_count = |d, value| d.s2page.update(index, |p| p.count = value);
}

field! {
    lock_id::S2PAGE, (index: u64) if is_s2page(index);
    /// Spec: AM-49.
    fn get_s2_page_gfn -> u64 = |d| d.s2page.get(index).gfn;
    /// Spec: AM-50.
    fn set_s2_page_gfn = |d, value| d.s2page.update(index, |p| p.gfn = value);
}

field! {
    lock_id::CORE, () if true;
    /// Spec: AM-51.
    fn get_next_vmid -> u32 = |d| d.core_data.next_vmid;
    /// Spec: AM-52.
    fn set_next_vmid = |d, value| d.core_data.next_vmid = value;
}

field! {
    lock_id::CORE, () if true;
    /// Spec: AM-53.
    fn get_next_remap_ptr -> u64 = |d| d.core_data.next_remap_ptr;
    /// Spec: AM-54.
    fn set_next_remap_ptr = |d, value| d.core_data.next_remap_ptr = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32) if is_vmid(vmid);
    /// Spec: AM-55.
    fn get_vm_state -> u32 = |d| d.vm(vmid).vm_state;
    /// Spec: AM-56.
    fn set_vm_state = |d, value| d.vm(vmid).vm_state = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, vcpuid: u32) if is_vmid(vmid) && is_vcpu(vcpuid);
    /// Spec: AM-57.
    fn get_vcpu_state -> u32 = |d| d.vm(vmid).vcpu_state(vcpuid);
    /// Spec: AM-58.
    fn set_vcpu_state = |d, value| d.vm(vmid).vcpu_state.insert(vcpuid, value);
}

field! {
    lock_id::vm(vmid), (vmid: u32) if is_vmid(vmid);
    /// Spec: AM-59.
    fn get_vm_kvm -> u64 = |d| d.vm(vmid).kvm;
    /// Spec: AM-60.
    fn set_vm_kvm = |d, value| d.vm(vmid).kvm = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, vcpuid: u32) if is_vmid(vmid) && is_vcpu(vcpuid);
    /// Spec: AM-61.
    fn get_vm_vcpu -> u64 = |d| d.vm(vmid).vcpu.get(&vcpuid).copied().unwrap_or(0);
    /// Spec: AM-62.
    fn set_vm_vcpu = |d, value| d.vm(vmid).vcpu.insert(vcpuid, value);
}

field! {
    lock_id::vm(vmid), (vmid: u32) if is_vmid(vmid);
    /// Spec: AM-63.
    fn get_vm_next_load_idx -> u32 = |d| d.vm(vmid).next_load_info;
    /// Spec: AM-64.
    fn set_vm_next_load_idx = |d, value| d.vm(vmid).next_load_info = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx);
    /// Spec: AM-65.
    fn get_vm_load_addr -> u64 = |d| d.vm(vmid).image(load_idx).load_addr;
    /// Spec: AM-66.
    fn set_vm_load_addr = |d, value| d.vm(vmid).image_mut(load_idx).load_addr = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx);
    /// Spec: AM-67.
    fn get_vm_load_size -> u64 = |d| d.vm(vmid).image(load_idx).load_size;
    /// Spec: AM-68.
    fn set_vm_load_size = |d, value| d.vm(vmid).image_mut(load_idx).load_size = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx);
    /// Spec: AM-69.
    fn get_vm_remap_addr -> u64 = |d| d.vm(vmid).image(load_idx).remap_addr;
    /// Spec: AM-70.
    fn set_vm_remap_addr = |d, value| d.vm(vmid).image_mut(load_idx).remap_addr = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx);
    /// Spec: AM-71.
    fn get_vm_mapped_pages -> u64 = |d| d.vm(vmid).image(load_idx).mapped_pages;
    /// Spec: AM-72.
    fn set_vm_mapped_pages = |d, value| d.vm(vmid).image_mut(load_idx).mapped_pages = value;
}

field! {
    lock_id::vm(vmid), (vmid: u32) if is_vmid(vmid);
    /// Spec: AM-73.
    fn get_vm_inc_exe -> u32 = |d| d.vm(vmid).inc_exe;
    /// Spec: AM-74. D-22: writes the image count.
    fn set_vm_inc_exe = |d, value| {
        let info = d.vm(vmid);
        let other = info.next_load_info != value || info.inc_exe != value;
        info.next_load_info = value;
        if other {
            d.tag(22);
        }
    };
}
