// SPDX-License-Identifier: GPL-2.0-only
//! Shadow contexts: what Corevisor keeps of a vCPU, and of the host while a VM runs on its CPU
//! (`spec/layers/10-abi-flows.md` §10.7).

use crate::MAX_CPUS;
use crate::addr::{Ipa, Pfn, VCPU_PER_VM, VMID_COUNT, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, Lock, Owned, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use crate::trap::inject::Pstate;
use crate::vcpu::vgic::Vgic;
use core::ops::{Index, IndexMut};

/// FP and SIMD registers; boot/fpsimd.S knows the layout.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Fp {
    /// q0 to q31.
    pub q: [u128; 32],
    /// FPSR.
    pub fpsr: u64,
    /// FPCR.
    pub fpcr: u64,
}

impl Fp {
    /// All registers zero.
    pub const ZERO: Self = Self { q: [0; 32], fpsr: 0, fpcr: 0 };
}

/// Number of the first of [`Sys`].
const FIRST_SYS: usize = 47;
/// How many there are.
const SYS_COUNT: usize = 24;

/// The system registers of a context, with the specification's numbers.
#[expect(missing_docs, reason = "the names are those of the registers")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Sys {
    MpidrEl1 = 47,
    CsselrEl1,
    SctlrEl1,
    ActlrEl1,
    CpacrEl1,
    Ttbr0El1,
    Ttbr1El1,
    TcrEl1,
    EsrEl1,
    Afsr0El1,
    Afsr1El1,
    FarEl1,
    MairEl1,
    VbarEl1,
    ContextidrEl1,
    TpidrEl0,
    TpidrroEl0,
    TpidrEl1,
    AmairEl1,
    CntkctlEl1,
    ParEl1,
    MdscrEl1,
    MdccintEl1,
    ElrEl2,
}

/// The registers [`Sys`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SysRegs(pub [u64; SYS_COUNT]);

impl Index<Sys> for SysRegs {
    type Output = u64;

    fn index(&self, register: Sys) -> &u64 {
        &self.0[register as usize - FIRST_SYS]
    }
}

impl IndexMut<Sys> for SysRegs {
    fn index_mut(&mut self, register: Sys) -> &mut u64 {
        &mut self.0[register as usize - FIRST_SYS]
    }
}

/// The virtual timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VirtualTimer {
    /// CNTV_CTL_EL0, with ISTATUS as it was when the vCPU stopped.
    pub ctl: u64,
    /// CNTV_CVAL_EL0.
    pub cval: u64,
}

/// Pointer authentication keys: low and high half of APIA, APIB, APDA, APDB and APGA.
pub type PointerKeys = [u64; 10];

/// A call of a VM that takes longer than it may (FH-2): it goes on when the VM is entered the next time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// The call: [`crate::abi::vm_call`].
    pub call: u64,
    /// First address.
    pub ipa: Ipa,
    /// Bytes.
    pub size: u64,
    /// Pages that are done.
    pub done: u64,
}

/// The register with number `$index` in the context `$of`, if it is accessible by number.
macro_rules! by_number {
    ($of:expr, $index:expr, $get:ident $(, $mut:ident)?) => {
        match $index {
            0..=30 => $of.x.$get($index),
            32 => Some(&$($mut)? $of.pc),
            33 => Some(&$($mut)? $of.pstate),
            35 => Some(&$($mut)? $of.elr_el1),
            36 | 71 => Some(&$($mut)? $of.spsr_el1),
            41 => Some(&$($mut)? $of.far_el2),
            42 => Some(&$($mut)? $of.hpfar_el2),
            43 => Some(&$($mut)? $of.hcr_el2),
            44 => Some(&$($mut)? $of.ec),
            45 => Some(&$($mut)? $of.dirty),
            46 => Some(&$($mut)? $of.flags),
            47..=68 | 70 => $of.sys.0.$get($index - FIRST_SYS),
            72 => Some(&$($mut)? $of.esr_el2),
            _ => None,
        }
    };
}

/// All registers of a vCPU that another principal must not see or change. In the order in which each switch of worlds finds
/// its own at the beginning: from there on they are in reach of instructions that load or store two.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ShadowContext {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Indices 47 (`MPIDR_EL1`) to 70 (`ELR_EL2`).
    pub sys: SysRegs,
    /// Index 32: where it goes on.
    pub pc: u64,
    /// Index 33: PSTATE, as in SPSR_EL2.
    pub pstate: u64,
    /// Index 35.
    pub elr_el1: u64,
    /// Indices 36 and 71, SPSR slot 0: one register (D-94).
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
    /// Index 44: what kind of exit the last one was ([`crate::abi::exit`]).
    pub ec: u64,
    /// Index 45 (AM-85 `get_shadow_dirty_bit`, AM-86 `set_shadow_dirty_bit`): what the host may change at the next entry
    /// (`spec/layers/10-abi-flows.md` §10.6). All ones: never run.
    pub dirty: u64,
    /// Index 46: [`ShadowContext::PENDING_FAULT`].
    pub flags: u64,
    /// Index 72: ESR_EL2 of the last exit. Trusted (D-32).
    pub esr_el2: u64,
    /// The virtual timer; a vCPU's only, as the host's is the physical one.
    pub timer: VirtualTimer,
    /// Its interrupt interface.
    pub vgic: Vgic,
    /// The call that the vCPU is in.
    pub unfinished: Option<Unfinished>,
    /// The page shared with the host, as it was at the last entry.
    pub run_page: Option<Pfn>,
    /// Pointer authentication keys.
    pub keys: PointerKeys,
    /// FP and SIMD registers.
    pub fp: Fp,
}

