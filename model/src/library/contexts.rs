// SPDX-License-Identifier: GPL-2.0-only
//! Shadow contexts: the library's fields under the specification's names.

use crate::registers::{FP, GP, Reg, RegisterFile};
use corevisor::vcpu::ShadowContext;

/// The system registers of [`corevisor::vcpu::SysRegs`], in its order.
pub const SYS: [Reg; 24] = [
    "mpidr_el1",
    "csselr_el1",
    "sctlr_el1",
    "actlr_el1",
    "cpacr_el1",
    "ttbr0_el1",
    "ttbr1_el1",
    "tcr_el1",
    "esr_el1",
    "afsr0_el1",
    "afsr1_el1",
    "far_el1",
    "mair_el1",
    "vbar_el1",
    "contextidr_el1",
    "tpidr_el0",
    "tpidrro_el0",
    "tpidr_el1",
    "amair_el1",
    "cntkctl_el1",
    "par_el1",
    "mdscr_el1",
    "mdccint_el1",
    "elr_el2",
];

/// The field of `context` that the specification calls `reg`. None for the halves of an FP register, and for what only
/// the CPU has.
pub fn field<'a>(context: &'a mut ShadowContext, reg: &str) -> Option<&'a mut u64> {
    if let Some(i) = GP.iter().position(|name| *name == reg) {
        return Some(&mut context.x[i]);
    }
    if let Some(i) = SYS.iter().position(|name| *name == reg) {
        return Some(&mut context.sys.0[i]);
    }
    Some(match reg {
        "pc" => &mut context.pc,
        "pstate" => &mut context.pstate,
        "elr_el1" => &mut context.elr_el1,
        "spsr_el1" => &mut context.spsr_el1,
        "sp_el0" => &mut context.sp_el0,
        "sp_el1" => &mut context.sp_el1,
        "far_el2" => &mut context.far_el2,
        "hpfar_el2" => &mut context.hpfar_el2,
        "hcr_el2" => &mut context.hcr_el2,
        "ec" => &mut context.ec,
        "dirty" => &mut context.dirty,
        "flags" => &mut context.flags,
        // One register (D-94): the index of the other name says nothing of its own.
        "spsr_0" => &mut context.spsr_el1,
        "esr_el2" => &mut context.esr_el2,
        "fp_fpsr" => &mut context.fp.fpsr,
        "fp_fpcr" => &mut context.fp.fpcr,
        _ => return None,
    })
}

/// All registers that a context has and [`field`] knows.
const FIELDS: [Reg; 16] = [
    "pc",
    "pstate",
    "elr_el1",
    "spsr_el1",
    "sp_el0",
    "sp_el1",
    "far_el2",
    "hpfar_el2",
    "hcr_el2",
    "ec",
    "dirty",
    "flags",
    "spsr_0",
    "esr_el2",
    "fp_fpsr",
    "fp_fpcr",
];

/// Whether the library's contexts have the specification's register `reg`.
pub fn has(reg: Reg) -> bool {
    GP.contains(&reg) || SYS.contains(&reg) || FIELDS.contains(&reg) || FP.contains(&reg)
}

/// `context` as the specification's.
pub fn of(context: &ShadowContext) -> RegisterFile {
    let mut copy = context.clone();
    let mut registers = RegisterFile::default();
    for reg in GP.into_iter().chain(SYS).chain(FIELDS) {
        if let Some(value) = field(&mut copy, reg) {
            registers.set(reg, *value);
        }
    }
    for (reg, q) in FP[..32].iter().copied().zip(context.fp.q) {
        // The specification's are words.
        registers.set(reg, q as u64);
    }
    registers
}

/// Gives `context` all registers of `model` that it has.
pub fn assign(context: &mut ShadowContext, model: &RegisterFile) {
    for reg in GP.into_iter().chain(SYS).chain(FIELDS) {
        if let Some(slot) = field(context, reg) {
            *slot = model.get(reg);
        }
    }
    // One register in the library.
    context.spsr_el1 = model.get("spsr_el1");
    for (q, reg) in context.fp.q.iter_mut().zip(FP) {
        *q = model.get(reg).into();
    }
}
