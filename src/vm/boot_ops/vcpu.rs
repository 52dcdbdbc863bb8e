// SPDX-License-Identifier: GPL-2.0-only
//! Who may use a vCPU (BO-2, BO-3).

use crate::addr::{VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vm::{Turn, VcpuState, VmState};

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-2. vCPU `vcpu` of `v` is this CPU's from now on, with its shadow context. Returns what an entry has to know of
    /// it, so that it need not ask again. Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::State`] if another CPU runs it, it does not exist, or `v` is not verified or being destroyed.
    #[inline(always)]
    pub fn set_vcpu_active<const OUTER: u8>(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Turn, Refused> {
        let (mut vm, _) = self.acquire_lock_vm(v, outer);
        if vm.state != VmState::Verified || vm.destroying.is_some() || vm.vcpu(vcpu).state != VcpuState::Ready {
            return Err(Refused::State(v));
        }
        vm.vcpu_mut(vcpu).state = VcpuState::Active;
        Ok(vm.turn(vcpu))
    }

    /// Spec: BO-3. This CPU is done with the vCPU. What the VM's state is does not matter: it may have been powered off
    /// meanwhile. Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::State`] if no CPU had it.
    #[inline(always)]
    pub fn set_vcpu_inactive<const OUTER: u8>(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut vm, _) = self.acquire_lock_vm(v, outer);
        if vm.vcpu(vcpu).state != VcpuState::Active {
            return Err(Refused::State(v));
        }
        vm.vcpu_mut(vcpu).state = VcpuState::Ready;
        Ok(())
    }
}
