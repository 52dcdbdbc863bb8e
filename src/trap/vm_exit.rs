// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapDispatcher (`spec/layers/09-traps.md` §9.3): the traps of VMs.

use super::pvops::Pvops;
use super::syndrome::{Class, Syndrome};
use crate::abi::exit;
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
        match Syndrome(context.esr_el2).class() {
            Class::Sys64 => {
                self.machine().core_handle_sys64();
                Ok(Next::Vm)
            }
            Class::Fp => {
                self.machine().fpsimd_access(context);
                Ok(Next::Vm)
            }
            Class::Hvc64 => match self.core_handle_pvops(v, context, outer)? {
                Pvops::Done => Ok(Next::Vm),
                Pvops::Unfinished => {
                    // As if an interrupt had come first.
                    context.ec = exit::IRQ;
                    Ok(Next::Host)
                }
                Pvops::NotOurs => Ok(Next::Host),
            },
            Class::Wfx | Class::Hvc32 | Class::InstructionAbort | Class::DataAbort => Ok(Next::Host),
            Class::Smc32 | Class::Smc64 | Class::Other(_) => {
                self.machine().save_sysregs(context);
                self.update_exception_gp_regs(context);
                self.machine().restore_sysregs(context);
                Ok(Next::Vm)
            }
        }
    }
}
