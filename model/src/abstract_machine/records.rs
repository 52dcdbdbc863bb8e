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
    ($get:ident, $set:ident, $get_id:literal, $set_id:literal, ($($arg:ident: $aty:ty),*) if $ok:expr, $lock:expr,
     $ty:ty, |$d:ident| $read:expr, |$w:ident, $value:ident| $write:expr) => {
        #[doc = concat!("Spec: ", $get_id, ".")]
        pub fn $get($d: &mut RData, $($arg: $aty),*) -> Spec<$ty> {
            if $d.halt {
                return Some(0);
            }
            rely($ok)?;
            $d.rely_held($lock)?;
            Some($read)
        }

        #[doc = concat!("Spec: ", $set_id, ".")]
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

field!(get_s2_page_vmid, set_s2_page_vmid, "AM-45", "AM-46", (index: u64) if is_s2page(index), lock_id::S2PAGE, u32,
    |d| d.s2page.get(index).owner, |d, value| d.s2page.update(index, |p| p.owner = value));
field!(get_s2_page_count, set_s2_page_count, "AM-47", "AM-48", (index: u64) if is_s2page(index), lock_id::S2PAGE, u32,
    |d| d.s2page.get(index).count, |d, value| d.s2page.update(index, |p| p.count = value));
field!(get_s2_page_gfn, set_s2_page_gfn, "AM-49", "AM-50", (index: u64) if is_s2page(index), lock_id::S2PAGE, u64,
    |d| d.s2page.get(index).gfn, |d, value| d.s2page.update(index, |p| p.gfn = value));
field!(get_next_vmid, set_next_vmid, "AM-51", "AM-52", () if true, lock_id::CORE, u32,
    |d| d.core_data.next_vmid, |d, value| d.core_data.next_vmid = value);
field!(get_next_remap_ptr, set_next_remap_ptr, "AM-53", "AM-54", () if true, lock_id::CORE, u64,
    |d| d.core_data.next_remap_ptr, |d, value| d.core_data.next_remap_ptr = value);
field!(get_vm_state, set_vm_state, "AM-55", "AM-56", (vmid: u32) if is_vmid(vmid), lock_id::vm(vmid), u32,
    |d| d.vm(vmid).vm_state, |d, value| d.vm(vmid).vm_state = value);
field!(get_vcpu_state, set_vcpu_state, "AM-57", "AM-58", (vmid: u32, vcpuid: u32) if is_vmid(vmid) && is_vcpu(vcpuid),
    lock_id::vm(vmid), u32,
    |d| d.vm(vmid).vcpu_state(vcpuid), |d, value| d.vm(vmid).vcpu_state.insert(vcpuid, value));
field!(get_vm_kvm, set_vm_kvm, "AM-59", "AM-60", (vmid: u32) if is_vmid(vmid), lock_id::vm(vmid), u64,
    |d| d.vm(vmid).kvm, |d, value| d.vm(vmid).kvm = value);
field!(get_vm_vcpu, set_vm_vcpu, "AM-61", "AM-62", (vmid: u32, vcpuid: u32) if is_vmid(vmid) && is_vcpu(vcpuid),
    lock_id::vm(vmid), u64,
    |d| d.vm(vmid).vcpu.get(&vcpuid).copied().unwrap_or(0), |d, value| d.vm(vmid).vcpu.insert(vcpuid, value));
field!(get_vm_next_load_idx, set_vm_next_load_idx, "AM-63", "AM-64", (vmid: u32) if is_vmid(vmid), lock_id::vm(vmid),
    u32, |d| d.vm(vmid).next_load_info, |d, value| d.vm(vmid).next_load_info = value);
field!(get_vm_load_addr, set_vm_load_addr, "AM-65", "AM-66",
    (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx), lock_id::vm(vmid), u64,
    |d| d.vm(vmid).image(load_idx).load_addr, |d, value| d.vm(vmid).image_mut(load_idx).load_addr = value);
field!(get_vm_load_size, set_vm_load_size, "AM-67", "AM-68",
    (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx), lock_id::vm(vmid), u64,
    |d| d.vm(vmid).image(load_idx).load_size, |d, value| d.vm(vmid).image_mut(load_idx).load_size = value);
field!(get_vm_remap_addr, set_vm_remap_addr, "AM-69", "AM-70",
    (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx), lock_id::vm(vmid), u64,
    |d| d.vm(vmid).image(load_idx).remap_addr, |d, value| d.vm(vmid).image_mut(load_idx).remap_addr = value);
field!(get_vm_mapped_pages, set_vm_mapped_pages, "AM-71", "AM-72",
    (vmid: u32, load_idx: u32) if is_vmid(vmid) && is_load_idx(load_idx), lock_id::vm(vmid), u64,
    |d| d.vm(vmid).image(load_idx).mapped_pages, |d, value| d.vm(vmid).image_mut(load_idx).mapped_pages = value);
// AM-74, D-22: the setter writes the image count.
field!(get_vm_inc_exe, set_vm_inc_exe, "AM-73", "AM-74 (D-22: writes the image count)", (vmid: u32) if is_vmid(vmid),
    lock_id::vm(vmid), u32, |d| d.vm(vmid).inc_exe, |d, value| d.vm(vmid).next_load_info = value);
