// SPDX-License-Identifier: GPL-2.0-only
//! Layer: CtxtSwitch. The high and the low text are the same.

use crate::abstract_machine::{
    activate_traps, deactivate_traps, fpsimd_restore_state, fpsimd_save_state, get_cur_vcpuid, get_cur_vmid,
    get_int_run_vcpuid, get_shadow_ctxt, host_el2_restore_state, panic, restore_sysregs, save_sysregs, set_per_cpu,
    timer_enable_traps, vm_el2_restore_state,
};
use crate::boot_ops::{set_vcpu_active, set_vcpu_inactive};
use crate::constants::{HOSTVISOR, is_int, is_vcpu, is_vm};
use crate::rdata::RData;
use crate::vcpu_ops::{restore_shadow_kvm_regs, save_shadow_kvm_regs};
use crate::{Spec, rely};

/// Spec: CS-1.
pub fn save_host(d: &mut RData) -> Spec {
    save_sysregs(d)?;
    fpsimd_save_state(d)
}

/// Spec: CS-2.
pub fn restore_host(d: &mut RData) -> Spec {
    set_per_cpu(d, HOSTVISOR, 0)?;
    host_el2_restore_state(d)?;
    restore_sysregs(d)?;
    fpsimd_restore_state(d)
}

/// Spec: CS-3. D-42: the timer's traps on the way out, too.
pub fn save_vm(d: &mut RData) -> Spec {
    save_sysregs(d)?;
    fpsimd_save_state(d)?;
    deactivate_traps(d)?;
    timer_enable_traps(d)?;
    save_shadow_kvm_regs(d)?;
    let vmid = get_cur_vmid(d)?;
    let vcpuid = get_cur_vcpuid(d)?;
    set_vcpu_inactive(d, vmid, vcpuid)
}

/// Spec: CS-4. The vCPU is ACTIVE before its context is touched.
pub fn restore_vm(d: &mut RData) -> Spec {
    let cur_vmid = get_cur_vmid(d)?;
    let cur_vcpuid = get_cur_vcpuid(d)?;
    let vmid = get_shadow_ctxt(d, cur_vmid, cur_vcpuid, 0)?;
    rely(is_int(vmid))?;
    let vmid = vmid as u32;
    if !is_vm(vmid) {
        return panic(d);
    }
    let vcpuid = get_int_run_vcpuid(d, vmid)?;
    rely(is_int(vcpuid))?;
    let vcpuid = vcpuid as u32;
    if !is_vcpu(vcpuid) {
        return panic(d);
    }
    set_per_cpu(d, vmid, vcpuid)?;
    set_vcpu_active(d, vmid, vcpuid)?;
    restore_shadow_kvm_regs(d)?;
    vm_el2_restore_state(d)?;
    timer_enable_traps(d)?;
    activate_traps(d)?;
    restore_sysregs(d)?;
    fpsimd_restore_state(d)
}
