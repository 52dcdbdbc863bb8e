// SPDX-License-Identifier: GPL-2.0-only
//! A CPU's EL1 registers change hands between the host and a VM (`spec/layers/01-machine.md` §1.8).

use super::machine::Hardware;
use super::{fpsimd, percpu, vm_traps};
use crate::addr::{HOSTVISOR, Pa, Vmid};
use crate::machine::WorldSwitch;
use crate::trap::Registers;
use crate::trap::inject::Pstate;
use crate::vcpu::vgic::{Vgic, VgicEntry};
use crate::vcpu::{ShadowContext, Sys, VirtualTimer};
use crate::{read_sysreg, read_sysregs, write_el1_sysreg, write_el1_sysregs, write_sysreg};
use aarch64_cpu::asm::barrier;

/// TCR_EL1.EPD0, EPD1: no walks.
const WALKS_OFF: u64 = (1 << 7) | (1 << 23);
/// CNTHCTL_EL2.EL1PCTEN: the physical counter is EL1's.
const EL1PCTEN: u64 = 1 << 0;
/// CNTHCTL_EL2.EL1PCEN: so is the physical timer.
const EL1PCEN: u64 = 1 << 1;

/// Calls a macro with the system registers of a context that are the same register at EL1, but for SCTLR_EL1 and TCR_EL1: in
/// pairs that are neighbours in memory, which take three instructions and not four.
macro_rules! for_each_pair {
    ($do:ident) => {
        $do!(
            CpacrEl1 "cpacr_el1" Ttbr0El1 "ttbr0_el1", EsrEl1 "esr_el1" Afsr0El1 "afsr0_el1",
            Afsr1El1 "afsr1_el1" FarEl1 "far_el1", MairEl1 "mair_el1" VbarEl1 "vbar_el1",
            ContextidrEl1 "contextidr_el1" TpidrEl0 "tpidr_el0", TpidrroEl0 "tpidrro_el0" TpidrEl1 "tpidr_el1",
            AmairEl1 "amair_el1" CntkctlEl1 "cntkctl_el1", ParEl1 "par_el1" MdscrEl1 "mdscr_el1",
            MpidrEl1 "vmpidr_el2" CsselrEl1 "csselr_el1"
        )
    };
}

/// The same with the pointer authentication keys (Arm ARM D24.2: APIAKeyLo_EL1 and the others).
macro_rules! for_each_key {
    ($do:ident) => {
        $do!(
            0 "S3_0_C2_C1_0" 1 "S3_0_C2_C1_1", 2 "S3_0_C2_C1_2" 3 "S3_0_C2_C1_3", 4 "S3_0_C2_C2_0" 5 "S3_0_C2_C2_1",
            6 "S3_0_C2_C2_2" 7 "S3_0_C2_C2_3", 8 "S3_0_C2_C3_0" 9 "S3_0_C2_C3_1"
        )
    };
}

/// Points stage 2 at the table of `v`. Some CPUs walk for EL1 ahead of time even while EL2 runs (Arm errata 1165522,
/// 1319367, 1319537, 1530923): from here until the registers of who is next are complete, stage 1 walks are off.
fn switch_stage2(v: Vmid, root: Pa) {
    // SAFETY: EL1 does not run; it comes back with `restore_sysregs`.
    unsafe {
        write_sysreg!("tcr_el1", read_sysreg!("tcr_el1") | WALKS_OFF);
        barrier::isb(barrier::SY);
        write_sysreg!("vttbr_el2", root.as_u64() | (v.index() as u64) << 48);
        barrier::isb(barrier::SY);
    }
}

impl WorldSwitch for Hardware {
    fn exit_populate_fault(&self, context: &mut ShadowContext) {
        context.esr_el2 = read_sysreg!("esr_el2");
        context.far_el2 = read_sysreg!("far_el2");
        context.hpfar_el2 = read_sysreg!("hpfar_el2");
    }

    /// The vectors have left them there.
    #[inline(always)]
    fn host_to_core(&self, _context: &mut ShadowContext, _regs: &Registers) {}

    #[inline(always)]
    fn vm_to_core(&self, _context: &mut ShadowContext, _regs: &Registers) {}

    #[inline(always)]
    fn core_to_host(&self, _context: &ShadowContext, _regs: &mut Registers) {
        percpu::run_host();
    }

    #[inline(always)]
    fn core_to_vm(&self, context: &mut ShadowContext, _regs: &mut Registers) {
        percpu::run_vcpu(&mut context.x);
    }

    #[inline(always)]
    fn save_sysregs(&self, context: &mut ShadowContext) {
        macro_rules! save {
            ($($first:ident $first_name:literal $second:ident $second_name:literal),*) => {
                $([context.sys[Sys::$first], context.sys[Sys::$second]] = read_sysregs!($first_name, $second_name);)*
            };
        }
        macro_rules! save_keys {
            ($($first:literal $first_name:literal $second:literal $second_name:literal),*) => {
                $([context.keys[$first], context.keys[$second]] = read_sysregs!($first_name, $second_name);)*
            };
        }
        for_each_pair!(save);
        if vm_traps::has_pointer_authentication() {
            for_each_key!(save_keys);
        }
        context.sys[Sys::SctlrEl1] = read_sysreg!("sctlr_el1");
        context.sys[Sys::Ttbr1El1] = read_sysreg!("ttbr1_el1");
        context.sys[Sys::TcrEl1] = read_sysreg!("tcr_el1");
        [context.sp_el0, context.sp_el1] = read_sysregs!("sp_el0", "sp_el1");
        [context.elr_el1, context.spsr_el1] = read_sysregs!("elr_el1", "spsr_el1");
        [context.pc, context.pstate] = read_sysregs!("elr_el2", "spsr_el2");
    }

