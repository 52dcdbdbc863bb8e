// SPDX-License-Identifier: GPL-2.0-only
//! Shadow contexts: what Corevisor keeps of a vCPU, and of the host while a VM runs on its CPU
//! (`spec/layers/10-abi-flows.md` §10.7).

use super::super::vm::VCPU_PER_VM;
use crate::MAX_CPUS;
use crate::addr::{VMID_COUNT, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, Lock, rank};
use crate::machine::Machine;
use crate::refused::Refused;

/// FP and SIMD registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fp {
    /// q0 to q31.
    pub q: [u128; 32],
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
}

/// All registers of a vCPU that another principal must not see or change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShadowContext {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it goes on.
    pub pc: u64,
    /// PSTATE, as in SPSR_EL2.
    pub pstate: u64,
    /// The system registers with the specification's indices 47 (`MPIDR_EL1`) to 70 (`ELR_EL2`).
    pub sys: [u64; 24],
    /// Index 35.
    pub elr_el1: u64,
    /// Index 36.
    pub spsr_el1: u64,
    /// Not accessible by index.
    pub sp_el0: u64,
    /// Index 34; not accessible by index (D-44).
    pub sp_el1: u64,
    /// Index 41: FAR_EL2 of the last exit.
    pub far_el2: u64,
    /// Index 42: HPFAR_EL2 of the last exit. Trusted (D-37).
    pub hpfar_el2: u64,
    /// Index 43.
    pub hcr_el2: u64,
    /// Index 44: what kind of exit the last one was: 0 IRQ, 1 SError, 2 trap, 3 illegal return.
    pub ec: u64,
    /// Index 45: what the host may change at the next entry (`spec/layers/10-abi-flows.md` §10.6). All ones: never run.
    pub dirty: u64,
    /// Index 46: [`ShadowContext::PENDING_FAULT`].
    pub flags: u64,
    /// Index 71: SPSR slot 0.
    pub spsr_0: u64,
    /// Index 72: ESR_EL2 of the last exit. Trusted (D-32).
    pub esr_el2: u64,
    /// FP and SIMD registers.
    pub fp: Fp,
}

impl ShadowContext {
    /// In `flags`: the last exit was a stage-2 fault that the host may answer with a page (`PENDING_FSC_FAULT`).
    pub const PENDING_FAULT: u64 = 2;
    /// In `dirty`: never run.
    pub const NEVER_RUN: u64 = u64::MAX;

    /// All registers zero.
    pub const ZERO: Self = Self {
        x: [0; 31],
        pc: 0,
        pstate: 0,
        sys: [0; 24],
        elr_el1: 0,
        spsr_el1: 0,
        sp_el0: 0,
        sp_el1: 0,
        far_el2: 0,
        hpfar_el2: 0,
        hcr_el2: 0,
        ec: 0,
        dirty: 0,
        flags: 0,
        spsr_0: 0,
        esr_el2: 0,
        fp: Fp { q: [0; 32], fpsr: 0, fpcr: 0 },
    };
}

/// A shadow context, with its lock. Held by a CPU while it works on the context inside Corevisor; while a VM runs, the
/// vCPU's state ACTIVE keeps others away (`spec/layers/08-vcpu.md` §8.3).
pub type ContextLock = Lock<ShadowContext, { rank::CONTEXT }>;

/// Number of contexts: one for each CPU of the host, and those of all vCPUs.
pub const CONTEXT_COUNT: usize = MAX_CPUS + (VMID_COUNT - 2) * VCPU_PER_VM;

/// Where the context of (`v`, `vcpu`) lies among all; the host's vCPUs are its CPUs.
const fn slot(v: Vmid, vcpu: usize) -> Option<usize> {
    match v.index() {
        0 if vcpu < MAX_CPUS => Some(vcpu),
        v if v > 0 && v < VMID_COUNT - 1 && vcpu < VCPU_PER_VM => Some(MAX_CPUS + (v - 1) * VCPU_PER_VM + vcpu),
        _ => None,
    }
}

impl<M: Machine> Corevisor<M> {
    /// Takes the shadow context of vCPU `vcpu` of `v`, or of a CPU of the host. It is the outermost of all locks.
    ///
    /// # Errors
    /// If there can be no such vCPU.
    pub fn context<'s>(
        &'s self,
        v: Vmid,
        vcpu: usize,
        outer: &'s mut Held<'_, { rank::NONE }>,
    ) -> Result<(Guard<'s, ShadowContext>, Held<'s, { rank::CONTEXT }>), Refused> {
        let lock = slot(v, vcpu).and_then(|slot| self.contexts().get(slot)).ok_or(Refused::Argument(2))?;
        Ok(lock.lock(outer))
    }
}
