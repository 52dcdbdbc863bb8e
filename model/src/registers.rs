// SPDX-License-Identifier: GPL-2.0-only
//! Registers by name, and the shadow context's numbering of them.

use std::collections::BTreeMap;

/// A register of the machine or of a shadow context, by the vectors' name in lower case.
pub type Reg = &'static str;

/// The three records that the specification splits a register file into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// General, floating-point and system registers.
    Regs,
    /// Trap configuration.
    Trap,
    /// The shadow context's control block.
    States,
}

impl Group {
    /// The vectors' name of the group.
    pub fn name(self) -> &'static str {
        match self {
            Group::Regs => "regs",
            Group::Trap => "trap",
            Group::States => "states",
        }
    }
}

/// x0 to x30.
pub const GP: [Reg; 31] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
];

/// Floating-point registers.
pub const FP: [Reg; 34] = [
    "fp_q0", "fp_q1", "fp_q2", "fp_q3", "fp_q4", "fp_q5", "fp_q6", "fp_q7", "fp_q8", "fp_q9", "fp_q10", "fp_q11",
    "fp_q12", "fp_q13", "fp_q14", "fp_q15", "fp_q16", "fp_q17", "fp_q18", "fp_q19", "fp_q20", "fp_q21", "fp_q22",
    "fp_q23", "fp_q24", "fp_q25", "fp_q26", "fp_q27", "fp_q28", "fp_q29", "fp_q30", "fp_q31", "fp_fpsr", "fp_fpcr",
];

/// System registers that a switch between host and VM moves under one name. Without `ESR_EL1` (D-39).
pub const SWITCHED: [Reg; 24] = [
    "csselr_el1",
    "sctlr_el1",
    "cpacr_el1",
    "ttbr0_el1",
    "ttbr1_el1",
    "tcr_el1",
    "afsr0_el1",
    "afsr1_el1",
    "far_el1",
    "mair_el1",
    "vbar_el1",
    "contextidr_el1",
    "amair_el1",
    "cntkctl_el1",
    "par_el1",
    "tpidr_el1",
    "spsr_el1",
    "mdscr_el1",
    "sp_el0",
    "tpidr_el0",
    "tpidrro_el0",
    "actlr_el1",
    "sp_el1",
    "elr_el1",
];

/// Fault registers, copied on an exit.
pub const FAULT: [Reg; 4] = ["esr_el2", "ec", "far_el2", "hpfar_el2"];

/// All other registers of the first group.
const OTHER: [Reg; 9] =
    ["mpidr_el1", "vmpidr_el2", "mdccint_el1", "elr_el2", "spsr_el2", "hcr_el2", "vttbr_el2", "tpidr_el2", "mpidr"];

/// Trap configuration.
const TRAP: [Reg; 5] = ["cnthctl_el2", "cptr_el2", "mdcr_el2", "pmuserenr_el0", "pmselr_el0"];

/// The control block.
const STATES: [Reg; 6] = ["pc", "pstate", "dirty", "flags", "esr_el1", "spsr_0"];

/// The register called `name`.
pub fn by_name(name: &str) -> Option<Reg> {
    let all = [&GP[..], &FP, &SWITCHED, &FAULT, &OTHER, &TRAP, &STATES];
    all.into_iter().flatten().copied().find(|r| *r == name)
}

/// The record that holds `reg`.
pub fn group(reg: Reg) -> Group {
    if TRAP.contains(&reg) {
        Group::Trap
    } else if STATES.contains(&reg) {
        Group::States
    } else {
        Group::Regs
    }
}

/// Index of the PC.
pub const PC: u32 = 32;
/// Index of PSTATE.
pub const PSTATE: u32 = 33;
/// Index of ELR_EL1.
pub const ELR_EL1: u32 = 35;
/// Index of FAR_EL2.
pub const FAR_EL2: u32 = 41;
/// Index of HPFAR_EL2.
pub const HPFAR_EL2: u32 = 42;
/// Index of the exception code of the last exit.
pub const EC: u32 = 44;
/// Index of the dirty word.
pub const DIRTY: u32 = 45;
/// Index of MPIDR_EL1.
pub const MPIDR_EL1: u32 = 47;
/// Index of ACTLR_EL1.
pub const ACTLR_EL1: u32 = 50;
/// Index of ESR_EL1.
pub const ESR_EL1: u32 = 55;
/// Index of the first SPSR slot.
pub const SPSR_0: u32 = 71;
/// Index of ESR_EL2.
pub const ESR_EL2: u32 = 72;

/// The register with index `index`. SP, SP_EL1 and the banked SPSRs have none (D-44).
pub fn by_index(index: u32) -> Option<Reg> {
    Some(match index {
        0..=30 => GP[index as usize],
        PC => "pc",
        PSTATE => "pstate",
        ELR_EL1 => "elr_el1",
        36 => "spsr_el1",
        FAR_EL2 => "far_el2",
        HPFAR_EL2 => "hpfar_el2",
        43 => "hcr_el2",
        EC => "ec",
        DIRTY => "dirty",
        46 => "flags",
        MPIDR_EL1 => "mpidr_el1",
        48 => "csselr_el1",
        49 => "sctlr_el1",
        ACTLR_EL1 => "actlr_el1",
        51 => "cpacr_el1",
        52 => "ttbr0_el1",
        53 => "ttbr1_el1",
        54 => "tcr_el1",
        ESR_EL1 => "esr_el1",
        56 => "afsr0_el1",
        57 => "afsr1_el1",
        58 => "far_el1",
        59 => "mair_el1",
        60 => "vbar_el1",
        61 => "contextidr_el1",
        62 => "tpidr_el0",
        63 => "tpidrro_el0",
        64 => "tpidr_el1",
        65 => "amair_el1",
        66 => "cntkctl_el1",
        67 => "par_el1",
        68 => "mdscr_el1",
        70 => "elr_el2",
        SPSR_0 => "spsr_0",
        ESR_EL2 => "esr_el2",
        _ => return None,
    })
}

/// A register file: all registers are 0 unless set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterFile(BTreeMap<Reg, u64>);

impl RegisterFile {
    /// Value of `reg`.
    pub fn get(&self, reg: Reg) -> u64 {
        self.0.get(reg).copied().unwrap_or(0)
    }

    /// Sets `reg`.
    pub fn set(&mut self, reg: Reg, value: u64) {
        if value == 0 {
            self.0.remove(reg);
        } else {
            self.0.insert(reg, value);
        }
    }

    /// Copies `regs` from `other`.
    pub fn copy(&mut self, other: &RegisterFile, regs: &[Reg]) {
        for &reg in regs {
            self.set(reg, other.get(reg));
        }
    }

    /// All registers that are not 0.
    pub fn nonzero(&self) -> impl Iterator<Item = (Reg, u64)> + '_ {
        self.0.iter().map(|(&reg, &value)| (reg, value))
    }
}
