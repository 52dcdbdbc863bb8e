// SPDX-License-Identifier: GPL-2.0-only
//! Single instructions, made as the program runs.

#![allow(dead_code, reason = "for programs to come")]

use crate::exception::{Exception, catch};
use crate::protocol::VCPUS;
use crate::smp;
use core::arch::asm;

/// `ret`.
const RET: u32 = 0xD65F_03C0;

/// Each vCPU's place for code.
#[repr(C, align(64))]
struct Place([u32; 16]);

static mut PLACES: [Place; VCPUS] = [const { Place([RET; 16]) }; VCPUS];

/// Executes `instruction`, which may be refused, with `x0` in x0; x0 afterwards, and the exception. The instruction must
/// not touch any other register, nor memory, nor branch.
pub fn execute(instruction: u32, x0: u64) -> (u64, Option<Exception>) {
    let place = (&raw mut PLACES).cast::<Place>().wrapping_add(smp::this()).cast::<u32>();
    // SAFETY: this vCPU's own place, and nobody has a reference to it.
    unsafe {
        place.write_volatile(instruction);
        place.add(1).write_volatile(RET);
        asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) place, options(nostack));
    }
    let mut value = x0;
    let exception = catch(|| {
        // SAFETY: one instruction, which the caller vouches for, and a return.
        unsafe { asm!("blr {}", in(reg) place, inout("x0") value, out("x30") _, options(nostack)) };
    });
    (value, exception)
}

/// MRS x0, of the register with this encoding.
pub fn mrs(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    0xD520_0000 | system_register(op0, op1, crn, crm, op2)
}

/// MSR x0, to the register with this encoding.
pub fn msr(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    0xD500_0000 | system_register(op0, op1, crn, crm, op2)
}

fn system_register(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    (op0 & 3) << 19 | (op1 & 7) << 16 | (crn & 15) << 12 | (crm & 15) << 8 | (op2 & 7) << 5
}
