// SPDX-License-Identifier: GPL-2.0-only
//! What a switch between the host and a VM asks of the hardware (`spec/layers/01-machine.md` §1.8).

use super::CpuFeatures;
use crate::addr::{Pa, Vmid};
use crate::trap::Registers;
use crate::vcpu::ShadowContext;
use crate::vcpu::vgic::{Vgic, VgicEntry};

/// A machine that can run VMs. All methods act on the CPU that calls them.
pub trait WorldSwitch: CpuFeatures {
    /// AM-103 `exit_populate_fault`: ESR_EL2, FAR_EL2 and HPFAR_EL2 go to the context. What kind of exit it was, `ec`,
    /// the vectors tell.
    fn exit_populate_fault(&self, context: &mut ShadowContext);

    /// AM-99 `host_to_core`: x0 to x30 of the host, which is not to go on, are kept. They are in `regs`. A machine on which they
    /// can stay there does nothing; any other has the registers of who runs in `regs`, whoever it is.
    fn host_to_core(&self, context: &mut ShadowContext, regs: &Registers);

    /// AM-100 `vm_to_core`: those of the vCPU that stopped are in its context from here on.
    fn vm_to_core(&self, context: &mut ShadowContext, regs: &Registers);

    /// AM-101 `core_to_host`: the host goes on with those that [`Self::host_to_core`] has kept.
    fn core_to_host(&self, context: &ShadowContext, regs: &mut Registers);

    /// AM-102 `core_to_vm`: the vCPU goes on with those in its context, which nobody else accesses until it stops.
    fn core_to_vm(&self, context: &mut ShadowContext, regs: &mut Registers);

    /// AM-104 `save_sysregs`: the system registers, SP_EL0, SP_EL1, ELR_EL1 and SPSR_EL1 go to the context; and what the
    /// published list lacks (D-39): ELR_EL2 as `pc`, SPSR_EL2 as `pstate`, ESR_EL1, and the pointer authentication keys.
    fn save_sysregs(&self, context: &mut ShadowContext);

    /// AM-105 `restore_sysregs`: the same back. VMPIDR_EL2 is the context's MPIDR_EL1.
    fn restore_sysregs(&self, context: &ShadowContext);

    /// AM-106 `fpsimd_save_state`. A machine may leave the host's registers where they are until a vCPU asks for its own
    /// ([`Self::fpsimd_access`]); those of a vCPU that did are in its context afterwards.
    fn fpsimd_save_state(&self, context: &mut ShadowContext);

    /// AM-107 `fpsimd_restore_state`. The same.
    fn fpsimd_restore_state(&self, context: &ShadowContext);

    /// The vCPU that runs here has touched FP or SIMD registers, which are not its own yet: they become those in
    /// `context`, and the host's are kept.
    fn fpsimd_access(&self, context: &ShadowContext);

    /// AM-108 `activate_traps`: what a VM may not touch is trapped from now on.
    fn activate_traps(&self);

    /// AM-109 `deactivate_traps`: the host may touch it again.
    fn deactivate_traps(&self);

    /// AM-110 `timer_enable_traps`: the physical timer is not for the VM (D-42).
    fn timer_enable_traps(&self);

    /// The physical timer is the host's again (D-42).
    fn timer_disable_traps(&self);

    /// The virtual timer and counter are the vCPU's from now on: what `context` says, `cntvoff` behind the physical one.
    fn timer_restore_state(&self, context: &ShadowContext, cntvoff: u64);

    /// Stops the virtual timer, whose state goes to the context. The virtual counter is the host's, with offset 0.
    fn timer_save_state(&self, context: &mut ShadowContext);

    /// The interrupt interface becomes the vCPU's whose state is `vgic`, with the interrupts of `entry`, and on.
    fn vgic_restore(&self, vgic: &Vgic, entry: &VgicEntry);

    /// Its state goes to `vgic`, each list register, by its number, to `show`, and the interface is off. Returns ICH_MISR_EL2,
    /// and [`crate::vcpu::vgic::EOI_COUNT`] of ICH_HCR_EL2.
    fn vgic_save(&self, vgic: &mut Vgic, show: impl FnMut(usize, u64)) -> u64;

    /// AM-111 `core_handle_sys64`: ELR_EL2 moves past the trapped instruction (D-41), to which no branch has led
    /// (PSTATE.BTYPE is 0: D-123).
    fn core_handle_sys64(&self);

    /// AM-113 `vm_el2_restore_state`: `v` runs next, with the stage-2 table at `root`.
    fn vm_el2_restore_state(&self, v: Vmid, root: Pa);

    /// AM-114 `host_el2_restore_state`: the host runs next, with the stage-2 table at `root`.
    fn host_el2_restore_state(&self, root: Pa);

    /// AM-135 `read_actlr_el1`: what ACTLR_EL1 starts with.
    fn read_actlr_el1(&self) -> u64;

    /// Another vCPU of `v` ran on this CPU before: its stage-1 translations and instructions, cached here under the same
    /// ids, end (`spec/layers/12-wdrf.md` §12.8).
    fn flush_local(&self, v: Vmid, root: Pa);
}
