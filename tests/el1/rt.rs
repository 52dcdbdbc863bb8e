// SPDX-License-Identifier: GPL-2.0-only
//! What every payload stands on: it is Corevisor's host, at EL1 on QEMU's `virt` machine, and tests what it finds.
//!
//! The MMU is on, with virtual = physical for EL1 and the same again from [`EL0`] on for EL0. Interrupts stay masked.

#![allow(dead_code, reason = "each payload uses a part of it")]

pub mod call;
pub mod console;
pub mod cpu;
pub mod fault;
pub mod harness;
pub mod machine;
pub mod random;
pub mod tree;

use core::arch::global_asm;
use core::mem::offset_of;
use core::panic::PanicInfo;
use cpu::Cpu;

/// Added to a physical address, the virtual address of the same for EL0.
pub const EL0: u64 = 1 << 39;
/// A virtual gigabyte that belongs to nothing: tests map it to what they like ([`machine::with_window`]).
pub const WINDOW: u64 = 1 << 40;
/// Bytes in a page.
pub const PAGE: u64 = 4096;

global_asm!(
    concat!(include_str!("rt/entry.S"), include_str!("rt/vectors.S"), include_str!("rt/probes.S")),
    fixup = const offset_of!(Cpu, fixup),
    expected_pc = const offset_of!(Cpu, expected_pc),
    before = const offset_of!(Cpu, before),
    vector = const offset_of!(Cpu, vector),
    state = const offset_of!(Cpu, state),
    esr = const offset_of!(Cpu, esr),
    far = const offset_of!(Cpu, far),
    elr = const offset_of!(Cpu, elr),
    spsr = const offset_of!(Cpu, spsr),
    x0 = const offset_of!(Cpu, x),
    x1 = const offset_of!(Cpu, x) + 8,
    x2 = const offset_of!(Cpu, x) + 16,
    count = const offset_of!(Cpu, count),
    features = const offset_of!(Cpu, features),
    jump = const offset_of!(Cpu, jump),
    context = const offset_of!(Cpu, context),
    start_state = const offset_of!(Cpu, start_state),
    start_sctlr = const offset_of!(Cpu, start_sctlr),
    start_others = const offset_of!(Cpu, start_others),
    cpu_size = const size_of::<Cpu>(),
    cpu_count = const cpu::MAX,
    cpus = sym cpu::CPUS,
    start = sym harness::start,
    secondary = sym cpu::secondary,
    unexpected = sym fault::unexpected,
);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    harness::panicked(info)
}
