// SPDX-License-Identifier: GPL-2.0-only
//! The same as calls into the layer below.

use super::{PsciFunction, psci_function};
use crate::abstract_machine::{
    clear_shadow_gp_regs, get_exception_vector, get_int_esr, get_int_gpr, get_int_new_level, get_int_new_pte,
    get_int_pc, get_int_pstate, get_shadow_ctxt, get_shadow_dirty_bit, get_sys_reg_desc_val, panic, read_actlr_el1,
    reset_fp_regs, set_int_gpr, set_shadow_ctxt, set_shadow_dirty_bit,
};
use crate::boot_ops::search_load_info;
use crate::constants::{
    DIRTY_PC_FLAG, ESR_S1PTW, ESR_WNR, MAX_MMIO_ADDR, PAGE_SIZE, PSTATE_FAULT_BITS_64, is_gfn, is_vcpu, is_vm,
};
use crate::memory_ops::prot_and_map_vm_s2pt;
use crate::rdata::RData;
use crate::registers::{ACTLR_EL1, ELR_EL1, ESR_EL1, HPFAR_EL2, MPIDR_EL1, PC, PSTATE, SPSR_0};
use crate::vm_power::set_vm_poweroff;
use crate::{Spec, rely};

/// Relies on a vCPU of a VM.
fn rely_vcpu(vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vm(vmid) && is_vcpu(vcpuid))
}

/// Spec: VA-1 (low).
pub fn reset_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let pc = get_int_pc(d, vmid, vcpuid)?;
    if search_load_info(d, vmid, pc)? == 0 {
        return panic(d);
    }
    clear_shadow_gp_regs(d, vmid, vcpuid)?;
    let pstate = get_int_pstate(d, vmid, vcpuid)?;
    set_shadow_ctxt(d, vmid, vcpuid, PSTATE, pstate)?;
    set_shadow_ctxt(d, vmid, vcpuid, PC, pc)?;
    reset_fp_regs(d, vmid, vcpuid)
}

/// Spec: VA-2 (low). D-29: starts at 1.
pub fn reset_sys_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    for i in 1..=24 {
        let value = match i {
            MPIDR_EL1 => mpidr(vcpuid),
            ACTLR_EL1 => read_actlr_el1(d)?,
            _ => get_sys_reg_desc_val(d, i)?,
        };
        set_shadow_ctxt(d, vmid, vcpuid, i, value)?;
    }
    Some(())
}

/// A vCPU's MPIDR_EL1.
fn mpidr(vcpuid: u32) -> u64 {
    let c = u64::from(vcpuid);
    0x8000_0000 + (c & 15) + ((c / 16) & 255) * 256 + ((c / 4096) & 255) * 65536
}

/// Spec: VA-3 (low). D-30: each register starts anew from the context as it was, so that only the last one stays.
/// Whether the stream moves on is not written down, and no vector asks.
pub fn sync_dirty_to_shadow(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let dirty = get_shadow_dirty_bit(d, vmid, vcpuid)?;
    let start = d.clone();
    for i in (0..31).filter(|i| dirty >> i & 1 == 1) {
        *d = start.clone();
        let value = get_int_gpr(d, vmid, vcpuid, i)?;
        set_shadow_ctxt(d, vmid, vcpuid, i, value)?;
    }
    Some(())
}

/// Spec: VA-4 (low).
pub fn prep_wfx(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    set_shadow_dirty_bit(d, vmid, vcpuid, DIRTY_PC_FLAG)
}

/// Spec: VA-5 (low).
pub fn prep_hvc(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let x0 = get_shadow_ctxt(d, vmid, vcpuid, 0)?;
    set_shadow_dirty_bit(d, vmid, vcpuid, 1)?;
    let shown = match psci_function(x0) {
        PsciFunction::CpuOn => 4,
        PsciFunction::AffinityInfo => 3,
        PsciFunction::SystemOff => {
            set_vm_poweroff(d, vmid)?;
            1
        }
        PsciFunction::Other => 1,
    };
    for i in 0..shown {
        expose(d, vmid, vcpuid, i)?;
    }
    Some(())
}

/// Shows the host register `index`.
fn expose(d: &mut RData, vmid: u32, vcpuid: u32, index: u32) -> Spec {
    let value = get_shadow_ctxt(d, vmid, vcpuid, index)?;
    set_int_gpr(d, vmid, vcpuid, index, value)
}

/// Spec: VA-6 (low). D-30: here the stream moves on, but not after a fault on memory.
pub fn prep_abort(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let gfn = get_shadow_ctxt(d, vmid, vcpuid, HPFAR_EL2)? / 16;
    rely(is_gfn(gfn))?;
    if gfn * PAGE_SIZE < MAX_MMIO_ADDR {
        let esr = get_int_esr(d, vmid, vcpuid)?;
        let rd = (esr >> 16 & 31) as u32;
        set_shadow_dirty_bit(d, vmid, vcpuid, DIRTY_PC_FLAG)?;
        if esr & ESR_WNR == 0 && esr & ESR_S1PTW == 0 {
            // D-31: assigns, and so forgets the PC.
            set_shadow_dirty_bit(d, vmid, vcpuid, 1 << rd)?;
        } else {
            expose(d, vmid, vcpuid, rd)?;
        }
    }
    Some(())
}

/// Spec: VA-7 (low).
pub fn update_exception_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let pstate = get_shadow_ctxt(d, vmid, vcpuid, PSTATE)?;
    let pc = get_shadow_ctxt(d, vmid, vcpuid, PC)?;
    let vector = get_exception_vector(d, pstate)?;
    set_shadow_ctxt(d, vmid, vcpuid, ELR_EL1, pc)?;
    set_shadow_ctxt(d, vmid, vcpuid, PC, vector)?;
    set_shadow_ctxt(d, vmid, vcpuid, SPSR_0, pstate)?;
    set_shadow_ctxt(d, vmid, vcpuid, PSTATE, PSTATE_FAULT_BITS_64)?;
    set_shadow_ctxt(d, vmid, vcpuid, ESR_EL1, 0)
}

/// Spec: VA-8 (low).
pub fn post_handle_shadow_s2pt_fault(d: &mut RData, vmid: u32, vcpuid: u32, addr: u64) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    let pte = get_int_new_pte(d, vmid, vcpuid)?;
    let level = get_int_new_level(d, vmid, vcpuid)?;
    prot_and_map_vm_s2pt(d, vmid, addr, pte, if level == 2 { 2 } else { 3 })
}
