// SPDX-License-Identifier: GPL-2.0-only
//! What is undefined, by Corevisor's doing or the CPU's.

use super::code::{
    Encoding, all_of, assert_undefined_at_el0, assert_undefined_at_el1, assert_undefined_word_at_el0, read,
};
use crate::rt::call::stat;
use crate::rt::fault::Vector;
use corevisor::abi::stat as id;

const ALL_OP1: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7];
const ALL_CRN: &[u32] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// HCR_EL2.TIDCP traps these.
const IMPLEMENTATION_DEFINED: &[u32] = &[11, 15];

pub fn implementation_defined_registers() {
    let (tried, traps) = assert_undefined_at_el1(all_of(3, ALL_OP1, IMPLEMENTATION_DEFINED));
    assert_eq!((tried, traps), (4096, 4096));
}

pub fn implementation_defined_instructions() {
    let (tried, traps) = assert_undefined_at_el1(all_of(1, ALL_OP1, IMPLEMENTATION_DEFINED));
    assert_eq!((tried, traps), (4096, 4096));
}

pub fn implementation_defined_at_el0() {
    assert_undefined_at_el0(all_of(3, ALL_OP1, IMPLEMENTATION_DEFINED).step_by(13));
    assert_undefined_at_el0(all_of(1, ALL_OP1, IMPLEMENTATION_DEFINED).step_by(13));
    const ACTLR_EL1: Encoding = (3, 0, 1, 0, 1);
    assert_undefined_at_el0([ACTLR_EL1].into_iter());
}

/// Op1 4 to 7: all registers of EL2 and EL3 and their aliases, whether they exist or not. Corevisor has no part in it,
/// but for those of an implementation.
pub fn registers_of_higher_levels() {
    let (tried, traps) = assert_undefined_at_el1(all_of(3, &[4, 5, 6, 7], ALL_CRN));
    assert_eq!((tried, traps), (4 * 16 * 128 * 2, 4 * 2 * 128 * 2));
}

/// TLB maintenance and address translation by EL2.
pub fn instructions_of_el2() {
    let (_, traps) = assert_undefined_at_el1(all_of(1, &[4, 6], &[7, 8]));
    assert_eq!(traps, 0);
}

/// Reads of all that EL1 and EL0 could have: each gives a value or an exception of EL1's own, and Corevisor is asked
/// only where it has set a trap.
pub fn every_register_has_an_answer() {
    const UNKNOWN: u64 = 0x00;
    const FLOATING_POINT: u64 = 0x07;
    const SYSTEM_REGISTER: u64 = 0x18;
    const SVE: u64 = 0x19;
    const SME: u64 = 0x1D;
    let others = stat(id::TRAP_OTHER);
    let (mut values, mut faults) = (0, 0);
    for encoding in all_of(3, &[0, 1, 2, 3], ALL_CRN).chain(all_of(2, ALL_OP1, ALL_CRN)) {
        match read(encoding) {
            Ok(_) => values += 1,
            Err(fault) => {
                let class = fault.class();
                let expected = [UNKNOWN, FLOATING_POINT, SYSTEM_REGISTER, SVE, SME].contains(&class);
                assert!(expected && fault.vector == Vector::El1h, "{encoding:?}: {fault:x?}");
                faults += 1;
            }
        }
    }
    assert_eq!(values + faults, 4 * 16 * 128 + 8 * 16 * 128);
    assert!(values > 100, "{values}");
    assert_eq!(stat(id::TRAP_OTHER), others);
}

pub fn calls_of_el0() {
    let counters = [id::TRAP_HVC, id::TRAP_OTHER, id::TRAP_SYSREG, id::REFUSED_CALL];
    let before = counters.map(stat);
    let smcs = stat(id::TRAP_SMC);
    for word in [0xD400_0002, 0xD400_0022, 0xD41F_FFE2] {
        assert_undefined_word_at_el0(word); // HVC
        assert_undefined_word_at_el0(word + 1); // SMC
    }
    assert_eq!(stat(id::TRAP_SMC), smcs + 1, "the reading itself");
    assert_eq!(counters.map(stat), before);
    assert!(read((3, 0, 0, 0, 0)).is_ok());
}
