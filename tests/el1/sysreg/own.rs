// SPDX-License-Identifier: GPL-2.0-only
//! What the host can use: ACTLR_EL1 as Corevisor answers for it, and registers without Corevisor.

use super::code::{Encoding, READ, WRITE, el0, el1, instruction, read, write};
use crate::rt::call::stat;
use crate::rt::fault::{IL, Vector, assert_undefined};
use crate::rt::machine;
use corevisor::abi::stat as id;

const ACTLR_EL1: Encoding = (3, 0, 1, 0, 1);

/// By whatever register it is read.
pub fn actlr_reads_as_it_is() {
    let value = machine::read!("actlr_el1");
    let before = stat(id::TRAP_SYSREG);
    // Not by those that the code around it needs.
    let registers = || (0..31).filter(|rt| ![9, 13, 18, 29, 30].contains(rt) && !(19..29).contains(rt));
    for rt in registers() {
        let move_to_x0 = 0xAA00_03E0 | (rt << 16);
        let result = el1(&[instruction(READ, ACTLR_EL1, rt), move_to_x0], !value, !value);
        assert_eq!(result, Ok(value), "x{rt}");
    }
    // XZR: nothing changes.
    let result = el1(&[instruction(READ, ACTLR_EL1, 31)], 0x1234, 0);
    assert_eq!(result, Ok(0x1234));
    assert_eq!(stat(id::TRAP_SYSREG), before + registers().count() as u64 + 1);
}

pub fn actlr_ignores_writes() {
    let value = machine::read!("actlr_el1");
    let before = stat(id::TRAP_SYSREG);
    for other in [0, !value, u64::MAX, 1, 1 << 63] {
        assert_eq!(write(ACTLR_EL1, other), Ok(other), "x0 is kept");
        assert_eq!(read(ACTLR_EL1), Ok(value));
    }
    assert!(el1(&[instruction(WRITE, ACTLR_EL1, 31)], 0, 0).is_ok());
    assert_eq!(read(ACTLR_EL1), Ok(value));
    assert_eq!(stat(id::TRAP_SYSREG), before + 12);
}

/// CRm 1 to 7 of Op1 0, CRn 0: features, what is not allocated reads as zero.
fn features() -> impl Iterator<Item = Encoding> {
    (1..8).flat_map(|crm| (0..8).map(move |op2| (3, 0, 0, crm, op2)))
}

pub fn id_registers_at_el1() {
    let before = [id::TRAP_SYSREG, id::TRAP_OTHER].map(stat);
    for encoding in features() {
        let (first, second) = (read(encoding), read(encoding));
        assert!(first.is_ok() && first == second, "{encoding:?}: {first:x?}");
    }
    assert_eq!(read((3, 0, 0, 0, 0)), Ok(machine::read!("midr_el1")));
    assert_eq!(read((3, 0, 0, 0, 5)), Ok(machine::read!("mpidr_el1")));
    assert_eq!(machine::read!("mpidr_el1") & 0xFF_00FF_FFFF, 0, "the first CPU");
    // EL1 is AArch64, and so is EL2: the host is not told less than there is.
    assert_eq!(machine::read!("id_aa64pfr0_el1") >> 4 & 0xF, machine::read!("id_aa64pfr0_el1") >> 8 & 0xF);
    assert_eq!([id::TRAP_SYSREG, id::TRAP_OTHER].map(stat), before);
}

pub fn id_registers_at_el0() {
    const SYSTEM_REGISTER_TRAP: u64 = 0x18;
    let reported = machine::read!("id_aa64mmfr2_el1") >> 36 & 0xF != 0; // FEAT_IDST
    for encoding in features() {
        let result = el0(instruction(READ, encoding, 0), 0);
        let Err(fault) = result else { panic!("{encoding:?}: {result:x?}") };
        if reported {
            assert_eq!((fault.class(), fault.esr & IL), (SYSTEM_REGISTER_TRAP, IL), "{fault:x?}");
        } else {
            assert_undefined(&fault, "ID register at EL0", Vector::El0);
        }
    }
}

