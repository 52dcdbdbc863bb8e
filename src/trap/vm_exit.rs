// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapDispatcher (`spec/layers/09-traps.md` §9.3): the traps of VMs.

use super::fault_handler::hpfar_ipa;
use super::inject::Exception;
use super::pvops::Pvops;
use super::syndrome::{Class, Syndrome};
use crate::abi::{NOT_SUPPORTED, exit};
use crate::addr::Vmid;
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::WorldSwitch;
use crate::refused::Refused;
use crate::vcpu::{Next, ShadowContext};

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: TD-2. Who is to go on after the trap of `v` that `context` tells of (D-46, D-47). What a VM can't have is
    /// undefined to it, and it goes on there. Locks of FH-2.
    ///
    /// # Errors
    /// Those of FH-2: the VM broke a rule.
    pub(super) fn vm_exit_dispatcher<const OUTER: u8>(
        &self,
        v: Vmid,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Next, Refused> {
        let syndrome = Syndrome(context.esr_el2);
        match syndrome.class() {
            Class::Sys64 => Ok(self.vm_sysreg(context)),
            Class::Fp => {
                self.machine().fpsimd_access(context);
                Ok(Next::Vm)
            }
            Class::Hvc32 | Class::Hvc64 => self.hvc(v, context, outer),
            // The ID registers do not offer it, as the host would not know when it ends.
            Class::Wfx if syndrome.is_wait_with_timeout() => Ok(self.inject(context, Exception::Undefined)),
            Class::Wfx => Ok(Next::Host),
            Class::InstructionAbort | Class::DataAbort if self.can_be_served(context) => Ok(Next::Host),
            Class::InstructionAbort | Class::DataAbort => Ok(self.inject(context, Exception::ExternalAbort)),
            Class::Smc32 | Class::Smc64 | Class::Other(_) => Ok(self.inject(context, Exception::Undefined)),
        }
    }

    /// Has the vCPU that stopped here take `exception`, and go on with that.
    pub(super) fn inject(&self, context: &mut ShadowContext, exception: Exception) -> Next {
        self.machine().save_sysregs(context);
        self.update_exception_gp_regs(context, exception);
        self.machine().restore_sysregs(context);
        Next::Vm
    }

    /// Whether the host can do anything about an abort: nothing is mapped at an address at which there could be something.
    /// Nobody changes the permissions of what is mapped, or finds another reason for an abort (D-122).
    fn can_be_served(&self, context: &ShadowContext) -> bool {
        let reachable = hpfar_ipa(context.hpfar_el2).is_some_and(|ipa| self.in_reach(ipa));
        Syndrome(context.esr_el2).is_translation_fault() && reachable
    }

    /// The HVC instruction of `v`: a call to Corevisor, or to the host. SMCCC reserves all immediates but 0 for hypervisors;
    /// there is no call for any other.
    fn hvc<const OUTER: u8>(
        &self,
        v: Vmid,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Next, Refused> {
        if Syndrome(context.esr_el2).immediate() != 0 {
            context.x[0] = NOT_SUPPORTED as u64;
            return Ok(Next::Vm);
        }
        match self.core_handle_pvops(v, context, outer)? {
            Pvops::Done => Ok(Next::Vm),
            Pvops::Unfinished => {
                // As if an interrupt had come first.
                context.ec = exit::IRQ;
                Ok(Next::Host)
            }
            Pvops::NotOurs => self.vm_smccc(v, context, outer),
        }
    }
}
