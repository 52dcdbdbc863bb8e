// SPDX-License-Identifier: GPL-2.0-only
//! Exceptions that Corevisor takes to EL1 in the hardware's stead (Arm ARM, pseudocode `AArch64.TakeException`).

use super::syndrome::{Class, Syndrome};
use bitflags::bitflags;

bitflags! {
    /// Bits of PSTATE as SPSR_ELx holds them, in AArch64 state.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Pstate: u64 {
        /// SP_ELx is in use, rather than SP_EL0.
        const SP = 1 << 0;
        /// Exception level 1.
        const EL1 = 1 << 2;
        /// AArch32 state.
        const AARCH32 = 1 << 4;
        /// FIQ masked.
        const F = 1 << 6;
        /// IRQ masked.
        const I = 1 << 7;
        /// SError masked.
        const A = 1 << 8;
        /// Debug exceptions masked.
        const D = 1 << 9;
        /// Speculative store bypass safe.
        const SSBS = 1 << 12;
        /// Interrupts masked, NMI too (FEAT_NMI).
        const ALLINT = 1 << 13;
        /// Illegal execution state.
        const IL = 1 << 20;
        /// What kind of branch led to the instruction (FEAT_BTI).
        const BTYPE = 0b11 << 10;
        /// Software step.
        const SS = 1 << 21;
        /// Privileged access never.
        const PAN = 1 << 22;
        /// User access override.
        const UAO = 1 << 23;
        /// Data-independent timing.
        const DIT = 1 << 24;
        /// Tag check override (FEAT_MTE).
        const TCO = 1 << 25;
        /// Condition flags.
        const NZCV = 0xF << 28;
    }
}

/// Bits of SCTLR_EL1 that shape an exception's entry.
mod sctlr {
    /// SPAN: PAN is left alone on an exception to EL1.
    pub const SPAN: u64 = 1 << 23;
    /// DSSBS: PSTATE.SSBS on an exception to EL1.
    pub const DSSBS: u64 = 1 << 44;
    /// SPINTMASK (FEAT_NMI).
    pub const SPINTMASK: u64 = 1 << 62;
}

/// What an exception entry depends on: the state that the host was interrupted in.
#[derive(Clone, Copy, Debug)]
pub struct Interrupted {
    /// ELR_EL2: the instruction.
    pub pc: u64,
    /// SPSR_EL2.
    pub pstate: u64,
    /// VBAR_EL1.
    pub vbar: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// Which optional PSTATE bits this CPU has.
    pub features: PstateFeatures,
}

/// Optional PSTATE bits that an exception entry sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct PstateFeatures {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE2.
    pub mte: bool,
    /// FEAT_NMI.
    pub nmi: bool,
}

/// What the entry writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// For ELR_EL2: the vector.
    pub pc: u64,
    /// For SPSR_EL2: EL1h, all masked.
    pub pstate: u64,
    /// For ESR_EL1.
    pub esr: u64,
    /// For ELR_EL1.
    pub elr: u64,
    /// For SPSR_EL1.
    pub spsr: u64,
}

/// An exception that Corevisor has a vCPU take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exception {
    /// The trapped instruction is undefined.
    Undefined,
    /// The access that aborted ends in a synchronous external abort.
    ExternalAbort,
}

/// EC of an exception with an unknown reason: an undefined instruction.
const EC_UNKNOWN: u64 = 0;
/// EC of aborts taken from the same level is that of a lower level plus one.
const EC_SAME_LEVEL: u64 = 1;
const EC_INSTRUCTION_ABORT_LOWER: u64 = 0x20;
const EC_DATA_ABORT_LOWER: u64 = 0x24;
/// Fault status: synchronous external abort, not on a stage-1 walk.
const FSC_EXTERNAL: u64 = 0x10;
/// Fault status: synchronous external abort on a stage-1 walk, level 0; the level is added.
const FSC_EXTERNAL_WALK: u64 = 0x14;

/// The entry of a synchronous external abort for the access that `abort` describes, an abort from EL1 or EL0 taken to
/// EL2. FAR_EL1 is then FAR_EL2.
///
/// The level of a failed stage-1 walk is not known at EL2 without walking the host's tables: 3 is reported.
pub fn external_abort(from: &Interrupted, abort: Syndrome) -> Entry {
    let class = match abort.class() {
        Class::InstructionAbort => EC_INSTRUCTION_ABORT_LOWER,
        _ => EC_DATA_ABORT_LOWER,
    };
    let class = if from_el0(from) { class } else { class + EC_SAME_LEVEL };
    let status = if abort.0 & Syndrome::S1PTW != 0 { FSC_EXTERNAL_WALK | 3 } else { FSC_EXTERNAL };
    let mut kept = Syndrome::FNV;
    if abort.class() == Class::DataAbort {
        kept |= Syndrome::WNR | Syndrome::CM;
    }
    // IL is 1 for instruction aborts, and for data aborts without a valid ISS: whatever the instruction's length.
    enter(from, (class << 26) | Syndrome::IL | (abort.0 & kept) | status)
}

/// The entry of an undefined-instruction exception. `trap` tells the length of the instruction.
pub fn undefined(from: &Interrupted, trap: Syndrome) -> Entry {
    enter(from, (EC_UNKNOWN << 26) | (trap.0 & Syndrome::IL))
}