    #[inline(always)]
    fn restore_sysregs(&self, context: &ShadowContext) {
        macro_rules! restore {
            ($($first:ident $first_name:literal $second:ident $second_name:literal),*) => {
                $(write_el1_sysregs!(
                    $first_name, context.sys[Sys::$first], $second_name, context.sys[Sys::$second]
                );)*
            };
        }
        macro_rules! restore_keys {
            ($($first:literal $first_name:literal $second:literal $second_name:literal),*) => {
                $(write_el1_sysregs!($first_name, context.keys[$first], $second_name, context.keys[$second]);)*
            };
        }
        // SAFETY: registers of EL1 and EL0, which do not run until they are complete, and those that ERET uses.
        unsafe {
            for_each_pair!(restore);
            if vm_traps::has_pointer_authentication() {
                for_each_key!(restore_keys);
            }
            write_el1_sysreg!("sctlr_el1", context.sys[Sys::SctlrEl1]);
            write_el1_sysregs!("sp_el0", context.sp_el0, "sp_el1", context.sp_el1);
            write_el1_sysregs!("elr_el1", context.elr_el1, "spsr_el1", context.spsr_el1);
            write_el1_sysregs!("elr_el2", context.pc, "spsr_el2", context.pstate);
            write_el1_sysreg!("ttbr1_el1", context.sys[Sys::Ttbr1El1]);
            barrier::isb(barrier::SY);
            write_sysreg!("tcr_el1", context.sys[Sys::TcrEl1]);
        }
    }

    fn fpsimd_save_state(&self, context: &mut ShadowContext) {
        fpsimd::save(&mut context.fp);
    }

    fn fpsimd_restore_state(&self, _context: &ShadowContext) {
        fpsimd::restore(read_sysreg!("vttbr_el2") >> 48 != HOSTVISOR.index() as u64);
    }

    fn fpsimd_access(&self, context: &ShadowContext) {
        fpsimd::access(&context.fp);
    }

    fn activate_traps(&self) {
        vm_traps::activate();
    }

    fn deactivate_traps(&self) {
        vm_traps::deactivate();
    }

    fn timer_enable_traps(&self) {
        // SAFETY: what EL1 can reach of the timers.
        unsafe { write_sysreg!("cnthctl_el2", EL1PCTEN) };
    }

    fn timer_disable_traps(&self) {
        // SAFETY: as above.
        unsafe { write_sysreg!("cnthctl_el2", EL1PCTEN | EL1PCEN) };
    }

    fn timer_restore_state(&self, context: &ShadowContext, cntvoff: u64) {
        // SAFETY: EL1's virtual time.
        unsafe {
            write_sysreg!("cntvoff_el2", cntvoff);
            write_sysreg!("cntv_cval_el0", context.timer.cval);
            barrier::isb(barrier::SY);
            write_sysreg!("cntv_ctl_el0", context.timer.ctl);
        }
    }

    fn timer_save_state(&self, context: &mut ShadowContext) {
        context.timer = VirtualTimer { ctl: read_sysreg!("cntv_ctl_el0"), cval: read_sysreg!("cntv_cval_el0") };
        // SAFETY: as above.
        unsafe {
            write_sysreg!("cntv_ctl_el0", 0);
            write_sysreg!("cntv_cval_el0", 0);
            write_sysreg!("cntvoff_el2", 0);
        }
    }

    fn vgic_restore(&self, vgic: &Vgic, entry: &VgicEntry) {
        self.vgic.restore(vgic, entry);
    }

    fn vgic_save(&self, vgic: &mut Vgic, show: impl FnMut(usize, u64)) -> u64 {
        self.vgic.save(vgic, show)
    }

    fn core_handle_sys64(&self) {
        // SAFETY: used by the next ERET only.
        unsafe {
            write_sysreg!("elr_el2", read_sysreg!("elr_el2").wrapping_add(4));
            write_sysreg!("spsr_el2", read_sysreg!("spsr_el2") & !Pstate::BTYPE.bits());
        }
    }

    fn vm_el2_restore_state(&self, v: Vmid, root: Pa) {
        switch_stage2(v, root);
    }

    fn host_el2_restore_state(&self, root: Pa) {
        switch_stage2(HOSTVISOR, root);
    }

    fn read_actlr_el1(&self) -> u64 {
        read_sysreg!("actlr_el1")
    }

    fn flush_local(&self, _v: Vmid, _root: Pa) {
        // SAFETY: of the VM that VTTBR_EL2 names since `vm_el2_restore_state`; no data changes.
        unsafe {
            core::arch::asm!(
                "tlbi vmalle1",
                "dsb nsh",
                "ic iallu",
                "dsb nsh",
                "isb",
                options(nostack, preserves_flags)
            );
        }
    }
}
