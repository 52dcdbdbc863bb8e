// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VCPUOps (`spec/layers/08-vcpu.md` §8.2): what an exit shows the host, and what an entry takes from it.

use super::context::ShadowContext;
use super::run_page::RunPage;
use super::vcpu_ops_aux::is_cpu_on;
use crate::abi::exit;
use crate::abi::run_page::inject;
use crate::addr::{Ipa, PAGE_SIZE, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::WorldSwitch;
use crate::refused::Refused;
use crate::trap::inject::Exception;
use crate::trap::{Class, Syndrome, hpfar_ipa, written_sgi};
use crate::vm::{Power, Turn};

/// The exception that a dirty word asks for. Of aborts it says no more than that there is one: instruction or data is
/// what the trusted syndrome says.
fn requested(dirty: u64) -> Option<Exception> {
    const ABORT: u64 = inject::DATA_ABORT | inject::INSTRUCTION_ABORT;
    if dirty & ABORT != 0 {
        return Some(Exception::ExternalAbort);
    }
    (dirty & inject::UNDEFINED != 0).then_some(Exception::Undefined)
}

fn is_hvc(context: &ShadowContext) -> bool {
    matches!(Syndrome(context.esr_el2).class(), Class::Hvc32 | Class::Hvc64)
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: VO-1. After an exit: prepares what the host may see and change, by the trusted syndrome (AM-77
    /// `get_shadow_esr`). Of an exit that is no trap it sees nothing. Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::Exit`] for a class that must have been dealt with before (D-35).
    pub fn save_shadow_kvm_regs<const OUTER: u8>(
        &self,
        v: Vmid,
        page: &RunPage<'_, M>,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let syndrome = Syndrome(context.esr_el2);
        let sgi = || written_sgi(syndrome, self.machine().gic_registers());
        match syndrome.class() {
            _ if context.ec != exit::TRAP => self.set_int_exit(page, [0; 3]),
            Class::Wfx => self.prep_wfx(page, context),
            Class::Hvc32 | Class::Hvc64 => self.prep_hvc(v, page, context, outer),
            Class::InstructionAbort | Class::DataAbort => self.prep_abort(v, page, context, outer),
            class => match sgi().filter(|_| class == Class::Sys64) {
                Some(register) => self.prep_sgi(page, context, register),
                None => {
                    self.set_int_exit(page, [0; 3]);
                    return Err(Refused::Exit(syndrome.0));
                }
            },
        }
        Ok(())
    }

    /// Spec: VO-2. Before an entry: resets a vCPU that never ran, unless it goes on from a saved state (D-23); or takes
    /// over what the last exit lets the host decide: registers, an exception, the next instruction, a page. What can be
    /// refused comes first, so that a refusal finds nothing changed. Lock VM(v), then those of MO-2.
    ///
    /// # Errors
    /// [`Refused::State`] for a vCPU that is off; [`Refused::Entry`] from VA-1; [`Refused::Argument`] for a page offered elsewhere than where the vCPU stumbled
    /// (D-37), or those of VA-8.
    pub fn restore_shadow_kvm_regs<const OUTER: u8>(
        &self,
        (v, vcpu): (Vmid, VcpuId),
        turn: &Turn,
        page: &RunPage<'_, M>,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        if self.starts_as_asked((v, vcpu), turn, context, outer)? {
            return Ok(());
        }
        let mut dirty = context.dirty;
        if dirty == ShadowContext::NEVER_RUN {
            if !self.is_inc_exe(v, outer) {
                self.reset_gp_regs(v, vcpu, page, context, outer)?;
                self.reset_sys_regs(vcpu, context);
            }
            context.dirty = 0;
            return Ok(());
        }
        if let Some(ipa) = self.offered(page, context)? {
            self.post_handle_shadow_s2pt_fault(v, page, ipa, outer)?;
            // It is memory, and no device: the access is made again, now for real (D-134).
            (dirty, context.dirty) = (0, 0);
        }
        if context.ec == exit::TRAP {
            let [call, target, ..] = context.x;
            dirty |= self.asked_for(page, context);
            // An access that ends with an exception has changed no register (D-133).
            if requested(dirty).is_none() {
                self.sync_dirty_to_shadow(page, context);
            }
            let failed = context.dirty & 1 != 0 && context.x[0] as i32 != 0;
            if failed && is_hvc(context) && is_cpu_on(call) {
                self.acquire_lock_vm(v, outer).0.leave_off(target);
            }
        }
        if let Some(exception) = requested(dirty) {
            self.update_exception_gp_regs(context, exception);
        } else if dirty & ShadowContext::DIRTY_PC != 0 {
            context.skip_instruction();
        }
        context.dirty = 0;
        context.far_el2 = 0;
        context.flags &= !ShadowContext::PENDING_FAULT;
        Ok(())
    }

    /// A vCPU that CPU_ON named begins there (D-111). Whether this is one; one that is off runs only if `v` has yet to boot.
    fn starts_as_asked<const OUTER: u8>(
        &self,
        (v, vcpu): (Vmid, VcpuId),
        turn: &Turn,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<bool, Refused> {
        let mut power = turn.info.power;
        if let Power::Pending { .. } = power {
            let (mut vm, _) = self.acquire_lock_vm(v, outer);
            if let Some((entry, argument)) = vm.take_start(vcpu) {
                self.begin_as_asked(vcpu, context, [entry, argument]);
                return Ok(true);
            }
            power = vm.vcpu(vcpu).power;
        }
        let boots = context.dirty == ShadowContext::NEVER_RUN && !turn.inc_exe;
        if power == Power::Off && !boots { Err(Refused::State(v)) } else { Ok(false) }
    }

    /// Where the host offers a page, if it does: it can only be where the last exit says that one is missing (D-37).
    fn offered(&self, page: &RunPage<'_, M>, context: &ShadowContext) -> Result<Option<Ipa>, Refused> {
        if context.flags & ShadowContext::PENDING_FAULT == 0 {
            return Ok(None);
        }
        match (self.get_vm_fault_addr(page), hpfar_ipa(context.hpfar_el2)) {
            (0, _) | (_, None) => Ok(None),
            (claimed, Some(ipa)) if claimed & !(PAGE_SIZE - 1) == ipa.as_u64() => Ok(Some(ipa)),
            _ => Err(Refused::Argument(2)),
        }
    }

    /// The exception that the host asks for. It can ask after an abort only, which it may be unable to serve: anywhere else
    /// an exception out of nothing would destroy the state of an interrupted handler (D-95).
    fn asked_for(&self, page: &RunPage<'_, M>, context: &ShadowContext) -> u64 {
        match Syndrome(context.esr_el2).class() {
            Class::InstructionAbort | Class::DataAbort => self.get_int_flags(page),
            _ => 0,
        }
    }
}
