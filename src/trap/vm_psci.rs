// SPDX-License-Identifier: GPL-2.0-only
//! PSCI for VMs (Arm DEN0022, version 1.1). Who is on, and where a vCPU begins, is the VM's word, which Corevisor keeps;
//! that it runs at all is the host's affair, which gets these calls as `spec/layers/10-abi-flows.md` §10.5 says.

use super::vm_call::{X0, x0};
use crate::addr::{VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::vcpu::{Next, ShadowContext};
use crate::vm::{Power, VcpuState, VmInfo};
use arm_psci::{ErrorCode, FunctionId};

/// 1.1.
const VERSION_1_1: u64 = 0x0001_0001;
/// MIGRATE_INFO_TYPE: there is nothing that would have to migrate.
const NO_TRUSTED_OS: u64 = 2;
/// SMCCC_VERSION, of which PSCI_FEATURES tells that it can be called.
const SMCCC_VERSION: u32 = 0x8000_0000;
/// Bit 31 of the reset type of SYSTEM_RESET2: it is vendor-specific.
const VENDOR_RESET: u32 = 1 << 31;

/// Whether a VM may call a function.
fn is_served(id: FunctionId) -> bool {
    use FunctionId as Id;
    matches!(
        id,
        Id::PsciVersion
            | Id::PsciFeatures
            | Id::MigrateInfoType
            | Id::CpuSuspend32
            | Id::CpuSuspend64
            | Id::CpuOff
            | Id::CpuOn32
            | Id::CpuOn64
            | Id::AffinityInfo32
            | Id::AffinityInfo64
            | Id::SystemOff
            | Id::SystemReset
            | Id::SystemReset232
            | Id::SystemReset264
    )
}

fn error(code: ErrorCode) -> i64 {
    i32::from(code).into()
}

/// The vCPU, if there is one, whose MPIDR_EL1 has these affinity bits.
fn named(mpidr: u64) -> Option<VcpuId> {
    VcpuId::new(mpidr) // Aff0 is its number: there are not more than 16
}

impl<M: Machine> Corevisor<M> {
    /// Carries out the PSCI function `id` that `context`, of the running vCPU of `v`, calls: the result goes to x0, or the
    /// host has to see to it. CPU_ON and CPU_OFF are recorded, a reset powers `v` off like SYSTEM_OFF (VA-5): the host may
    /// build it anew. Lock VM(v).
    pub(super) fn vm_psci<const OUTER: u8>(
        &self,
        v: Vmid,
        id: u32,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Next {
        use FunctionId as Id;
        let [_, a, b, c, ..] = context.x;
        let low = u64::from(u32::MAX);
        // What is left to the host if all is well.
        let asked: Result<(), ErrorCode> = match FunctionId::try_from(id) {
            Ok(Id::PsciVersion) => return answer(context, Ok(VERSION_1_1)),
            Ok(Id::PsciFeatures) => return answer(context, features(a as u32)),
            Ok(Id::MigrateInfoType) => return answer(context, Ok(NO_TRUSTED_OS)),
            Ok(Id::CpuOn64) => self.acquire_lock_vm(v, outer).0.turn_on(a, b, c),
            Ok(Id::CpuOn32) => self.acquire_lock_vm(v, outer).0.turn_on(a & low, b & low, c & low),
            Ok(Id::CpuOff) => {
                if let Some((_, vcpu)) = self.current() {
                    self.acquire_lock_vm(v, outer).0.vcpu_mut(vcpu).power = Power::Off;
                }
                Ok(())
            }
            Ok(Id::SystemReset232 | Id::SystemReset264) if a as u32 != 0 && a as u32 & VENDOR_RESET == 0 => {
                Err(ErrorCode::InvalidParameters)
            }
            Ok(Id::SystemReset | Id::SystemReset232 | Id::SystemReset264) => {
                self.set_vm_poweroff(v, outer);
                Ok(())
            }
            Ok(id) if is_served(id) => Ok(()),
            _ => Err(ErrorCode::NotSupported),
        };
        match asked {
            Ok(()) => Next::Host,
            Err(code) => answer(context, Err(error(code))),
        }
    }
}

impl VmInfo {
    /// CPU_ON: the vCPU `target` (an MPIDR_EL1) is to begin at `entry`, with `argument` in x0.
    fn turn_on(&mut self, target: u64, entry: u64, argument: u64) -> Result<(), ErrorCode> {
        let vcpu = named(target).filter(|vcpu| self.vcpu(*vcpu).state != VcpuState::Unused);
        let info = self.vcpu_mut(vcpu.ok_or(ErrorCode::InvalidParameters)?);
        if !entry.is_multiple_of(4) {
            return Err(ErrorCode::InvalidAddress);
        }
        match info.power {
            Power::Off => info.power = Power::Pending { entry, argument },
            Power::Pending { .. } => return Err(ErrorCode::OnPending),
            Power::On => return Err(ErrorCode::AlreadyOn),
        }
        Ok(())
    }

    /// CPU_ON of `target` has failed, the host says.
    pub(crate) fn leave_off(&mut self, target: u64) {
        if let Some(vcpu) = named(target)
            && let Power::Pending { .. } = self.vcpu(vcpu).power
        {
            self.vcpu_mut(vcpu).power = Power::Off;
        }
    }
}

fn answer(context: &mut ShadowContext, result: X0) -> Next {
    context.x[0] = x0(result);
    Next::Vm
}

fn features(asked: u32) -> X0 {
    match FunctionId::try_from(asked) {
        Ok(id) if is_served(id) => Ok(0),
        _ if asked == SMCCC_VERSION => Ok(0),
        _ => Err(error(ErrorCode::NotSupported)),
    }
}
