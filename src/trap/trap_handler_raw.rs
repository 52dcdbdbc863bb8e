// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapHandlerRaw (`spec/layers/09-traps.md` §9.4).
//!
//! `regs` are the host's x0 to x30. Those of a vCPU are in its context; how they get there, and into the CPU, is the
//! machine's affair ([`WorldSwitch::vm_to_core`]).

use super::{Conduit, HostAbort, HostAction, LogSource, Registers, Verdict};
use crate::abi::{exit, stat};
use crate::addr::{VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::{CpuFeatures, WorldSwitch};
use crate::refused::Refused;
use crate::vcpu::Next;

/// Why a vCPU stopped running, as the vectors tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// An interrupt.
    Irq,
    /// A system error.
    SError,
    /// An exception of the vCPU's own: ESR_EL2 says which.
    Trap,
    /// The return to it was illegal.
    Illegal,
}

impl Exit {
    /// The number for `ec` and for the host.
    const fn number(self) -> u64 {
        match self {
            Self::Irq => exit::IRQ,
            Self::SError => exit::SERROR,
            Self::Trap => exit::TRAP,
            Self::Illegal => exit::ILLEGAL,
        }
    }
}

impl<M: CpuFeatures + LogSource> Corevisor<M> {
    /// Spec: TR-1. The host's HVC or SMC with immediate `immediate` (TD-1, for calls to Corevisor).
    #[inline(always)]
    pub(super) fn host_hvc_handler_raw(
        &self,
        conduit: Conduit,
        immediate: u16,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> HostAction {
        self.host_smccc(conduit, immediate, regs, outer)
    }

    /// Spec: TR-2. The host's access to what its stage-2 table does not map (FH-1).
    pub(super) fn host_npt_handler_raw<const OUTER: u8>(
        &self,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Verdict {
        self.handle_host_stage2_fault(abort, regs, outer)
    }
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: TR-3. The host wants `vcpu` of `v` to run here: its registers go to its context (AM-99), and the vCPU's to the
    /// CPU (AM-102, in the right direction: D-40). If that is refused, or the vCPU has to stop again at once, only x0 changes.
    #[inline(always)]
    pub(super) fn host_vcpu_run_handler_raw(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Next {
        let (mut host, _) = self.own_host_context(outer);
        self.machine().host_to_core(&mut host, regs);
        self.save_host(&mut host);
        match self.restore_vm(v, vcpu, regs, outer) {
            Ok(next) => next,
            Err(why) => {
                self.refuse_entry(v, vcpu, why, regs);
                Next::Host
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse_entry(&self, v: Vmid, vcpu: VcpuId, why: Refused, regs: &mut Registers) {
        self.count(stat::REFUSED_CALL);
        self.machine().log_refusal(format_args!("{vcpu} of {v} not run: {why}"));
        regs[0] = why.code() as u64;
    }

    /// Spec: TR-4. The vCPU that runs here stopped: Corevisor deals with it, and it goes on, or the host does, which finds
    /// the reason in x0 ([`exit`]).
    #[inline(always)]
    pub(super) fn vm_exit_handler_raw(
        &self,
        why: Exit,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Next {
        let (v, vcpu) = self.current().unwrap_or_else(|| unreachable!("the vectors ask who runs"));
        let reason = {
            // SAFETY: it was entered, and so is ACTIVE, until CS-3, which takes the context.
            let running = unsafe { self.active_context(v, vcpu, outer) };
            let (mut context, mut held) = running.unwrap_or_else(|_| unreachable!("it was entered"));
            self.machine().vm_to_core(&mut context, regs);
            self.machine().exit_populate_fault(&mut context);
            context.ec = why.number();
            if why == Exit::Trap {
                match self.vm_exit_dispatcher(v, &mut context, &mut held) {
                    Ok(Next::Vm) => {
                        self.machine().core_to_vm(&mut context, regs);
                        return Next::Vm;
                    }
                    Ok(Next::Host) => {}
                    Err(refused) => self.stop_vm(v, refused, &mut context, &mut held),
                }
            }
            self.save_vm(v, vcpu, context, &mut held)
        };
        let (host, _) = self.own_host_context(outer);
        let restored = self.restore_host(&host);
        assert_eq!(restored, Ok(()), "the host has a table");
        self.machine().core_to_host(&host, regs);
        regs[0] = reason;
        Next::Host
    }
}
