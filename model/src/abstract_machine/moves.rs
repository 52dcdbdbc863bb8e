// SPDX-License-Identifier: GPL-2.0-only
//! Register moves between hardware and the current shadow context.

use crate::Spec;
use crate::constants::model_only::{
    ARMV8_PMU_USERENR_MASK, CNTHCTL_EL1PCEN, CNTHCTL_EL1PCTEN, CPTR_EL2_DEFAULT, CPTR_VM, HCR_HOST_NVHE_FLAGS,
    HCR_HYPSEC_VM_FLAGS, HYPSEC_MDCR_EL2_FLAG,
};
use crate::constants::{HOSTVISOR, is_vm, pt_vttbr};
use crate::rdata::RData;
use crate::registers::{FAULT, FP, GP, Group, Reg, RegisterFile, SWITCHED, group};

/// The current shadow context, to be changed, and the CPU's registers.
fn to_core(d: &mut RData, change: impl FnOnce(&mut RegisterFile, &RegisterFile)) -> Spec {
    if !d.halt {
        let regs = d.regs.clone();
        change(d.ctxt(d.cur_vmid, d.cur_vcpuid), &regs);
    }
    Some(())
}

/// The CPU's registers, to be changed, and the current shadow context.
fn from_core(d: &mut RData, change: impl FnOnce(&mut RegisterFile, &RegisterFile)) -> Spec {
    if !d.halt {
        let ctxt = d.ctxt(d.cur_vmid, d.cur_vcpuid).clone();
        change(&mut d.regs, &ctxt);
    }
    Some(())
}

/// Changes the CPU's registers.
fn on_cpu(d: &mut RData, change: impl FnOnce(&mut RegisterFile)) -> Spec {
    if !d.halt {
        change(&mut d.regs);
    }
    Some(())
}

/// Spec: AM-99.
pub fn host_to_core(d: &mut RData) -> Spec {
    to_core(d, |ctxt, regs| ctxt.copy(regs, &GP))
}

/// Spec: AM-100.
pub fn vm_to_core(d: &mut RData) -> Spec {
    to_core(d, |ctxt, regs| ctxt.copy(regs, &GP))
}

/// Spec: AM-101.
pub fn core_to_host(d: &mut RData) -> Spec {
    from_core(d, |regs, ctxt| regs.copy(ctxt, &GP))
}

/// Spec: AM-102. D-40: the operands are swapped: x0 to x30 keep the CPU's values, and all other registers of the record
/// are overwritten by the context's.
pub fn core_to_vm(d: &mut RData) -> Spec {
    d.tag(40);
    from_core(d, |regs, ctxt| {
        let others: Vec<Reg> = regs
            .nonzero()
            .chain(ctxt.nonzero())
            .map(|(reg, _)| reg)
            .filter(|reg| group(reg) == Group::Regs && !GP.contains(reg))
            .collect();
        regs.copy(ctxt, &others);
    })
}

/// Spec: AM-103.
pub fn exit_populate_fault(d: &mut RData) -> Spec {
    to_core(d, |ctxt, regs| ctxt.copy(regs, &FAULT))
}

/// Spec: AM-104. D-39: PC, PSTATE and ESR_EL1 are not among them.
pub fn save_sysregs(d: &mut RData) -> Spec {
    if is_vm(d.cur_vmid) {
        d.tag(39);
    }
    to_core(d, |ctxt, regs| {
        ctxt.copy(regs, &SWITCHED);
        ctxt.set("mpidr_el1", regs.get("vmpidr_el2"));
    })
}

/// Spec: AM-105. D-39: ESR_EL1 is not among them.
pub fn restore_sysregs(d: &mut RData) -> Spec {
    from_core(d, |regs, ctxt| {
        regs.copy(ctxt, &SWITCHED);
        regs.copy(ctxt, &FAULT);
        regs.set("spsr_el2", ctxt.get("pstate"));
        regs.set("elr_el2", ctxt.get("pc"));
        regs.set("vmpidr_el2", ctxt.get("mpidr_el1"));
        regs.set("mpidr_el1", ctxt.get("mpidr_el1"));
    })
}

/// Spec: AM-106.
pub fn fpsimd_save_state(d: &mut RData) -> Spec {
    to_core(d, |ctxt, regs| ctxt.copy(regs, &FP))
}

/// Spec: AM-107.
pub fn fpsimd_restore_state(d: &mut RData) -> Spec {
    from_core(d, |regs, ctxt| regs.copy(ctxt, &FP))
}

/// Spec: AM-108.
pub fn activate_traps(d: &mut RData) -> Spec {
    on_cpu(d, |regs| {
        regs.set("pmselr_el0", 0);
        regs.set("pmuserenr_el0", ARMV8_PMU_USERENR_MASK);
        regs.set("mdcr_el2", HYPSEC_MDCR_EL2_FLAG);
        regs.set("cptr_el2", CPTR_VM);
    })
}

/// Spec: AM-109.
pub fn deactivate_traps(d: &mut RData) -> Spec {
    on_cpu(d, |regs| {
        regs.set("pmuserenr_el0", 0);
        regs.set("mdcr_el2", 0);
        regs.set("cptr_el2", CPTR_EL2_DEFAULT);
    })
}

/// Spec: AM-110. D-42: arithmetic on the tokens.
pub fn timer_enable_traps(d: &mut RData) -> Spec {
    d.tag(42);
    on_cpu(d, |regs| {
        let cnthctl = regs.get("cnthctl_el2");
        regs.set("cnthctl_el2", cnthctl.wrapping_sub(CNTHCTL_EL1PCEN).wrapping_add(CNTHCTL_EL1PCTEN));
    })
}

/// Stores ELR_EL2 + 4 where the specification stores it, in ESR_EL2 (D-41).
pub(super) fn skip(regs: &mut RegisterFile) {
    regs.set("esr_el2", regs.get("elr_el2").wrapping_add(4));
}

/// Spec: AM-111. D-41: the sum goes to ESR_EL2.
pub fn core_handle_sys64(d: &mut RData) -> Spec {
    d.tag(41);
    on_cpu(d, skip)
}

/// Spec: AM-112. No state of the model.
pub fn timer_set_cntvoff(_d: &mut RData) -> Spec {
    Some(())
}

/// Spec: AM-113.
pub fn vm_el2_restore_state(d: &mut RData) -> Spec {
    let vmid = d.cur_vmid;
    from_core(d, |regs, ctxt| {
        regs.set("vttbr_el2", pt_vttbr(vmid));
        regs.set("tpidr_el2", ctxt.get("tpidr_el2"));
        regs.set("hcr_el2", HCR_HYPSEC_VM_FLAGS);
    })
}

/// Spec: AM-114.
pub fn host_el2_restore_state(d: &mut RData) -> Spec {
    on_cpu(d, |regs| {
        regs.set("vttbr_el2", pt_vttbr(HOSTVISOR));
        regs.set("hcr_el2", HCR_HOST_NVHE_FLAGS);
        regs.set("tpidr_el2", 0);
    })
}
