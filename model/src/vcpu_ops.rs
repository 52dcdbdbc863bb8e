// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VCPUOps.

use crate::constants::{
    ARM_EXCEPTION_TRAP, DIRTY_PC_FLAG, EC_DABT_LOW, EC_HVC32, EC_HVC64, EC_IABT_LOW, EC_WFX, ESR_EC_MASK, ESR_EC_SHIFT,
    INVALID64, PENDING_EXCEPT_INJECT_FLAG, is_addr, is_vcpu, is_vmid,
};
use crate::rdata::RData;
use crate::vcpu_ops_aux::{
    post_handle_shadow_s2pt_fault, prep_abort, prep_hvc, prep_wfx, reset_gp_regs, reset_sys_regs, sync_dirty_to_shadow,
    update_exception_gp_regs,
};
use crate::{Spec, rely};

/// Spec: VO-1 (high). D-35: five classes; any other halts.
pub fn save_shadow_kvm_regs(d: &mut RData) -> Spec {
    rely(is_vmid(d.cur_vmid) && is_vcpu(d.cur_vcpuid))?;
    if d.halt {
        return Some(());
    }
    let (vmid, vcpuid) = (d.cur_vmid, d.cur_vcpuid);
    let ctxt = d.ctxt(vmid, vcpuid);
    if ctxt.get("ec") != ARM_EXCEPTION_TRAP {
        return Some(());
    }
    match (ctxt.get("esr_el2") & ESR_EC_MASK) >> ESR_EC_SHIFT {
        EC_WFX => prep_wfx(d, vmid, vcpuid),
        EC_HVC32 | EC_HVC64 => prep_hvc(d, vmid, vcpuid),
        EC_IABT_LOW | EC_DABT_LOW => prep_abort(d, vmid, vcpuid),
        class => {
            if class == 0x18 {
                // The library: perhaps a write to a register that makes SGIs.
                d.tag(120);
            }
            d.halt = true;
            Some(())
        }
    }
}

/// Spec: VO-2 (high). D-23: a first entry resets the registers, resumed or not. D-37: the fault address is the host's.
pub fn restore_shadow_kvm_regs(d: &mut RData) -> Spec {
    rely(is_vmid(d.cur_vmid) && is_vcpu(d.cur_vcpuid))?;
    if d.halt {
        return Some(());
    }
    let (vmid, vcpuid) = (d.cur_vmid, d.cur_vcpuid);
    let ctxt = d.ctxt(vmid, vcpuid);
    let dirty = ctxt.get("dirty");
    if dirty == INVALID64 {
        if d.vm(vmid).inc_exe == 1 {
            d.tag(23);
        }
        reset_gp_regs(d, vmid, vcpuid)?;
        reset_sys_regs(d, vmid, vcpuid)?;
        if !d.halt {
            d.ctxt(vmid, vcpuid).set("dirty", 0);
        }
        return Some(());
    }
    if ctxt.get("ec") == ARM_EXCEPTION_TRAP {
        sync_dirty_to_shadow(d, vmid, vcpuid)?;
    }
    let before = d.ctxt(vmid, vcpuid).clone();
    if dirty & PENDING_EXCEPT_INJECT_FLAG != 0 {
        // After an abort, an abort: not of unknown reason.
        d.tag(121);
        update_exception_gp_regs(d, vmid, vcpuid)?;
    }
    if dirty & DIRTY_PC_FLAG != 0 && dirty & PENDING_EXCEPT_INJECT_FLAG != 0 {
        d.tag(36);
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    if dirty & DIRTY_PC_FLAG != 0 {
        let pc = ctxt.get("pc");
        // D-36: of an injected exception only the PC is left.
        ctxt.copy(&before, &["pstate", "spsr_0", "esr_el1"]);
        ctxt.set("pc", pc.wrapping_add(4));
        if ctxt.get("pstate") & 0b11 << 10 != 0 {
            d.tag(123);
        }
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    ctxt.set("dirty", 0);
    ctxt.set("far_el2", 0);
    let addr = d.draw_core(vmid);
    if addr > 0 && is_addr(addr) {
        d.tag(37);
        post_handle_shadow_s2pt_fault(d, vmid, vcpuid, addr)?;
    }
    Some(())
}

/// The same as calls into the layer below.
pub mod low {
    use super::{
        ARM_EXCEPTION_TRAP, DIRTY_PC_FLAG, EC_DABT_LOW, EC_HVC32, EC_HVC64, EC_IABT_LOW, EC_WFX, ESR_EC_MASK,
        ESR_EC_SHIFT, INVALID64, PENDING_EXCEPT_INJECT_FLAG, RData, Spec, is_addr, post_handle_shadow_s2pt_fault,
        prep_abort, prep_hvc, prep_wfx, reset_gp_regs, reset_sys_regs, sync_dirty_to_shadow, update_exception_gp_regs,
    };
    use crate::abstract_machine::{
        get_cur_vcpuid, get_cur_vmid, get_shadow_ctxt, get_shadow_esr, get_vm_fault_addr, panic, set_shadow_ctxt,
        set_shadow_dirty_bit,
    };
    use crate::registers::{DIRTY, EC, FAR_EL2, PC};

    /// Spec: VO-1 (low).
    pub fn save_shadow_kvm_regs(d: &mut RData) -> Spec {
        let vmid = get_cur_vmid(d)?;
        let vcpuid = get_cur_vcpuid(d)?;
        if get_shadow_ctxt(d, vmid, vcpuid, EC)? != ARM_EXCEPTION_TRAP {
            return Some(());
        }
        match (get_shadow_esr(d, vmid, vcpuid)? & ESR_EC_MASK) >> ESR_EC_SHIFT {
            EC_WFX => prep_wfx(d, vmid, vcpuid),
            EC_HVC32 | EC_HVC64 => prep_hvc(d, vmid, vcpuid),
            EC_IABT_LOW | EC_DABT_LOW => prep_abort(d, vmid, vcpuid),
            _ => panic(d),
        }
    }

    /// Spec: VO-2 (low). D-36: here an injected exception is kept whole.
    pub fn restore_shadow_kvm_regs(d: &mut RData) -> Spec {
        let vmid = get_cur_vmid(d)?;
        let vcpuid = get_cur_vcpuid(d)?;
        let dirty = get_shadow_ctxt(d, vmid, vcpuid, DIRTY)?;
        if dirty == INVALID64 {
            reset_gp_regs(d, vmid, vcpuid)?;
            reset_sys_regs(d, vmid, vcpuid)?;
            return set_shadow_dirty_bit(d, vmid, vcpuid, 0);
        }
        if get_shadow_ctxt(d, vmid, vcpuid, EC)? == ARM_EXCEPTION_TRAP {
            sync_dirty_to_shadow(d, vmid, vcpuid)?;
        }
        if dirty & PENDING_EXCEPT_INJECT_FLAG != 0 {
            update_exception_gp_regs(d, vmid, vcpuid)?;
        }
        if dirty & DIRTY_PC_FLAG != 0 {
            let pc = get_shadow_ctxt(d, vmid, vcpuid, PC)?;
            set_shadow_ctxt(d, vmid, vcpuid, PC, pc.wrapping_add(4))?;
        }
        set_shadow_dirty_bit(d, vmid, vcpuid, 0)?;
        set_shadow_ctxt(d, vmid, vcpuid, FAR_EL2, 0)?;
        let addr = get_vm_fault_addr(d, vmid, vcpuid)?;
        if addr > 0 && is_addr(addr) {
            post_handle_shadow_s2pt_fault(d, vmid, vcpuid, addr)?;
        }
        Some(())
    }
}
