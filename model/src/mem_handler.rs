// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemHandler. The high and the low text are the same.

use crate::boot_ops::map_io;
use crate::constants::state::{ACTIVE, POWEROFF};
use crate::constants::{INVALID, PAGE_SIZE, is_addr, is_paddr, is_smmu_addr, is_vm, phys_page, smmu_id};
use crate::memory_ops::clear_vm_range;
use crate::mmio_ops::{note_no_bank, smmu_assign_page, smmu_map_page};
use crate::mmio_raw::smmu_init_pte;
use crate::rdata::RData;
use crate::vm_power::get_vm_poweron;
use crate::{Spec, rely};

/// Spec: MH-1. D-50: a range of physical memory, given by the host. D-68, D-75: what may still use it is not asked.
pub fn clear_vm_stage2_range(d: &mut RData, vmid: u32, start: u64, size: u64) -> Spec {
    rely(is_addr(start) && is_addr(size))?;
    if d.vminfos.get(&vmid).is_some_and(|info| info.vcpu_state.values().any(|state| *state == ACTIVE)) {
        d.tag(75);
    }
    let off = d.vminfos.get(&vmid).is_some_and(|info| info.vm_state == POWEROFF);
    if off && d.smmu_vmid.values().any(|owner| *owner == vmid) {
        d.tag(68);
    }
    if get_vm_poweron(d, vmid)? == 0 { clear_vm_range(d, vmid, start / PAGE_SIZE, size / PAGE_SIZE) } else { Some(()) }
}

/// Spec: MH-2. Two critical sections.
pub fn el2_arm_lpae_map(d: &mut RData, iova: u64, paddr: u64, prot: u64, cbndx: u32, index: u32) -> Spec {
    rely(is_smmu_addr(iova) && is_paddr(paddr) && phys_page(prot) == 0)?;
    // D-61: bit 16 of the address is one of the attributes, and everything in `prot` is the host's.
    let owned = !d.halt && d.smmu_vmid.get(&smmu_id(index, cbndx)).is_some_and(|owner| *owner != INVALID);
    let attributes = prot & !0x0040_0000_0000_07FF != 0 || (prot >> 4 & 3 != 0 && prot >> 2 & 3 == 0);
    if owned && paddr & 0x1_0000 == 0 || attributes || !paddr.is_multiple_of(PAGE_SIZE) {
        d.tag(61);
    }
    note_no_bank(d, cbndx, index);
    let pte = smmu_init_pte(d, prot, paddr)?;
    smmu_assign_page(d, cbndx, index, paddr / PAGE_SIZE, iova / PAGE_SIZE)?;
    smmu_map_page(d, cbndx, index, iova, pte)
}

/// Spec: MH-3. The ends are computed from the number of pages, not of bytes.
pub fn kvm_phys_addr_ioremap(d: &mut RData, vmid: u32, gpa: u64, pa: u64, size: u64) -> Spec {
    rely(is_addr(gpa) && is_paddr(pa) && is_addr(size))?;
    if !is_vm(vmid) {
        d.tag(52);
    }
    let num = size.div_ceil(PAGE_SIZE);
    rely(is_addr(gpa + num) && is_addr(pa + num))?;
    for i in 0..num {
        let (gpa, pa) = (gpa + i * PAGE_SIZE, pa + i * PAGE_SIZE);
        rely(is_addr(gpa) && is_paddr(pa))?;
        map_io(d, vmid, gpa, pa)?;
    }
    Some(())
}
