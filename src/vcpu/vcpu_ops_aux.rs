// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VCPUOpsAux (`spec/layers/08-vcpu.md` §8.1).
//!
//! The caller holds the lock of the context, and the vCPU is ACTIVE on this CPU.

use super::context::{Fp, ShadowContext, Sys, VirtualTimer};
use super::run_page::RunPage;
use super::vgic::Vgic;
use crate::addr::{Ipa, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::WorldSwitch;
use crate::refused::Refused;
use crate::trap::inject::{self, Exception, Interrupted, Pstate};
use crate::trap::{MAX_MMIO_ADDR, SVE_HINT, Syndrome, hpfar_ipa};
use crate::vm::VmFlags;

/// PSTATE of an exception's handler: EL1h, DAIF masked (specification: `PSTATE_FAULT_BITS_64`).
const PSTATE_FAULT_BITS_64: u64 = 0x3C5;
/// SCTLR_EL1 with MMU and caches off: the RES1 bits.
const SCTLR_EL1_RESET: u64 = 0x30D0_0800;
/// What registers hold that have no value after a reset.
const RESET_UNKNOWN: u64 = 0x1DE7_EC7E_DBAD_C0DE;

/// PSCI functions that a VM's HVC may name (Arm DEN0022) and that the host is told more of than the name.
mod psci {
    pub const CPU_ON: u32 = 0x8400_0003;
    pub const CPU_ON_64: u32 = 0xC400_0003;
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    pub const AFFINITY_INFO_64: u32 = 0xC400_0004;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
}

/// Whether a VM that calls `function` asks for a vCPU to be turned on.
pub(super) fn is_cpu_on(function: u64) -> bool {
    matches!(function as u32 & !SVE_HINT, psci::CPU_ON | psci::CPU_ON_64)
}

/// The values after a reset, by name (D-29): `spec/layers/10-abi-flows.md` §10.8 with what it recommends. MPIDR_EL1 and
/// ACTLR_EL1 come on top; ELR_EL2 is none of the VM's.
const RESET: [(Sys, u64); 21] = [
    (Sys::CsselrEl1, 0),
    (Sys::SctlrEl1, SCTLR_EL1_RESET),
    (Sys::CpacrEl1, 0),
    (Sys::Ttbr0El1, RESET_UNKNOWN),
    (Sys::Ttbr1El1, RESET_UNKNOWN),
    (Sys::TcrEl1, 0),
    (Sys::EsrEl1, 0),
    (Sys::Afsr0El1, RESET_UNKNOWN),
    (Sys::Afsr1El1, RESET_UNKNOWN),
    (Sys::FarEl1, 0),
    (Sys::MairEl1, RESET_UNKNOWN),
    (Sys::VbarEl1, 0),
    (Sys::ContextidrEl1, 0),
    (Sys::TpidrEl0, 0),
    (Sys::TpidrroEl0, 0),
    (Sys::TpidrEl1, 0),
    (Sys::AmairEl1, RESET_UNKNOWN),
    (Sys::CntkctlEl1, 0),
    (Sys::ParEl1, RESET_UNKNOWN),
    (Sys::MdscrEl1, 0),
    (Sys::MdccintEl1, 0),
];

/// MPIDR_EL1 of a vCPU: bit 31 is RES1.
fn mpidr(vcpu: VcpuId) -> u64 {
    let c = vcpu.index() as u64;
    0x8000_0000 + (c & 15) + ((c / 16) & 255) * 256 + ((c / 4096) & 255) * 65536
}

/// A PSTATE that the host may start a vCPU with (D-38): AArch64 at EL1 or EL0, DAIF, and nothing else.
fn sanitise(pstate: u64) -> u64 {
    const MODES: [u64; 3] = [0b0101, 0b0100, 0b0000];
    let daif = Pstate::D | Pstate::A | Pstate::I | Pstate::F;
    match pstate & 0b1_1111 {
        mode if MODES.contains(&mode) => mode | pstate & daif.bits(),
        _ => PSTATE_FAULT_BITS_64,
    }
}

/// General and FP registers at a beginning.
fn begin(context: &mut ShadowContext, pc: u64, pstate: u64) {
    context.x = [0; 31];
    context.sp_el0 = 0;
    context.sp_el1 = 0;
    context.elr_el1 = 0;
    context.spsr_el1 = 0;
    context.pstate = pstate;
    context.pc = pc;
    context.fp = Fp::ZERO;
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Spec: VA-1. The registers with which `v` boots, on this vCPU: the general and FP registers as they are at a vCPU's
    /// first entry. The host chooses where it starts, within the VM's images, at which level (D-38), and x0: 0, or within
    /// the images, for a device tree, say (D-110). The others become 0 (AM-83 `clear_shadow_gp_regs`, AM-84
    /// `reset_fp_regs`). Lock VM(v).
    ///
    /// In a shared VM the host chooses so for every vCPU, anywhere, and x1 to x30, too (D-115).
    ///
    /// # Errors
    /// [`Refused::Entry`] if one of them is in none of the images; [`Refused::State`] if `v` has booted (D-111).
    pub(super) fn reset_gp_regs<const OUTER: u8>(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        page: &RunPage<'_, M>,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let pc = self.get_int_pc(page);
        let pstate = sanitise(self.get_int_pstate(page));
        let argument = self.get_int_gpr(page, 0);
        // BO-1, and the decision, in one section.
        let shared = {
            let (mut vm, _) = self.acquire_lock_vm(v, outer);
            vm.begin(v, vcpu, pc, argument)?;
            vm.flags.contains(VmFlags::SHARED)
        };
        begin(context, pc, pstate);
        context.x[0] = argument;
        if shared {
            for (i, register) in context.x.iter_mut().enumerate().skip(1) {
                *register = self.get_int_gpr(page, i);
            }
        }
        Ok(())
    }

    /// The registers of a vCPU that CPU_ON named: where and with what it begins is the VM's word, and none of the host's.
    pub(super) fn begin_as_asked(&self, vcpu: VcpuId, context: &mut ShadowContext, [entry, argument]: [u64; 2]) {
        *context = ShadowContext::ZERO;
        begin(context, entry, PSTATE_FAULT_BITS_64);
        context.x[0] = argument;
        self.reset_sys_regs(vcpu, context);
    }

    /// Spec: VA-2. The system registers as they are at a vCPU's first entry (AM-20 `get_sys_reg_desc_val`).
    pub(super) fn reset_sys_regs(&self, vcpu: VcpuId, context: &mut ShadowContext) {
        context.sys[Sys::MpidrEl1] = mpidr(vcpu);
        context.sys[Sys::ActlrEl1] = self.machine().read_actlr_el1();
        for (register, value) in RESET {
            context.sys[register] = value;
        }
        context.timer = VirtualTimer::default();
        context.vgic = Vgic::RESET;
    }

    /// Spec: VA-3. The general registers that the last exit lets the host change get the host's values (D-30).
    #[inline(always)]
    pub(super) fn sync_dirty_to_shadow(&self, page: &RunPage<'_, M>, context: &mut ShadowContext) {
        let mut left = context.dirty & (u64::MAX >> (64 - context.x.len()));
        while let Some(register) = context.x.get_mut(left.trailing_zeros() as usize) {
            *register = self.get_int_gpr(page, left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }

    /// Spec: VA-4. The vCPU has nothing to do: the host may let it wait, and the instruction is over.
    pub(super) fn prep_wfx(&self, page: &RunPage<'_, M>, context: &mut ShadowContext) {
        /// ISS.TI: WFI or WFE.
        const TI: u64 = 0b11;
        context.dirty = ShadowContext::DIRTY_PC;
        self.set_int_exit(page, [context.esr_el2 & (Syndrome::CLASS | Syndrome::IL | TI), 0, 0]);
    }

    /// Spec: VA-5. A call to the host: it sees the registers that the PSCI function in x0 has arguments in, and may change
    /// x0, whatever the function (D-33). SYSTEM_OFF powers `v` off (VP-1). Lock VM(v).
    pub(super) fn prep_hvc<const OUTER: u8>(
        &self,
        v: Vmid,
        page: &RunPage<'_, M>,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) {
        const IMMEDIATE: u64 = 0xFFFF;
        context.dirty = 1;
        let shown = match context.x[0] as u32 & !SVE_HINT {
            psci::CPU_ON | psci::CPU_ON_64 => 0..=3,
            psci::AFFINITY_INFO | psci::AFFINITY_INFO_64 => 0..=2,
            psci::SYSTEM_OFF => {
                self.set_vm_poweroff(v, outer);
                0..=0
            }
            _ => 0..=0,
        };
        for register in shown {
            self.set_int_gpr(page, register, context.x[register]);
        }
        self.set_int_exit(page, [context.esr_el2 & (Syndrome::CLASS | Syndrome::IL | IMMEDIATE), 0, 0]);
    }

    /// Spec: VA-6. A stage-2 abort. An access to a device goes to the host, which sees what is stored, or may say what is
    /// loaded (D-31); of which register, the trusted syndrome tells, or nobody (D-32: the host is not asked, as AM-78
    /// `get_int_esr` does). For memory the host may offer a page (D-37). In a shared VM the host decides which of both it is,
    /// as its devices may be anywhere (D-134). Lock VM(v).
    pub(super) fn prep_abort<const OUTER: u8>(
        &self,
        v: Vmid,
        page: &RunPage<'_, M>,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) {
        let syndrome = Syndrome(context.esr_el2);
        let ipa = if syndrome.has_ipa() { hpfar_ipa(context.hpfar_el2) } else { None };
        let hpfar = ipa.map_or(0, |_| context.hpfar_el2);
        let described = syndrome.0 & Syndrome::ISV != 0;
        let memory = ipa.is_some_and(|ipa| ipa.as_u64() >= MAX_MMIO_ADDR) && syndrome.is_translation_fault();
        if memory {
            context.flags |= ShadowContext::PENDING_FAULT;
        }
        let device = ipa.is_some_and(|ipa| ipa.as_u64() < MAX_MMIO_ADDR);
        if described && (device || memory && self.is_shared(v, outer)) {
            self.prep_device_access(page, context, syndrome, hpfar);
        } else {
            self.set_int_exit(page, [syndrome.0 & Syndrome::FAULT, hpfar, 0]);
        }
    }

    fn is_shared<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> bool {
        self.acquire_lock_vm(v, outer).0.flags.contains(VmFlags::SHARED)
    }

    fn prep_device_access(&self, page: &RunPage<'_, M>, context: &mut ShadowContext, syndrome: Syndrome, hpfar: u64) {
        const OFFSET: u64 = 0xFFF;
        let register = syndrome.register();
        context.dirty = ShadowContext::DIRTY_PC;
        if syndrome.0 & (Syndrome::WNR | Syndrome::S1PTW) == 0 {
            context.dirty |= 1 << register;
        } else {
            let value = context.x.get(register).map_or(0, |value| value & syndrome.access_mask());
            self.set_int_gpr(page, register, value);
        }
        // Without ISS2, which tells of instructions that access more than a register.
        self.set_int_exit(page, [syndrome.0 & 0xFFFF_FFFF, hpfar, context.far_el2 & OFFSET]);
    }

    /// Spec: VA-7. The vCPU takes `exception` where it is, as the hardware would take it (D-121). What the exception says
    /// of the access is the trusted syndrome's.
    pub(crate) fn update_exception_gp_regs(&self, context: &mut ShadowContext, exception: Exception) {
        let from = Interrupted {
            pc: context.pc,
            pstate: context.pstate,
            vbar: context.sys[Sys::VbarEl1],
            sctlr: context.sys[Sys::SctlrEl1],
            features: self.machine().pstate_features(),
        };
        let trap = Syndrome(context.esr_el2);
        let entry = match exception {
            Exception::Undefined => inject::undefined(&from, trap),
            Exception::ExternalAbort => {
                context.sys[Sys::FarEl1] = context.far_el2;
                inject::external_abort(&from, trap)
            }
        };
        context.pc = entry.pc;
        context.pstate = entry.pstate;
        context.elr_el1 = entry.elr;
        context.spsr_el1 = entry.spsr;
        context.sys[Sys::EsrEl1] = entry.esr;
    }

    /// A write to a register that makes SGIs, by which the vCPU asks the host for an interrupt of other vCPUs (D-120): the
    /// host sees which register it is and what is written, the value of `register`, and the instruction is over.
    pub(super) fn prep_sgi(&self, page: &RunPage<'_, M>, context: &mut ShadowContext, register: usize) {
        context.dirty = ShadowContext::DIRTY_PC;
        if let Some(&value) = context.x.get(register) {
            self.set_int_gpr(page, register, value);
        }
        self.set_int_exit(page, [context.esr_el2 & 0xFFFF_FFFF, 0, 0]);
    }

    /// Spec: VA-8. Maps the page that the host offers for `ipa`, where `v` stumbled. Locks of MO-2.
    ///
    /// # Errors
    /// Those of MO-2.
    pub(super) fn post_handle_shadow_s2pt_fault<const OUTER: u8>(
        &self,
        v: Vmid,
        page: &RunPage<'_, M>,
        ipa: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let pa = self.get_int_new_pte(page);
        let level = self.get_int_new_level(page);
        let ipa = ipa.align_down(level.size());
        self.prot_and_map_vm_s2pt(v, ipa, pa, level, outer)
    }
}
