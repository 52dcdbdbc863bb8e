// SPDX-License-Identifier: GPL-2.0-only
//! Layer: FaultHandler. The high and the low text are the same.

use crate::Spec;
use crate::abstract_machine::{
    check, get_cur_vcpuid, get_cur_vmid, get_shadow_ctxt, panic, read_esr_el2, read_hpfar_el2,
};
use crate::constants::hvc::{SET_DESC_PFN, UNSET_DESC_PFN};
use crate::constants::model_only::HPFAR_MASK;
use crate::constants::{INVALID, is_vm};
use crate::mem_manager::map_page_host;
use crate::memory_ops::{grant_stage2_sg_gpa, revoke_stage2_sg_gpa};
use crate::mmio_ops::emulate_mmio;
use crate::rdata::RData;

/// Spec: FH-1. D-54: the mask leaves 24 bits of the address.
pub fn handle_host_stage2_fault(d: &mut RData) -> Spec {
    let hpfar = read_hpfar_el2(d)?;
    if hpfar & !HPFAR_MASK != 0 {
        d.tag(54);
    }
    let addr = (hpfar & HPFAR_MASK) * 256;
    let esr = read_esr_el2(d)?;
    if emulate_mmio(d, addr, esr)? == INVALID { map_page_host(d, addr) } else { Some(()) }
}

/// Spec: FH-2. D-48: address and size are in x2 and x3.
pub fn core_handle_pvops(d: &mut RData) -> Spec<u32> {
    let vmid = get_cur_vmid(d)?;
    let vcpuid = get_cur_vcpuid(d)?;
    let arg = get_shadow_ctxt(d, vmid, vcpuid, 0)?;
    let addr = get_shadow_ctxt(d, vmid, vcpuid, 2)?;
    let size = get_shadow_ctxt(d, vmid, vcpuid, 3)?;
    if !is_vm(vmid) {
        panic(d)?;
        return check(d, 0);
    }
    match arg {
        SET_DESC_PFN => grant_stage2_sg_gpa(d, vmid, addr, size)?,
        UNSET_DESC_PFN => revoke_stage2_sg_gpa(d, vmid, addr, size)?,
        _ => return check(d, 1),
    }
    check(d, 0)
}
