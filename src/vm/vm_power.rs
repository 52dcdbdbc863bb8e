// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VMPower (`spec/layers/06-boot.md` §6.1, seed 000).

use super::VmState;
use crate::addr::Vmid;
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;

impl<M: Machine> Corevisor<M> {
    /// Spec: VP-1. `v` is powered off for good, whatever its state was. Lock VM(v).
    pub fn set_vm_poweroff<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) {
        let (mut vm, _) = self.acquire_lock_vm(v, outer);
        vm.state = VmState::Poweroff;
    }

    /// Spec: VP-2. Whether `v` is not powered off; so is a VM that does not exist. Lock VM(v).
    pub fn get_vm_poweron<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> bool {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        vm.state != VmState::Poweroff
    }
}