/// Registers that keep what is written, and bits to try it with.
const KEEPING: [(&str, Encoding, u64); 18] = [
    ("CONTEXTIDR_EL1", (3, 0, 13, 0, 1), 0x1234_5678),
    ("CSSELR_EL1", (3, 2, 0, 0, 0), 1),
    ("AMAIR_EL1", (3, 0, 10, 3, 0), 0),
    ("CNTKCTL_EL1", (3, 0, 14, 1, 0), 0x3),
    ("CNTP_CVAL_EL0", (3, 3, 14, 2, 2), 0x1234_5678_9ABC_DEF0),
    ("CNTV_CVAL_EL0", (3, 3, 14, 3, 2), 0x0FED_CBA9_8765_4321),
    ("MDSCR_EL1", (2, 0, 0, 2, 2), 1 << 12),
    ("DBGBVR0_EL1", (2, 0, 0, 0, 4), 0x1234_5678),
    ("DBGWVR0_EL1", (2, 0, 0, 0, 6), 0x1234_5678),
    ("PMCNTENSET_EL0", (3, 3, 9, 12, 1), 1 << 31),
    ("PMCCNTR_EL0", (3, 3, 9, 13, 0), 0x1234_5678),
    ("PMUSERENR_EL0", (3, 3, 9, 14, 0), 1),
    ("PAR_EL1", (3, 0, 7, 4, 0), 1),
    ("TTBR1_EL1", (3, 0, 2, 0, 1), 0x4000_0000),
    ("SP_EL0", (3, 0, 4, 1, 0), 0x1234_5678_9ABC_DEF0),
    ("TPIDR_EL0", (3, 3, 13, 0, 2), 0x1234_5678_9ABC_DEF0),
    ("FAR_EL1", (3, 0, 6, 0, 0), 0x1234_5678_9ABC_DEF0),
    ("CPACR_EL1", (3, 0, 1, 0, 2), 0b11 << 20),
];

pub fn registers_that_are_the_hosts() {
    const PMCR_STOPPED: u64 = 0;
    let before = [id::TRAP_SYSREG, id::TRAP_OTHER].map(stat);
    assert!(write((3, 3, 9, 12, 0), PMCR_STOPPED).is_ok());
    for (name, encoding, value) in KEEPING {
        let old = read(encoding).unwrap_or_else(|fault| panic!("{name}: {fault:x?}"));
        assert!(write(encoding, value).is_ok(), "{name}");
        assert_eq!(read(encoding), Ok(value), "{name}");
        assert!(write(encoding, old).is_ok(), "{name}");
    }
    for (name, encoding) in [
        ("CNTPCT_EL0", (3, 3, 14, 0, 1)),
        ("CNTVCT_EL0", (3, 3, 14, 0, 2)),
        ("CTR_EL0", (3, 3, 0, 0, 1)),
        ("CLIDR_EL1", (3, 1, 0, 0, 1)),
        ("CCSIDR_EL1", (3, 1, 0, 0, 0)),
        ("PMCR_EL0", (3, 3, 9, 12, 0)),
        ("OSLSR_EL1", (2, 0, 1, 1, 4)),
        ("MDRAR_EL1", (2, 0, 1, 0, 0)),
    ] {
        let result = read(encoding);
        assert!(result.is_ok(), "{name}: {result:x?}");
    }
    assert_eq!([id::TRAP_SYSREG, id::TRAP_OTHER].map(stat), before);
}

pub fn floating_point_is_the_hosts() {
    const CPACR_EL1: Encoding = (3, 0, 1, 0, 2);
    const FPEN: u64 = 0b11 << 20;
    const FMOV_D31_X0: u32 = 0x9E67_001F;
    const FMOV_X0_D31: u32 = 0x9E66_03E0;
    let before = [id::TRAP_SYSREG, id::TRAP_OTHER].map(stat);
    let old = read(CPACR_EL1).expect("CPACR_EL1");
    assert!(write(CPACR_EL1, old | FPEN).is_ok());
    assert_eq!(el1(&[FMOV_D31_X0], 0x4009_21FB_5444_2D18, 0), Ok(0x4009_21FB_5444_2D18));
    // Calls leave it alone.
    let other = [id::TRAP_SYSREG, id::TRAP_OTHER].map(stat);
    assert_eq!(el1(&[FMOV_X0_D31], 0, 0), Ok(0x4009_21FB_5444_2D18));
    assert!(write(CPACR_EL1, old).is_ok());
    assert_eq!(other, before);
}
