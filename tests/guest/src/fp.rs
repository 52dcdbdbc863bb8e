// SPDX-License-Identifier: GPL-2.0-only
//! The FP and SIMD registers, which nothing else here uses: the target has none for compiled code.

#![allow(dead_code, reason = "for programs to come")]

use core::arch::global_asm;

/// All that can be loaded and stored: q0 to q31, FPCR, FPSR.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registers {
    pub q: [u128; 32],
    pub fpcr: u64,
    pub fpsr: u64,
}

unsafe extern "C" {
    fn fp_load(registers: &Registers);
    fn fp_store(registers: &mut Registers);
}

global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    ".section .text.fp, \"ax\"",
    "fp_load:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "    ldr q\\n, [x0], #16",
    ".endr",
    "    ldp x1, x2, [x0]",
    "    msr fpcr, x1",
    "    msr fpsr, x2",
    "    ret",
    "fp_store:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "    str q\\n, [x0], #16",
    ".endr",
    "    mrs x1, fpcr",
    "    mrs x2, fpsr",
    "    stp x1, x2, [x0]",
    "    ret",
    ".arch_extension nosimd",
    ".arch_extension nofp",
);

/// A pattern that tells its seed.
pub fn pattern(seed: u64) -> Registers {
    let q = core::array::from_fn(|i| {
        let low = (seed ^ (i as u64) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        u128::from(!low) << 64 | u128::from(low)
    });
    // Rounding modes and cumulative flags, no traps.
    Registers { q, fpcr: (seed & 3) << 22, fpsr: seed & 0x1F }
}

/// Loads all registers.
pub fn load(registers: &Registers) {
    // SAFETY: nothing else uses them.
    unsafe { fp_load(registers) };
}

/// Stores all registers.
pub fn store() -> Registers {
    let mut registers = pattern(0);
    // SAFETY: as above.
    unsafe { fp_store(&mut registers) };
    registers
}
