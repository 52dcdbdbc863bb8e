// SPDX-License-Identifier: GPL-2.0-only
//! Accesses from AArch32 state at EL0.

use super::ram::free_block;
use crate::rt::fault::{EXTERNAL, IL, Vector, WNR, run_aarch32};
use crate::rt::machine::{publish_code, read};
use crate::rt::tree;

const SVC_CLASS: u64 = 0x11;
/// SPSR_ELx.T: Thumb.
const THUMB: u64 = 1 << 5;

/// Code, and the bits of its SPSR. All end by `svc #0`.
const A32_READ: &[u8] = &[0x00, 0x00, 0x90, 0xE5, 0x00, 0x00, 0x00, 0xEF]; // ldr r0, [r0]
const A32_WRITE: &[u8] = &[0x00, 0x10, 0x80, 0xE5, 0x00, 0x00, 0x00, 0xEF]; // str r1, [r0]
const T32_READ: &[u8] = &[0x00, 0x68, 0x00, 0xDF]; // ldr r0, [r0], 16 bits long
const T32_WRITE: &[u8] = &[0x01, 0x60, 0x00, 0xDF]; // str r1, [r0]
const T32_READ_WIDE: &[u8] = &[0xD0, 0xF8, 0x00, 0x00, 0x00, 0xDF]; // ldr.w r0, [r0]

pub fn aarch32_accesses() {
    if read!("id_aa64pfr0_el1") & 0xF != 2 {
        panic!("this CPU has no AArch32 at EL0: choose another for this payload");
    }
    let block = free_block(0);
    let corevisor = tree::corevisor().next().expect("a range").start;
    let cases = [(A32_READ, 0, 0), (A32_WRITE, 0, WNR), (T32_READ, THUMB, 0), (T32_WRITE, THUMB, WNR)];
    for (code, thumb, wnr) in cases.into_iter().chain([(T32_READ_WIDE, THUMB, 0)]) {
        // SAFETY: RAM that nobody uses.
        unsafe { core::ptr::copy_nonoverlapping(code.as_ptr(), block as *mut u8, code.len()) };
        publish_code(block);
        // SAFETY: as above.
        unsafe { ((block + 64) as *mut u64).write_volatile(0x1234_5678) };
        let fault = run_aarch32(block, thumb, block + 64, 0x1234_5678);
        assert_eq!(fault.class(), SVC_CLASS, "{fault:x?}");
        assert_eq!(fault.vector, Vector::El0A32);
        let fault = run_aarch32(block, thumb, corevisor + 16, 0xBAD0_BAD0);
        // IL is set for every data abort whose ISS.ISV is clear, whatever the instruction's length.
        assert_eq!(fault.esr, (0x24 << 26) | IL | wnr | EXTERNAL, "{code:x?}: {fault:x?}");
        assert_eq!((fault.far, fault.elr), (corevisor + 16, block), "{fault:x?}");
        assert_eq!((fault.vector, fault.spsr), (Vector::El0A32, fault.before), "{fault:x?}");
        assert_eq!(fault.x0, corevisor + 16);
    }
    // A fetch.
    let fault = run_aarch32(corevisor, 0, 0, 0);
    assert_eq!(fault.esr, (0x20 << 26) | IL | EXTERNAL, "{fault:x?}");
    assert_eq!((fault.far, fault.elr, fault.vector), (corevisor, corevisor, Vector::El0A32), "{fault:x?}");
}
