// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VMPower.

use crate::constants::{is_vmid, state::POWEROFF};
use crate::rdata::RData;
use crate::rdata::lock_id::vm;
use crate::{Spec, rely};

/// Spec: VP-1 (high).
pub fn set_vm_poweroff(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(());
    }
    d.enter(vm(vmid))?;
    d.vm(vmid).vm_state = POWEROFF;
    d.leave(vm(vmid))
}

/// Spec: VP-2 (high). D-16: a VM that was never started is "on".
pub fn get_vm_poweron(d: &mut RData, vmid: u32) -> Spec<u32> {
    rely(is_vmid(vmid))?;
    if d.halt {
        return Some(0);
    }
    d.enter(vm(vmid))?;
    let on = d.vm(vmid).vm_state != POWEROFF;
    d.leave(vm(vmid))?;
    Some(on.into())
}

/// The same as calls into the layer below.
pub mod low {
    use super::{POWEROFF, RData, Spec, is_vmid, rely};
    use crate::abstract_machine::{check, get_vm_state, set_vm_state};
    use crate::locks::{acquire_lock_vm, release_lock_vm};

    /// Spec: VP-1 (low).
    pub fn set_vm_poweroff(d: &mut RData, vmid: u32) -> Spec {
        rely(is_vmid(vmid))?;
        acquire_lock_vm(d, vmid)?;
        set_vm_state(d, vmid, POWEROFF)?;
        release_lock_vm(d, vmid)
    }

    /// Spec: VP-2 (low).
    pub fn get_vm_poweron(d: &mut RData, vmid: u32) -> Spec<u32> {
        rely(is_vmid(vmid))?;
        acquire_lock_vm(d, vmid)?;
        let on = get_vm_state(d, vmid)? != POWEROFF;
        release_lock_vm(d, vmid)?;
        check(d, on.into())
    }
}
