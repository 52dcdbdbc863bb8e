// SPDX-License-Identifier: GPL-2.0-only
//! New VMs and new vCPUs.

use crate::addr::{HOSTVISOR, Pfn, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::Count;
use crate::refused::Refused;
use crate::vcpu::ShadowContext;
use crate::vm::{Power, VcpuInfo, VcpuState, VmFlags, VmInfo, VmState};

/// Most uses of a page of the host: by devices (specification: `EL2_SMMU_CFG_SIZE`, D-10), and as run page.
const MAX_USES: u8 = 16;

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-5. A new VM, READY, with an empty table; it is what `flags` say until it is destroyed. Locks CORE, then
    /// VM(v) → PT(v), S2PAGE, one after the other.
    ///
    /// # Errors
    /// [`Refused::NotSupported`] for an unsigned VM where there are none ([`Machine::allows_unsigned`]);
    /// [`Refused::Unavailable`] where devices could reach the memory of one that is protected ([`crate::dma_policy`]). If
    /// there is no id (BC-1), or no table can be made; the id is then free again.
    pub fn register_kvm<const OUTER: u8>(&self, flags: VmFlags, outer: &mut Held<'_, OUTER>) -> Result<Vmid, Refused> {
        if flags.contains(VmFlags::UNSIGNED) && !self.machine().allows_unsigned() {
            return Err(Refused::NotSupported);
        }
        self.check_dma(flags)?;
        let v = self.gen_vmid(outer)?;
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        let made = match vm.state {
            VmState::Unused => self.new_npt(v, &mut held),
            _ => Err(Refused::State(v)),
        };
        if made.is_ok() {
            *vm = VmInfo { state: VmState::Ready, flags, ..VmInfo::default() };
            self.acquire_lock_s2page(&mut held).0.set_granting(v, flags.contains(VmFlags::SHARED));
        }
        vm.release_lock_vm();
        made.map(|()| v).inspect_err(|_| self.return_vmid(v, outer))
    }

    /// Spec: BO-4. A new vCPU of `v`, which shares `run_page` with the host. The context is all zero, and never run. Locks
    /// CONTEXT(v, vcpu) → VM(v) → S2PAGE.
    ///
    /// As long as the vCPU exists the run page is in use: MM-3 does not let it become a VM's.
    ///
    /// # Errors
    /// Unless `v` is READY **and** there is no such vCPU yet (D-17), and the run page is the host's and not in use too
    /// often.
    pub fn register_vcpu(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        run_page: Pfn,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<(), Refused> {
        let (mut context, mut held) = self.context(v, vcpu, outer)?;
        let (mut vm, mut held) = self.acquire_lock_vm(v, &mut held);
        vm.require(v, VmState::Ready)?;
        let info = vm.vcpu_mut(vcpu);
        if info.state != VcpuState::Unused {
            return Err(Refused::State(v));
        }
        self.use_run_page(run_page, &mut held)?;
        *info = VcpuInfo { state: VcpuState::Ready, run_page: Some(run_page), power: Power::Off };
        *context = ShadowContext { dirty: ShadowContext::NEVER_RUN, ..ShadowContext::ZERO };
        Ok(())
    }

    fn use_run_page<const OUTER: u8>(&self, page: Pfn, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let (mut s2page, _) = self.acquire_lock_s2page(outer);
        match (s2page.get_pfn_owner(page), s2page.get_pfn_count(page)) {
            (Some(HOSTVISOR), Count::Shares(uses @ ..MAX_USES)) => {
                s2page.set_pfn_count(page, Count::Shares(uses + 1));
                Ok(())
            }
            (Some(HOSTVISOR), _) => Err(Refused::Busy(page)),
            _ => Err(Refused::NotHostPage(page)),
        }
    }
}
