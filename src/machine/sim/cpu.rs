// SPDX-License-Identifier: GPL-2.0-only
//! The registers of a simulated CPU, and how they change hands between the host and a VM.

use super::SimMachine;
use crate::addr::{HOSTVISOR, Pa, Vmid};
use crate::machine::{Machine, WorldSwitch};
use crate::trap::Registers;
use crate::vcpu::vgic::{self, LIST_REGISTERS, Vgic, VgicEntry};
use crate::vcpu::{ShadowContext, Sys};
use std::sync::PoisonError;
use std::vec::Vec;

/// What ACTLR_EL1 starts with.
pub const ACTLR_EL1: u64 = 0xAC71;

/// What a switch saves of the system registers: all but MDCCINT_EL1 and ELR_EL2. MPIDR_EL1 is VMPIDR_EL2.
const SAVED: [Sys; 22] = [
    Sys::MpidrEl1,
    Sys::CsselrEl1,
    Sys::SctlrEl1,
    Sys::ActlrEl1,
    Sys::CpacrEl1,
    Sys::Ttbr0El1,
    Sys::Ttbr1El1,
    Sys::TcrEl1,
    Sys::EsrEl1,
    Sys::Afsr0El1,
    Sys::Afsr1El1,
    Sys::FarEl1,
    Sys::MairEl1,
    Sys::VbarEl1,
    Sys::ContextidrEl1,
    Sys::TpidrEl0,
    Sys::TpidrroEl0,
    Sys::TpidrEl1,
    Sys::AmairEl1,
    Sys::CntkctlEl1,
    Sys::ParEl1,
    Sys::MdscrEl1,
];

/// The registers of one CPU but x0 to x30, which are wherever the test keeps them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpu {
    /// EL1's and EL0's registers; `pc` is ELR_EL2, `pstate` is SPSR_EL2, and ESR_EL2, FAR_EL2, HPFAR_EL2 have their names.
    pub registers: ShadowContext,
    /// Whose stage-2 table is in use; `None` until the first switch: the host's.
    pub stage2: Option<(Vmid, Pa)>,
    /// Whether what a VM may not touch is trapped.
    pub traps: bool,
    /// Whether the physical timer is.
    pub timer_traps: bool,
    /// How far the virtual counter is behind the physical one.
    pub cntvoff: u64,
    /// ICH_HCR_EL2 of the interrupt interface. The rest of it is in `registers`, and here:
    pub ich_hcr: u64,
    /// ICH_LR<n>_EL2.
    pub list: [u64; LIST_REGISTERS],
    /// ICH_MISR_EL2.
    pub ich_misr: u64,
    /// The VMs whose vCPUs' leftovers were flushed, in order.
    pub flushes: Vec<Vmid>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self {
            registers: ShadowContext::ZERO,
            stage2: None,
            traps: false,
            timer_traps: false,
            cntvoff: 0,
            ich_hcr: 0,
            list: [0; LIST_REGISTERS],
            ich_misr: 0,
            flushes: Vec::new(),
        }
    }
}

impl SimMachine {
    /// Looks at, or changes, the registers of the CPU that calls this.
    pub fn with_cpu<R>(&self, f: impl FnOnce(&mut Cpu) -> R) -> R {
        let mut cpus = self.cpus.lock().unwrap_or_else(PoisonError::into_inner);
        f(cpus.entry(self.cpu()).or_default())
    }

    /// Copies what AM-104 and AM-105 have in common.
    fn copy_sysregs(to: &mut ShadowContext, from: &ShadowContext) {
        for register in SAVED {
            to.sys[register] = from.sys[register];
        }
        to.sp_el0 = from.sp_el0;
        to.sp_el1 = from.sp_el1;
        to.elr_el1 = from.elr_el1;
        to.spsr_el1 = from.spsr_el1;
        to.pc = from.pc;
        to.pstate = from.pstate;
        to.keys = from.keys;
    }
}

impl WorldSwitch for SimMachine {
    fn exit_populate_fault(&self, context: &mut ShadowContext) {
        self.with_cpu(|cpu| {
            context.esr_el2 = cpu.registers.esr_el2;
            context.far_el2 = cpu.registers.far_el2;
            context.hpfar_el2 = cpu.registers.hpfar_el2;
        });
    }

