// SPDX-License-Identifier: GPL-2.0-only
//! The desk: what the host wants done, and what came of it. Each access is an exit to the host.

#![allow(dead_code, reason = "for programs to come")]

use crate::protocol::{DESK, desk};
use core::arch::asm;

/// Reads the register at `offset`.
pub fn read(offset: u64) -> u64 {
    let value;
    // SAFETY: a device.
    unsafe { asm!("ldr {}, [{}]", out(reg) value, in(reg) DESK + offset, options(nostack)) };
    value
}

/// Writes the register at `offset`.
pub fn write(offset: u64, value: u64) {
    // SAFETY: a device.
    unsafe { asm!("str {}, [{}]", in(reg) value, in(reg) DESK + offset, options(nostack)) };
}

/// The program that the host wants run.
pub fn program() -> u64 {
    read(desk::PROGRAM)
}

/// How many vCPUs this VM has.
pub fn vcpus() -> usize {
    read(desk::VCPUS) as usize
}

/// The program's `i`th argument.
pub fn argument(i: usize) -> u64 {
    assert!(i < desk::ARGUMENT_COUNT);
    read(desk::ARGUMENTS + 8 * i as u64)
}

/// Gives the host the program's `i`th result.
pub fn set_result(i: usize, value: u64) {
    assert!(i < desk::RESULT_COUNT);
    write(desk::RESULTS + 8 * i as u64, value);
}

/// Reads what the test has put behind the desk's hook at `offset`.
pub fn hook(offset: u64) -> u64 {
    read(desk::HOOK + offset)
}

/// Writes to what the test has put behind the desk's hook at `offset`.
pub fn set_hook(offset: u64, value: u64) {
    write(desk::HOOK + offset, value);
}

/// The program has come to its end.
pub fn done(value: u64) {
    write(desk::DONE, value);
}

/// The program has failed in line `line`.
pub fn failed(line: u64) {
    write(desk::FAILED, line);
}
