// SPDX-License-Identifier: GPL-2.0-only
//! All system registers that the host can read, whatever they are.

use crate::rt::{fault, machine};
use spin::Once;

/// More than there are.
const MOST: usize = 2048;

/// Encodings, as in MRS without Rt, and what they read at first.
struct Readable {
    registers: [(u32, u64); MOST],
    count: usize,
}

#[repr(C, align(64))]
struct Code([u32; 16]);

static mut CODE: Code = Code([0; 16]);
static READABLE: Once<Readable> = Once::new();

/// Registers whose reading is an event, ICC_IAR0_EL1 and ICC_IAR1_EL1; and those that the host's own exceptions change, of
/// which `State` takes care: FAR_EL1, TPIDR_EL0, TPIDRRO_EL0.
const LEFT_OUT: [u32; 5] = [
    encoding(3, 0, 12, 8, 0),
    encoding(3, 0, 12, 12, 0),
    encoding(3, 0, 6, 0, 0),
    encoding(3, 3, 13, 0, 2),
    encoding(3, 3, 13, 0, 3),
];

const fn encoding(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
}

/// Whether it counts: what it reads tells nothing, as it can be anything. Random numbers, counters of events, time; but
/// not CNTV_CTL_EL0 and CNTV_CVAL_EL0.
fn is_arbitrary(encoding: u32) -> bool {
    let (crn, crm, op2) = (encoding >> 12 & 15, encoding >> 8 & 15, encoding >> 5 & 7);
    let is_el0 = encoding >> 16 & 7 == 3;
    is_el0 && (crn == 2 && crm == 4 || crn == 9 || crn == 13 && crm > 0 || crn == 14 && (crm != 3 || op2 == 0))
}

fn read(encoding: u32) -> Option<u64> {
    const RET: u32 = 0xD65F_03C0;
    let code = (&raw mut CODE).cast::<u32>();
    // SAFETY: used by one CPU only.
    unsafe {
        code.write_volatile(0xD520_0000 | encoding);
        code.add(1).write_volatile(RET);
    }
    machine::publish_code(code as u64);
    fault::run_at_el1(code as u64, 0, 0).ok()
}

/// All that can be read; found out at the first call.
fn readable() -> &'static [(u32, u64)] {
    let found = READABLE.call_once(|| {
        let mut all = Readable { registers: [(0, 0); MOST], count: 0 };
        for register in (2 << 14..4 << 14).map(|n| n << 5).filter(|register| !LEFT_OUT.contains(register)) {
            if let Some(value) = read(register) {
                all.registers[all.count] = (register, value);
                all.count += 1;
            }
        }
        all
    });
    &found.registers[..found.count]
}

/// How many there are.
pub fn count() -> usize {
    readable().len()
}

/// Calls `check` with the encoding of each, what it was at first, and what it is now.
pub fn each(mut check: impl FnMut(u32, u64, u64)) {
    for &(register, before) in readable().iter().filter(|(register, _)| !is_arbitrary(*register)) {
        let now = read(register).expect("it was readable before");
        check(register, before, now);
    }
}
