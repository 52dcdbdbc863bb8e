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

/// The four bits of an ID register that start at `shift`.
pub const fn field(register: u64, shift: u32) -> u64 {
    (register >> shift) & 0xF
}
