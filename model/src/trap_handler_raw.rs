// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapHandlerRaw. The high and the low text are the same.

use crate::abstract_machine::{
    core_to_host, core_to_vm, exit_populate_fault, get_cur_vcpuid, get_cur_vmid, get_shadow_ctxt, host_to_core, panic,
    vm_to_core,
};
use crate::constants::model_only::ARM_EXCEPTION_INTERRUPT;
use crate::constants::{ARM_EXCEPTION_TRAP, is_vcpu, is_vmid};
use crate::ctxt_switch::{restore_host, restore_vm, save_host, save_vm};
use crate::fault_handler::handle_host_stage2_fault;
use crate::rdata::RData;
use crate::registers::EC;
use crate::trap_dispatcher::{host_hvc_dispatcher, vm_exit_dispatcher};
use crate::{Spec, rely};

/// Spec: TR-1.
pub fn host_hvc_handler_raw(d: &mut RData) -> Spec {
    host_to_core(d)?;
    host_hvc_dispatcher(d)?;
    core_to_host(d)
}

/// Spec: TR-2.
pub fn host_npt_handler_raw(d: &mut RData) -> Spec {
    host_to_core(d)?;
    handle_host_stage2_fault(d)?;
    core_to_host(d)
}

/// Spec: TR-3.
pub fn host_vcpu_run_handler_raw(d: &mut RData) -> Spec {
    host_to_core(d)?;
    save_host(d)?;
    restore_vm(d)?;
    core_to_vm(d)
}

/// Spec: TR-4.
pub fn vm_exit_handler_raw(d: &mut RData) -> Spec {
    let vmid = get_cur_vmid(d)?;
    let vcpuid = get_cur_vcpuid(d)?;
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    vm_to_core(d)?;
    exit_populate_fault(d)?;
    let to_host = match get_shadow_ctxt(d, vmid, vcpuid, EC)? {
        ARM_EXCEPTION_TRAP => vm_exit_dispatcher(d, vmid, vcpuid)? != 0,
        ARM_EXCEPTION_INTERRUPT => true,
        _ => return panic(d),
    };
    if to_host {
        save_vm(d)?;
        restore_host(d)?;
        core_to_host(d)
    } else {
        core_to_vm(d)
    }
}
