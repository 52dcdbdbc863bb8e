// SPDX-License-Identifier: GPL-2.0-only
//! Layer: CtxtSwitch (`spec/layers/08-vcpu.md` §8.3).
//!
//! A vCPU is ACTIVE before its context is touched, and READY after the last write to it.

use super::context::ShadowContext;
use crate::abi::exit;
use crate::addr::{HOSTVISOR, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, Owned, rank};
use crate::machine::WorldSwitch;
use crate::refused::Refused;
use crate::trap::Registers;
use crate::vcpu::vgic::VgicEntry;

/// Who runs when Corevisor is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The host.
    Host,
    /// The VM that [`Corevisor::current`] names.
    Vm,
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: CS-1. Saves the host's registers, but for the general ones, which AM-99 has saved.
    pub(crate) fn save_host(&self, context: &mut ShadowContext) {
        self.machine().save_sysregs(context);
        self.machine().fpsimd_save_state(context);
    }

    /// Spec: CS-2. Makes the hardware the host's again.
    ///
    /// # Errors
    /// None: the host's table is always there.
    pub(crate) fn restore_host(&self, context: &ShadowContext) -> Result<(), Refused> {
        let root = self.root_to_run(HOSTVISOR)?;
        self.set_per_cpu(None);
        self.machine().host_el2_restore_state(root);
        self.machine().restore_sysregs(context);
        self.machine().fpsimd_restore_state(context);
        Ok(())
    }

    /// Spec: CS-3. Saves the registers of a vCPU after an exit, but for the general ones (AM-100), shows the host what it
    /// may see, and gives the vCPU up. Lock VM(v). Returns why it stopped.
    pub(crate) fn save_vm(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        mut context: Owned<'_, ShadowContext>,
        outer: &mut Held<'_, { rank::CONTEXT }>,
    ) -> u64 {
        self.machine().save_sysregs(&mut context);
        self.machine().fpsimd_save_state(&mut context);
        self.machine().timer_save_state(&mut context);
        let page = self.kept_run_page(context.run_page);
        let status = self.machine().vgic_save(&mut context.vgic, |n, word| self.set_int_list_register(&page, n, word));
        self.machine().deactivate_traps();
        self.machine().timer_disable_traps();
        self.set_int_status(&page, status, context.timer);
        if let Err(why) = self.save_shadow_kvm_regs(v, &page, &mut context, outer) {
            self.stop_vm(v, why, &mut context, outer);
        }
        drop(page);
        // The last access to the context.
        let why = context.ec;
        self.give_up(v, vcpu, outer);
        why
    }

    /// Spec: CS-4. Makes this CPU run `vcpu` of `v`, if nothing speaks against it, with its general registers (AM-102).
    /// [`Next::Host`]: the vCPU is to stop again before its first instruction, by the reason in x0 of `regs`, the host's
    /// registers. Locks VM(v), and those of VO-2 and FH-2.
    ///
    /// # Errors
    /// Those of BO-2 and VO-2, [`Refused::NoTable`], and [`Refused::Interrupts`]; the context is as before, and the vCPU
    /// READY if it was.
    pub(crate) fn restore_vm(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<Next, Refused> {
        let turn = self.set_vcpu_active(v, vcpu, outer)?;
        // SAFETY: so it is, and it is given up below, or when it has stopped.
        let (mut context, mut held) = unsafe { self.active_context(v, vcpu, outer)? };
        let held = &mut held;
        let mut interrupts = VgicEntry::default();
        let prepared = self.root_to_run(v).and_then(|root| {
            let page = self.run_page(v, turn.info.run_page)?;
            self.get_int_vgic(&page, &mut interrupts)?;
            self.restore_shadow_kvm_regs((v, vcpu), &turn, &page, &mut context, held)?;
            let note = || self.acquire_lock_vm(v, held).0.note_run(self.cntvoff());
            Ok((root, turn.cntvoff.unwrap_or_else(note), page))
        });
        let (root, cntvoff, page) = match prepared {
            Ok(prepared) if self.go_on(v, &mut context, held) => prepared,
            not_prepared => {
                let done = not_prepared.map(drop);
                // The last access to the context.
                let why = context.ec;
                self.give_up(v, vcpu, held);
                done?;
                regs[0] = why;
                return Ok(Next::Host);
            }
        };
        page.keep();
        context.run_page = turn.info.run_page;
        self.set_per_cpu(Some((v, vcpu)));
        self.machine().vm_el2_restore_state(v, root);
        if self.ran_another(v, vcpu) {
            self.machine().flush_local(v, root);
        }
        self.machine().timer_enable_traps();
        self.machine().activate_traps();
        self.machine().timer_restore_state(&context, cntvoff);
        self.machine().restore_sysregs(&context);
        self.machine().fpsimd_restore_state(&context);
        self.machine().vgic_restore(&context.vgic, &interrupts);
        self.machine().core_to_vm(&mut context, regs);
        Ok(Next::Vm)
    }

    /// Carries on the call that the vCPU is in, if it is in one. Whether it can now run: there is no more to do.
    fn go_on<const OUTER: u8>(&self, v: Vmid, context: &mut ShadowContext, outer: &mut Held<'_, OUTER>) -> bool {
        match self.continue_pvops(v, context, outer) {
            Ok(finished) => finished,
            Err(why) => {
                self.stop_vm(v, why, context, outer);
                false
            }
        }
    }

    /// BO-3 of a vCPU that this CPU made ACTIVE, so that it can't fail.
    #[inline(always)]
    fn give_up<const OUTER: u8>(&self, v: Vmid, vcpu: VcpuId, outer: &mut Held<'_, OUTER>) {
        let done = self.set_vcpu_inactive(v, vcpu, outer);
        assert_eq!(done, Ok(()), "{vcpu} of {v} was ours");
    }

    /// `v` has broken a rule: it is powered off (VP-1), and the vCPU in `context` leaves. Its others do when they exit.
    pub(crate) fn stop_vm<const OUTER: u8>(
        &self,
        v: Vmid,
        why: Refused,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) {
        self.set_vm_poweroff(v, outer);
        context.ec = exit::STOPPED;
        self.machine().log_refusal(format_args!("{v} stopped: {why}"));
    }
}
