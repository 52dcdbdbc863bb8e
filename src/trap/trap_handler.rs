// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapHandler (`spec/layers/09-traps.md` §9.5): what the vectors call, at the outermost point. The
//! specification's `ihost` is whether [`Corevisor::current`] is `None`; its `icore` is that this CPU is in here.

use super::trap_handler_raw::Exit;
use super::{Conduit, HostAbort, LogSource, Registers, Verdict};
use crate::addr::{VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::{CpuFeatures, WorldSwitch};
use crate::vcpu::Next;

/// What the host's call leaves to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostAction {
    /// Nothing: the host goes on.
    Resume,
    /// The host wants a vCPU to run ([`Corevisor::host_vcpu_run_handler`]).
    Run {
        /// Of which VM.
        v: Vmid,
        /// Which one.
        vcpu: VcpuId,
    },
}

impl<M: CpuFeatures + LogSource> Corevisor<M> {
    /// Spec: TH-1. An HVC or SMC instruction of the host, with the call in `regs`.
    #[inline(always)]
    pub fn host_hvc_handler(
        &self,
        conduit: Conduit,
        immediate: u16,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> HostAction {
        debug_assert_eq!(self.current(), None);
        self.host_hvc_handler_raw(conduit, immediate, regs, outer)
    }

    /// Spec: TH-2. A stage-2 abort of the host.
    pub fn host_npt_handler(
        &self,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Verdict {
        debug_assert_eq!(self.current(), None);
        self.host_npt_handler_raw(abort, regs, outer)
    }
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: TH-3. Runs `vcpu` of `v` on this CPU: with [`Next::Vm`], `regs` are the vCPU's. Otherwise the host goes on,
    /// with an error or a reason to stop in x0.
    #[inline(never)]
    pub fn host_vcpu_run_handler(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Next {
        debug_assert_eq!(self.current(), None);
        self.host_vcpu_run_handler_raw(v, vcpu, regs, outer)
    }

    /// Spec: TH-4. The vCPU that runs on this CPU stopped, with `regs`. They are who goes on's on return: the vCPU's, or
    /// the host's.
    #[inline(never)]
    pub fn vm_exit_handler(&self, why: Exit, regs: &mut Registers, outer: &mut Held<'_, { rank::NONE }>) -> Next {
        debug_assert!(self.current().is_some());
        self.vm_exit_handler_raw(why, regs, outer)
    }
}
