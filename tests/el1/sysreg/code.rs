// SPDX-License-Identifier: GPL-2.0-only
//! Instructions made at run time.

use crate::rt::call::stat;
use crate::rt::fault::{Outcome, Vector, assert_undefined, run_at_el0, run_at_el1};
use crate::rt::machine::publish_code;
use core::sync::atomic::{AtomicU32, Ordering};
use corevisor::abi::stat as id;

const RET: u32 = 0xD65F_03C0;
const SVC_0: u32 = 0xD400_0001;

/// A system register or instruction: Op0, Op1, CRn, CRm, Op2.
pub type Encoding = (u32, u32, u32, u32, u32);

/// MRS, or SYSL for Op0 1.
pub const READ: u32 = 0xD520_0000;
/// MSR, or SYS for Op0 1.
pub const WRITE: u32 = 0xD500_0000;

#[repr(align(64))]
struct Room([AtomicU32; 16]);

static ROOM: Room = Room([const { AtomicU32::new(0) }; 16]);

fn put(code: &[u32]) -> u64 {
    for (slot, &word) in ROOM.0.iter().zip(code) {
        slot.store(word, Ordering::Relaxed);
    }
    let at = ROOM.0.as_ptr() as u64;
    publish_code(at);
    at
}

/// The instruction that moves between `encoding` and register `rt`.
pub fn instruction(direction: u32, (op0, op1, crn, crm, op2): Encoding, rt: u32) -> u32 {
    direction | (op0 << 19) | (op1 << 16) | (crn << 12) | (crm << 8) | (op2 << 5) | rt
}

/// Runs instructions at EL1.
pub fn el1(code: &[u32], x0: u64, x1: u64) -> Outcome {
    let mut all = [RET; 8];
    all[..code.len()].copy_from_slice(code);
    run_at_el1(put(&all), x0, x1)
}

/// Runs an instruction at EL0.
pub fn el0(word: u32, x0: u64) -> Outcome {
    run_at_el0(put(&[word, SVC_0]), x0, 0)
}

/// Reads a register.
pub fn read(encoding: Encoding) -> Outcome {
    el1(&[instruction(READ, encoding, 0)], 0, 0)
}

/// Writes a register.
pub fn write(encoding: Encoding, value: u64) -> Outcome {
    el1(&[instruction(WRITE, encoding, 0)], value, 0)
}

/// Checks that reading and writing are undefined at EL1; how often EL2 was asked.
pub fn assert_undefined_at_el1(encodings: impl Iterator<Item = Encoding>) -> (u64, u64) {
    const CANARY: u64 = 0x0CA7_1234_5678_9ABC;
    let before = stat(id::TRAP_SYSREG);
    let mut tried = 0;
    for encoding in encodings {
        for direction in [READ, WRITE] {
            let result = el1(&[instruction(direction, encoding, 0)], CANARY, 0);
            let Err(fault) = result else { panic!("{encoding:?}: {result:x?}") };
            assert_undefined(&fault, "system register", Vector::El1h);
            assert_eq!(fault.x0, CANARY, "{encoding:?}");
            tried += 1;
        }
    }
    (tried, stat(id::TRAP_SYSREG) - before)
}

/// Checks that reading and writing are undefined at EL0.
pub fn assert_undefined_at_el0(encodings: impl Iterator<Item = Encoding>) {
    for encoding in encodings {
        for direction in [READ, WRITE] {
            assert_undefined_word_at_el0(instruction(direction, encoding, 0));
        }
    }
}

/// Checks that an instruction is undefined at EL0.
pub fn assert_undefined_word_at_el0(word: u32) {
    let result = el0(word, 0);
    let Err(fault) = result else { panic!("{word:#x} at EL0: {result:x?}") };
    assert_undefined(&fault, "at EL0", Vector::El0);
}

/// All encodings with one of these Op1 and CRn.
pub fn all_of(op0: u32, op1: &'static [u32], crn: &'static [u32]) -> impl Iterator<Item = Encoding> {
    let pairs = op1.iter().flat_map(move |&op1| crn.iter().map(move |&crn| (op1, crn)));
    pairs.flat_map(move |(op1, crn)| (0..128).map(move |low| (op0, op1, crn, low >> 3, low & 7)))
}
