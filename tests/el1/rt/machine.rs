// SPDX-License-Identifier: GPL-2.0-only
//! Registers, time, and the stage-1 map.

use super::WINDOW;
use core::arch::asm;
use core::ops::Range;

/// Reads a system register.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register.
#[allow(unused_macros, reason = "not by every payload")]
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: a register that the payload's Rust code does not depend on, or depends on as intended.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) value, options(nostack, preserves_flags));
        }
    }};
}

pub(crate) use read;
#[allow(unused_imports, reason = "not by every payload")]
pub(crate) use write;

/// Ticks of the counter.
pub fn now() -> u64 {
    read!("cntpct_el0")
}

/// The counter in `seconds`.
pub fn after(seconds: u64) -> u64 {
    now() + seconds * read!("cntfrq_el0")
}

/// Lets `milliseconds` go by.
pub fn pause(milliseconds: u64) {
    let end = now() + milliseconds * read!("cntfrq_el0") / 1000;
    while now() < end {
        core::hint::spin_loop();
    }
}

/// log2 of the addresses that this CPU's stage 1 can put out.
pub fn physical_address_bits() -> u32 {
    match read!("id_aa64mmfr0_el1") & 0xF {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

/// Ends all cached translations of stage 1, on all CPUs.
pub fn forget_translations() {
    // SAFETY: translations come back from the tables.
    unsafe { asm!("dsb ishst", "tlbi vmalle1is", "dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// Makes what was written to the 64 bytes from `address` on executable.
pub fn publish_code(address: u64) {
    for word in (address..address + 64).step_by(16) {
        // SAFETY: cache maintenance.
        unsafe {
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) word, options(nostack, preserves_flags));
        }
    }
    // SAFETY: as above.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}

/// The payload's memory.
pub fn image() -> Range<u64> {
    unsafe extern "C" {
        static image_start: u8;
        static image_end: u8;
    }
    (&raw const image_start) as u64..(&raw const image_end) as u64
}

unsafe extern "C" {
    /// rt/entry.S: the level-1 table of [`WINDOW`].
    static mut map_window: [u64; 512];
}

/// Writes the first descriptor of the window's level-1 table: what [`WINDOW`] is.
pub fn set_window(descriptor: u64) {
    let at = &raw mut map_window;
    // SAFETY: one aligned store to a table; nobody refers to what it maps but raw accesses of tests.
    unsafe { at.cast::<u64>().write_volatile(0) };
    forget_translations();
    // SAFETY: as above.
    unsafe { at.cast::<u64>().write_volatile(descriptor) };
    forget_translations();
}

/// Calls `f` while the gigabyte of `address` is mapped as a device at [`WINDOW`]; with the virtual address of `address`.
pub fn with_window<T>(address: u64, f: impl FnOnce(u64) -> T) -> T {
    /// A block: access flag, inner shareable, EL1 only, not executable at EL0.
    const DEVICE: u64 = (1 << 54) | (1 << 10) | (0b11 << 8) | 1;
    const GIGABYTE: u64 = 1 << 30;
    set_window((address & !(GIGABYTE - 1)) | DEVICE);
    let result = f(WINDOW + address % GIGABYTE);
    set_window(0);
    result
}
