// SPDX-License-Identifier: GPL-2.0-only
//! The smallest VM: a few instructions, each of which stops it in another way.

use super::calls::{GUEST, announce, assert_lost, assert_zeroed, balance, block, destroy, register_kvm, verify};
use crate::rt::call::host;
use crate::rt::{PAGE, machine};
use core::arch::global_asm;
use corevisor::abi::{DENIED, exit, host_call as n, run_page};

global_asm!(
    ".balign 8",
    "first_vm:",
    "mov     x1, #0x1234",
    "movz    x2, #0x0900, lsl #16",
    "str     w1, [x2]", // a device
    "ldr     w3, [x2, #24]",
    "add     x3, x3, #1",
    "str     x3, [x2, #8]",
    "wfi",
    "mrs     x4, mpidr_el1",
    "str     x4, [x2]",
    "mov     x4, #0x300000", // FP registers
    "msr     cpacr_el1, x4",
    "isb",
    ".arch_extension fp",
    "fmov    x5, d7",
    "str     x5, [x2]",
    "fmov    d7, x1",
    "wfi",
    "fmov    x5, d7",
    "str     x5, [x2]",
    "movz    x0, #0x8400, lsl #16", // SYSTEM_OFF
    "movk    x0, #8",
    "hvc     #0",
    "b       .",
    "first_vm_end:",
);

unsafe extern "C" {
    static first_vm: [u32; 64];
}

fn word(page: u64, offset: u64) -> u64 {
    // SAFETY: the run page, which is ours.
    unsafe { ((page + offset) as *const u64).read_volatile() }
}

fn set_word(page: u64, offset: u64, value: u64) {
    // SAFETY: as above.
    unsafe { ((page + offset) as *mut u64).write_volatile(value) };
}

/// Runs it until it stops, with a value of ours in a register that is the VM's, too.
fn run(v: u64) -> i64 {
    let before = 0x5EED_0000 + v;
    let after: u64;
    // SAFETY: FP registers of the payload, which uses none.
    unsafe { core::arch::asm!(".arch_extension fp", "fmov d7, {}", in(reg) before) };
    let stopped = host(n::VCPU_RUN, &[v, 0]);
    // SAFETY: as above.
    unsafe { core::arch::asm!(".arch_extension fp", "fmov {}, d7", out(reg) after) };
    assert_eq!(after, before, "d7 of the host");
    stopped
}

pub fn a_vm_runs() {
    let before = balance();
    let (image, page) = (block(2), block(16));
    // SAFETY: RAM that nobody uses, and code.
    unsafe { (image as *mut [u32; 64]).write_volatile((&raw const first_vm).read()) };
    let v = register_kvm();
    assert_eq!(host(n::REGISTER_VCPU, &[v, 0, page]), 0);
    announce(v, GUEST, image, 1);
    assert_eq!(verify(v), 0);
    for offset in (0..PAGE).step_by(8) {
        set_word(page, offset, 0);
    }
    set_word(page, run_page::PC, GUEST);
    set_word(page, run_page::PSTATE, 0x3C5);
    machine::write!("cpacr_el1", 0b11 << 20); // FP registers are not trapped
    let device = |what: &str, esr: u64, hpfar: u64| {
        assert_eq!(run(v), exit::TRAP as i64, "{what}");
        assert_eq!(word(page, run_page::ESR) >> 26, 0x24, "{what}");
        assert_eq!(word(page, run_page::ESR) & 0x40, esr, "{what}");
        assert_eq!(word(page, run_page::HPFAR), 0x9_0000 + hpfar, "{what}");
    };
    device("store", 0x40, 0);
    assert_eq!(word(page, 8), 0x1234);
    device("load", 0, 0);
    set_word(page, 3 * 8, 41);
    device("store of what was loaded", 0x40, 0);
    assert_eq!(word(page, 3 * 8), 42);
    assert_eq!(run(v), exit::TRAP as i64);
    assert_eq!(word(page, run_page::ESR) >> 26, 1, "WFI");
    device("MPIDR", 0x40, 0);
    assert_eq!(word(page, 4 * 8), 0x8000_0000);
    device("d7 is zero", 0x40, 0);
    assert_eq!(word(page, 5 * 8), 0);
    assert_eq!(run(v), exit::TRAP as i64);
    assert_eq!(word(page, run_page::ESR) >> 26, 1, "WFI");
    device("d7 has survived", 0x40, 0);
    assert_eq!(word(page, 5 * 8), 0x1234);
    assert_eq!(run(v), exit::TRAP as i64);
    assert_eq!(word(page, run_page::ESR) >> 26, 0x16, "HVC");
    assert_eq!(word(page, 0), 0x8400_0008);
    assert_eq!(run(v), DENIED, "it is off");
    assert_lost(image);
    destroy(v);
    assert_zeroed(image);
    assert_eq!(balance(), before);
}
