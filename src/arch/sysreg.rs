// SPDX-License-Identifier: GPL-2.0-only
//! System registers that `aarch64-cpu` does not have, or not with the fields that are needed here.

/// Reads a system register by its assembler name. Only for registers whose reads have no side effects, and have nothing to do
/// with memory.
#[macro_export]
macro_rules! read_sysreg {
    ($name:literal) => {{
        // A function, so that the macro can be used in unsafe code without being less safe for it.
        #[inline(always)]
        fn read() -> u64 {
            let value: u64;
            // SAFETY: reads of the registers that this is used for have no side effects.
            unsafe {
                core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
            }
            value
        }
        read()
    }};
}

/// Reads two, as [`read_sysreg!`] does: an array that can go to memory by one instruction.
#[macro_export]
macro_rules! read_sysregs {
    ($first:literal, $second:literal) => {{
        #[inline(always)]
        fn read() -> [u64; 2] {
            let (first, second): (u64, u64);
            // SAFETY: as in `read_sysreg`.
            unsafe {
                core::arch::asm!(concat!("mrs {}, ", $first), concat!("mrs {}, ", $second), out(reg) first,
                    out(reg) second, options(nomem, nostack, preserves_flags));
            }
            [first, second]
        }
        read()
    }};
}

/// Writes a system register by its assembler name.
///
/// # Safety
/// What the register does must leave Rust's view of memory intact.
#[macro_export]
macro_rules! write_sysreg {
    ($name:literal, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value as u64, options(nostack, preserves_flags))
    };
}

/// Writes a system register of EL1 or EL0, which do not run, by its assembler name. What EL2 does with memory may come before
/// or after it.
///
/// # Safety
/// As for [`write_sysreg`].
#[macro_export]
macro_rules! write_el1_sysreg {
    ($name:literal, $value:expr) => {
        core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) $value as u64,
            options(nomem, nostack, preserves_flags))
    };
}

/// Writes two of them.
///
/// # Safety
/// As for [`write_sysreg`].
#[macro_export]
macro_rules! write_el1_sysregs {
    ($first:literal, $first_value:expr, $second:literal, $second_value:expr) => {
        core::arch::asm!(concat!("msr ", $first, ", {}"), concat!("msr ", $second, ", {}"), in(reg) $first_value as u64,
            in(reg) $second_value as u64, options(nomem, nostack, preserves_flags))
    };
}

/// The four bits of an ID register that start at `shift`.
pub const fn field(register: u64, shift: u32) -> u64 {
    (register >> shift) & 0xF
}