    fn host_to_core(&self, context: &mut ShadowContext, regs: &Registers) {
        context.x = *regs;
    }

    fn vm_to_core(&self, context: &mut ShadowContext, regs: &Registers) {
        context.x = *regs;
    }

    fn core_to_host(&self, context: &ShadowContext, regs: &mut Registers) {
        *regs = context.x;
    }

    fn core_to_vm(&self, context: &mut ShadowContext, regs: &mut Registers) {
        *regs = context.x;
    }

    fn save_sysregs(&self, context: &mut ShadowContext) {
        self.with_cpu(|cpu| Self::copy_sysregs(context, &cpu.registers));
    }

    fn restore_sysregs(&self, context: &ShadowContext) {
        self.with_cpu(|cpu| Self::copy_sysregs(&mut cpu.registers, context));
    }

    fn fpsimd_save_state(&self, context: &mut ShadowContext) {
        self.with_cpu(|cpu| context.fp = cpu.registers.fp.clone());
    }

    fn fpsimd_restore_state(&self, context: &ShadowContext) {
        self.with_cpu(|cpu| cpu.registers.fp = context.fp.clone());
    }

    /// They are the vCPU's from its entry on.
    fn fpsimd_access(&self, _context: &ShadowContext) {}

    fn activate_traps(&self) {
        self.with_cpu(|cpu| cpu.traps = true);
    }

    fn deactivate_traps(&self) {
        self.with_cpu(|cpu| cpu.traps = false);
    }

    fn timer_enable_traps(&self) {
        self.with_cpu(|cpu| cpu.timer_traps = true);
    }

    fn timer_disable_traps(&self) {
        self.with_cpu(|cpu| cpu.timer_traps = false);
    }

    fn timer_restore_state(&self, context: &ShadowContext, cntvoff: u64) {
        self.with_cpu(|cpu| {
            cpu.registers.timer = context.timer;
            cpu.cntvoff = cntvoff;
        });
    }

    fn timer_save_state(&self, context: &mut ShadowContext) {
        self.with_cpu(|cpu| {
            context.timer = core::mem::take(&mut cpu.registers.timer);
            cpu.cntvoff = 0;
        });
    }

    fn vgic_restore(&self, vgic: &Vgic, entry: &VgicEntry) {
        if self.virtual_interface().list_registers == 0 {
            return;
        }
        self.with_cpu(|cpu| {
            assert_eq!((cpu.ich_hcr, cpu.list, cpu.registers.vgic), Default::default(), "another's interrupts");
            cpu.ich_hcr = vgic::ENABLE | entry.control().bits();
            cpu.list[..entry.list().len()].copy_from_slice(entry.list());
            cpu.registers.vgic = *vgic;
        });
    }

    fn vgic_save(&self, vgic: &mut Vgic, mut show: impl FnMut(usize, u64)) -> u64 {
        let list_registers = self.virtual_interface().list_registers;
        self.with_cpu(|cpu| {
            *vgic = core::mem::take(&mut cpu.registers.vgic);
            let hcr = core::mem::take(&mut cpu.ich_hcr);
            let status = core::mem::take(&mut cpu.ich_misr) | hcr & vgic::EOI_COUNT;
            let list = core::mem::take(&mut cpu.list);
            list.into_iter().take(list_registers).enumerate().for_each(|(n, word)| show(n, word));
            status
        })
    }

    fn core_handle_sys64(&self) {
        self.with_cpu(|cpu| cpu.registers.skip_instruction());
    }

    fn vm_el2_restore_state(&self, v: Vmid, root: Pa) {
        self.with_cpu(|cpu| cpu.stage2 = Some((v, root)));
    }

    fn host_el2_restore_state(&self, root: Pa) {
        self.with_cpu(|cpu| cpu.stage2 = Some((HOSTVISOR, root)));
    }

    fn read_actlr_el1(&self) -> u64 {
        ACTLR_EL1
    }

    fn flush_local(&self, v: Vmid, _root: Pa) {
        self.with_cpu(|cpu| cpu.flushes.push(v));
    }
}