impl ShadowContext {
    /// In `flags`: the last exit was a stage-2 fault that the host may answer with a page (`PENDING_FSC_FAULT`).
    pub const PENDING_FAULT: u64 = 2;
    /// In `dirty`: never run.
    pub const NEVER_RUN: u64 = u64::MAX;
    /// In `dirty`: the instruction is to be skipped (`DIRTY_PC_FLAG`).
    pub const DIRTY_PC: u64 = 1 << 32;
    /// In `dirty`: an exception is to be injected (`PENDING_EXCEPT_INJECT_FLAG`): a data abort, an instruction abort, an
    /// undefined instruction.
    pub const INJECT: u64 = 0b111 << 33;

    /// All registers zero.
    pub const ZERO: Self = Self {
        x: [0; 31],
        pc: 0,
        pstate: 0,
        sys: SysRegs([0; SYS_COUNT]),
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
        esr_el2: 0,
        fp: Fp::ZERO,
        keys: [0; 10],
        timer: VirtualTimer { ctl: 0, cval: 0 },
        vgic: Vgic::RESET,
        unfinished: None,
        run_page: None,
    };

    /// The instruction at `pc` is over, though the CPU has not executed it. No branch led to the next one (D-123).
    pub fn skip_instruction(&mut self) {
        self.pc = self.pc.wrapping_add(4);
        self.pstate &= !Pstate::BTYPE.bits();
    }

    /// AM-75 `get_shadow_ctxt`: the register with the specification's number `index`. What is not accessible by number
    /// reads as 0 (D-44).
    pub fn get_shadow_ctxt(&self, index: usize) -> u64 {
        by_number!(self, index, get).copied().unwrap_or(0)
    }

    /// AM-76 `set_shadow_ctxt`: writes it. What is not accessible by number is left alone.
    pub fn set_shadow_ctxt(&mut self, index: usize, value: u64) {
        if let Some(register) = by_number!(self, index, get_mut, mut) {
            *register = value;
        }
    }
}

/// A shadow context, with its lock. Held by a CPU while it works on the context of a vCPU that does not run; as long as one
/// runs, its state ACTIVE keeps others away (`spec/layers/08-vcpu.md` §8.3).
pub type ContextLock = Lock<ShadowContext, { rank::CONTEXT }>;

/// Number of contexts: one for each CPU of the host, and those of all vCPUs.
pub const CONTEXT_COUNT: usize = MAX_CPUS + (VMID_COUNT - 2) * VCPU_PER_VM;

impl<M: Machine> Corevisor<M> {
    /// Takes the shadow context of vCPU `vcpu` of the VM `v`. The lock of contexts is the outermost of all.
    ///
    /// # Errors
    /// If `v` is no VM.
    pub fn context<'s>(
        &'s self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &'s mut Held<'_, { rank::NONE }>,
    ) -> Result<(Guard<'s, ShadowContext>, Held<'s, { rank::CONTEXT }>), Refused> {
        Ok(self.context_lock(v, vcpu)?.lock(outer))
    }

    /// The same without the lock: whoever takes it from READY to ACTIVE has the context to itself until it goes back.
    ///
    /// # Errors
    /// If `v` is no VM.
    ///
    /// # Safety
    /// This CPU has made the vCPU ACTIVE (BO-2), and gives it up (BO-3) only after the result's end.
    pub(crate) unsafe fn active_context<'s>(
        &'s self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &'s mut Held<'_, { rank::NONE }>,
    ) -> Result<(Owned<'s, ShadowContext>, Held<'s, { rank::CONTEXT }>), Refused> {
        // SAFETY: an ACTIVE vCPU's context is its CPU's: all others that take the lock ask for the state, under VM(v),
        // before they access what it guards, and let nobody make it ACTIVE meanwhile.
        Ok(unsafe { self.context_lock(v, vcpu)?.own(outer) })
    }

    #[inline(always)]
    fn context_lock(&self, v: Vmid, vcpu: VcpuId) -> Result<&ContextLock, Refused> {
        let vm = Vmid::new_vm(v.index() as u64).ok_or(Refused::State(v))?;
        Ok(&self.contexts()[MAX_CPUS + (vm.index() - 1) * VCPU_PER_VM + vcpu.index()])
    }

    /// The shadow context of the host's vCPU that is this CPU, in the course of a switch of worlds.
    pub(crate) fn own_host_context<'s>(
        &'s self,
        outer: &'s mut Held<'_, { rank::NONE }>,
    ) -> (Owned<'s, ShadowContext>, Held<'s, { rank::CONTEXT }>) {
        // SAFETY: no CPU accesses another's, and this one does so here and in `host_context` only, with `outer` lent to one
        // of them at a time.
        unsafe { self.contexts()[self.machine().cpu()].own(outer) }
    }

    /// Takes the shadow context of the host's vCPU that is this CPU.
    pub fn host_context<'s>(
        &'s self,
        outer: &'s mut Held<'_, { rank::NONE }>,
    ) -> (Guard<'s, ShadowContext>, Held<'s, { rank::CONTEXT }>) {
        self.contexts()[self.machine().cpu()].lock(outer)
    }
}
