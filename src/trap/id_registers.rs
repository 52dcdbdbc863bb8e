// SPDX-License-Identifier: GPL-2.0-only
//! The ID registers as VMs see them (Arm ARM D24.2): a list of the fields that are shown, each with the highest value
//! that is understood here. Whatever is not in the list reads as 0, so that a feature that is unknown today, or whose
//! registers are not saved and restored, stays hidden.

/// The ID registers of which VMs see something of the hardware's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IdRegister {
    /// ID_AA64PFR0_EL1.
    Pfr0,
    /// ID_AA64PFR1_EL1.
    Pfr1,
    /// ID_AA64DFR0_EL1.
    Dfr0,
    /// ID_AA64ISAR0_EL1.
    Isar0,
    /// ID_AA64ISAR1_EL1.
    Isar1,
    /// ID_AA64ISAR2_EL1.
    Isar2,
    /// ID_AA64MMFR0_EL1.
    Mmfr0,
    /// ID_AA64MMFR1_EL1.
    Mmfr1,
    /// ID_AA64MMFR2_EL1.
    Mmfr2,
}

/// What a field of four bits shows.
#[derive(Clone, Copy)]
enum Shown {
    /// This, whatever the hardware has.
    Always(u64),
    /// The hardware's value, but no more than this.
    UpTo(u64),
    /// The same for a field in which 0xF says that there is nothing.
    UpToSigned(u64),
    /// ID_AA64MMFR0_EL1.PARange: no more than stage 2 translates.
    AddressBits,
    /// ID_AA64PFR0_EL1.GIC: 1 if there is a virtual CPU interface.
    Gic,
}

use Shown::{Always, UpTo, UpToSigned};

/// First bit, and what is shown, of the fields of a register.
type Fields = &'static [(u32, Shown)];

/// EL0 and EL1 in AArch64 only; FP, AdvSIMD, DIT, CSV2 (without SCXTNUM_ELx, which would be 2), CSV3.
const PFR0: Fields = &[
    (0, Always(1)),
    (4, Always(1)),
    (16, UpToSigned(1)),
    (20, UpToSigned(1)),
    (24, Shown::Gic),
    (48, UpTo(1)),
    (56, UpTo(1)),
    (60, UpTo(1)),
];
/// BT, SSBS, CSV2_frac (2 would be SCXTNUM_ELx).
const PFR1: Fields = &[(0, UpTo(1)), (4, UpTo(2)), (32, UpTo(1))];
/// DebugVer: Armv8. BRPs, WRPs: two of each, the fewest that there can be. No DoubleLock, which is 0xF.
const DFR0: Fields = &[(0, Always(6)), (12, Always(1)), (20, Always(1)), (36, Always(0xF))];
/// AES, SHA1, SHA2, CRC32, Atomic, RDM, SHA3, SM3, SM4, DP, FHM, TS, TLB, RNDR; no TME.
const ISAR0: Fields = &[
    (4, UpTo(2)),
    (8, UpTo(1)),
    (12, UpTo(2)),
    (16, UpTo(1)),
    (20, UpTo(2)),
    (28, UpTo(1)),
    (32, UpTo(1)),
    (36, UpTo(1)),
    (40, UpTo(1)),
    (44, UpTo(1)),
    (48, UpTo(1)),
    (52, UpTo(2)),
    (56, UpTo(2)),
    (60, UpTo(1)),
];
/// DPB, APA, API (without PAuth_LR, which would be 6), JSCVT, FCMA, LRCPC, GPA, GPI, FRINTTS, SB, SPECRES, BF16, DGH, I8MM;
/// no XS, no LS64.
const ISAR1: Fields = &[
    (0, UpTo(2)),
    (4, UpTo(5)),
    (8, UpTo(5)),
    (12, UpTo(1)),
    (16, UpTo(1)),
    (20, UpTo(3)),
    (24, UpTo(1)),
    (28, UpTo(1)),
    (32, UpTo(1)),
    (36, UpTo(1)),
    (40, UpTo(1)),
    (44, UpTo(2)),
    (48, UpTo(1)),
    (52, UpTo(1)),
];
/// RPRES, GPA3, APA3, BC, PAC_frac, CLRBHB, CSSC; no WFxT, as the host does not see how long a vCPU wants to wait, and no
/// MOPS.
const ISAR2: Fields =
    &[(4, UpTo(1)), (8, UpTo(1)), (12, UpTo(5)), (20, UpTo(1)), (24, UpTo(1)), (28, UpTo(1)), (52, UpTo(1))];
/// PARange, ASIDBits, BigEnd, BigEndEL0, TGran16 (2 would be 52-bit addresses), TGran64, TGran4; no ExS, FGT, ECV.
const MMFR0: Fields = &[
    (0, Shown::AddressBits),
    (4, UpTo(2)),
    (8, UpTo(1)),
    (16, UpTo(1)),
    (20, UpTo(1)),
    (24, UpToSigned(0)),
    (28, UpToSigned(0)),
];
/// HAFDBS, HPDS, PAN, ETS, AFP, nTLBPA, ECBHB; no VH, LO, XNX, HCX.
const MMFR1: Fields =
    &[(0, UpTo(2)), (12, UpTo(2)), (20, UpTo(3)), (36, UpTo(2)), (44, UpTo(1)), (48, UpTo(1)), (60, UpTo(1))];
/// UAO, VARange, CCIDX, ST, AT, IDS, TTL, E0PD; no CnP, IESB, NV, FWB, BBM, EVT.
const MMFR2: Fields = &[
    (4, UpTo(1)),
    (16, UpTo(1)),
    (20, UpTo(1)),
    (28, UpTo(1)),
    (32, UpTo(1)),
    (36, UpTo(1)),
    (48, UpTo(1)),
    (60, UpTo(1)),
];

impl IdRegister {
    fn fields(self) -> Fields {
        match self {
            Self::Pfr0 => PFR0,
            Self::Pfr1 => PFR1,
            Self::Dfr0 => DFR0,
            Self::Isar0 => ISAR0,
            Self::Isar1 => ISAR1,
            Self::Isar2 => ISAR2,
            Self::Mmfr0 => MMFR0,
            Self::Mmfr1 => MMFR1,
            Self::Mmfr2 => MMFR2,
        }
    }

    /// What a VM sees of the hardware's value, if its stage-2 table translates `ipa_bits` bits and if it has a GICv3 CPU
    /// interface or not.
    pub fn shown(self, hardware: u64, ipa_bits: u32, gic: bool) -> u64 {
        self.fields().iter().fold(0, |register, &(shift, shown)| {
            let field = (hardware >> shift) & 0xF;
            let value = match shown {
                Always(value) => value,
                UpTo(most) => field.min(most),
                UpToSigned(_) if field == 0xF => 0xF,
                UpToSigned(most) => field.min(most),
                Shown::AddressBits => field.min(pa_range(ipa_bits)),
                Shown::Gic => gic.into(),
            };
            register | value << shift
        })
    }
}

/// The largest PARange of at most `bits` bits.
fn pa_range(bits: u32) -> u64 {
    match bits {
        ..36 => 0,
        36..40 => 1,
        40..42 => 2,
        42..44 => 3,
        44..48 => 4,
        48.. => 5,
    }
}