fn from_el0(from: &Interrupted) -> bool {
    Pstate::from_bits_retain(from.pstate).contains(Pstate::AARCH32) || from.pstate & 0b1100 == 0
}

/// AM-21 `get_exception_vector`: where a synchronous exception taken in `pstate` leads to.
pub fn exception_vector(vbar: u64, pstate: u64) -> u64 {
    let pstate = Pstate::from_bits_retain(pstate);
    let offset = if pstate.contains(Pstate::AARCH32) {
        0x600
    } else if !pstate.contains(Pstate::EL1) {
        0x400
    } else if pstate.contains(Pstate::SP) {
        0x200
    } else {
        0x000
    };
    vbar.wrapping_add(offset)
}

fn enter(from: &Interrupted, esr: u64) -> Entry {
    let old = Pstate::from_bits_retain(from.pstate);
    // PAN and DIT survive, the rest is reset; UAO, SS, IL, BTYPE and, from AArch32, its own bits become 0.
    let mut new = Pstate::EL1 | Pstate::SP | Pstate::D | Pstate::A | Pstate::I | Pstate::F;
    new |= old & (Pstate::NZCV | Pstate::PAN);
    if !old.contains(Pstate::AARCH32) {
        new |= old & Pstate::DIT;
    }
    if from.features.pan && from.sctlr & sctlr::SPAN == 0 {
        new |= Pstate::PAN;
    }
    if from.features.ssbs && from.sctlr & sctlr::DSSBS != 0 {
        new |= Pstate::SSBS;
    }
    if from.features.mte {
        new |= Pstate::TCO;
    }
    if from.features.nmi && from.sctlr & sctlr::SPINTMASK == 0 {
        new |= Pstate::ALLINT;
    }
    Entry { pc: exception_vector(from.vbar, from.pstate), pstate: new.bits(), esr, elr: from.pc, spsr: from.pstate }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA_WRITE: Syndrome = Syndrome((0x24 << 26) | Syndrome::IL | Syndrome::WNR | 0b0000_0111);
    const FETCH: Syndrome = Syndrome((0x20 << 26) | Syndrome::IL | 0b0000_0111);

    fn at(pstate: u64) -> Interrupted {
        Interrupted { pc: 0x1234, pstate, vbar: 0xffff_8000, sctlr: 0, features: PstateFeatures::default() }
    }

    #[test]
    fn the_vector_follows_the_interrupted_mode() {
        for (pstate, offset) in [(0b0000, 0x400), (0b0100, 0x000), (0b0101, 0x200), (0b1_0000, 0x600)] {
            let e = external_abort(&at(pstate), DATA_WRITE);
            assert_eq!(e.pc, 0xffff_8000 + offset);
            assert_eq!((e.elr, e.spsr), (0x1234, pstate));
            assert_eq!(e.pstate & 0x3df, 0x3c5, "EL1h, DAIF masked");
        }
    }

    #[test]
    fn the_class_tells_the_level_and_the_kind() {
        assert_eq!(external_abort(&at(0), DATA_WRITE).esr, (0x24 << 26) | Syndrome::IL | Syndrome::WNR | 0x10);
        assert_eq!(external_abort(&at(5), DATA_WRITE).esr >> 26, 0x25);
        assert_eq!(external_abort(&at(0), FETCH).esr, (0x20 << 26) | Syndrome::IL | 0x10);
        assert_eq!(external_abort(&at(5), FETCH).esr >> 26, 0x21);
        assert_eq!(undefined(&at(5), DATA_WRITE).esr, Syndrome::IL);
    }

    #[test]
    fn a_short_instruction_aborts_like_a_long_one() {
        let short = Syndrome(DATA_WRITE.0 & !Syndrome::IL);
        assert_eq!(external_abort(&at(0x10), short).esr, external_abort(&at(0x10), DATA_WRITE).esr);
        assert_eq!(undefined(&at(0x10), short).esr, 0);
    }

    #[test]
    fn a_walk_is_reported_as_one() {
        let walk = Syndrome(DATA_WRITE.0 | Syndrome::S1PTW);
        assert_eq!(external_abort(&at(0), walk).esr & 0x3f, 0x17);
    }

    #[test]
    fn pstate_bits_follow_sctlr_and_the_features() {
        let flags = (0b1010 << 28) | Pstate::DIT.bits() | Pstate::UAO.bits() | Pstate::SS.bits();
        let mut from = at(flags | 5);
        let e = undefined(&from, FETCH);
        assert_eq!(e.pstate, (0b1010 << 28) | Pstate::DIT.bits() | 0x3c5);
        from.features = PstateFeatures { pan: true, ssbs: true, mte: true, nmi: true };
        from.sctlr = sctlr::DSSBS;
        let all = Pstate::PAN | Pstate::SSBS | Pstate::TCO | Pstate::ALLINT;
        assert_eq!(undefined(&from, FETCH).pstate, e.pstate | all.bits());
        from.sctlr = sctlr::SPAN | sctlr::SPINTMASK;
        assert_eq!(undefined(&from, FETCH).pstate, e.pstate | Pstate::TCO.bits());
    }
}
