// SPDX-License-Identifier: GPL-2.0-only
//! PSTATE in the vector: Corevisor must make of it what the CPU makes of it.

use crate::rt::fault::{Fault, read_with_pstate, undefined_with_pstate};
use crate::rt::machine::{read, write};
use crate::rt::{cpu, tree};
use core::sync::atomic::Ordering;

const SSBS: u64 = 1 << 12;
const PAN: u64 = 1 << 22;
const UAO: u64 = 1 << 23;
const DIT: u64 = 1 << 24;
const TCO: u64 = 1 << 25;
/// SCTLR_EL1.SPAN: exceptions leave PAN alone.
const SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: SSBS in the vector.
const DSSBS: u64 = 1 << 44;
/// An exception leaves these alone (Arm ARM, pseudocode `AArch64.TakeException`), but QEMU's own clear them.
const KEPT: u64 = (0xF << 28) | DIT;

pub fn pstate_as_by_the_cpu_itself() {
    let page = tree::corevisor().next().expect("a range").start;
    let sctlr = read!("sctlr_el1");
    let has_ssbs = cpu::this().features.load(Ordering::Relaxed) & 0b1000 != 0;
    let dssbs = if has_ssbs { DSSBS } else { 0 };
    for modes in [0, SPAN, dssbs, SPAN | dssbs] {
        write!("sctlr_el1", (sctlr & !(SPAN | DSSBS)) | modes);
        for bits in [0, SSBS, PAN, UAO, DIT, TCO, SSBS | PAN | UAO | DIT | TCO] {
            let own = undefined_with_pstate(bits);
            let result = read_with_pstate(page, bits);
            let Err(ours) = result else { panic!("{result:x?}") };
            let check = |fault: &Fault| assert_eq!(fault.spsr, fault.before, "{fault:x?}");
            check(&own);
            check(&ours);
            assert_eq!(ours.spsr, own.spsr, "bits {bits:#x}, SCTLR {modes:#x}");
            assert_eq!(ours.state & !KEPT, own.state & !KEPT, "bits {bits:#x}, SCTLR {modes:#x}");
            assert_eq!(ours.state & KEPT, ours.before & KEPT, "bits {bits:#x}");
            assert_eq!(ours.vector, own.vector);
        }
    }
    write!("sctlr_el1", sctlr);
}
