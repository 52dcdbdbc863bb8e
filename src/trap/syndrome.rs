// SPDX-License-Identifier: GPL-2.0-only
//! ESR_ELx, decoded (Arm ARM D24.2.40).

/// What kind of exception was taken: ESR_ELx.EC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// HVC in AArch64 state.
    Hvc64,
    /// SMC in AArch64 state.
    Smc64,
    /// MSR, MRS or system instruction in AArch64 state.
    Sys64,
    /// Instruction abort from a lower exception level.
    InstructionAbort,
    /// Data abort from a lower exception level.
    DataAbort,
    /// Any other, with its number.
    Other(u8),
}

/// A load or store of one register (AM-122 to AM-124).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataAccess {
    /// A store.
    pub is_write: bool,
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// The register; 31 is none.
    pub register: usize,
}

/// An ESR_ELx value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// IL: the instruction was 32 bits long.
    pub const IL: u64 = 1 << 25;
    /// ISS.WnR of a data abort: a write. Set for cache maintenance, too.
    pub const WNR: u64 = 1 << 6;
    /// ISS.S1PTW: the access was a stage-1 walk.
    pub const S1PTW: u64 = 1 << 7;
    /// ISS.CM: cache maintenance.
    pub const CM: u64 = 1 << 8;
    /// ISS.FnV: FAR is not valid.
    pub const FNV: u64 = 1 << 10;
    /// ISS.SRT, from this bit on: the register of a data access.
    pub const SRT_SHIFT: u32 = 16;
    /// ISS.SSE: what is loaded is sign-extended.
    pub const SSE: u64 = 1 << 21;
    /// ISS.SAS, from this bit on: log2 of the bytes of a data access.
    pub const SAS_SHIFT: u32 = 22;
    /// ISS.ISV: SAS, SSE and SRT are valid.
    pub const ISV: u64 = 1 << 24;

    /// The exception class, bits 31:26.
    pub const fn class(self) -> Class {
        match ((self.0 >> 26) & 0x3F) as u8 {
            0x16 => Class::Hvc64,
            0x17 => Class::Smc64,
            0x18 => Class::Sys64,
            0x20 => Class::InstructionAbort,
            0x24 => Class::DataAbort,
            ec => Class::Other(ec),
        }
    }

    /// The immediate of an HVC or SMC instruction.
    pub const fn immediate(self) -> u16 {
        self.0 as u16
    }

    /// Whether a fault status code says that HPFAR_EL2 holds the address: translation, access flag and address size
    /// faults, and any fault of a stage-1 walk (Arm ARM D24.2.62).
    pub const fn has_ipa(self) -> bool {
        let status = self.0 & 0x3F;
        matches!(status >> 2, 0b0000..=0b0010) || self.0 & Self::S1PTW != 0
    }

    /// The load or store of one register that caused a data abort, if hardware describes it in full: not for pairs, not for
    /// cache maintenance, not for a stage-1 walk, not where it would be sign-extended, nor without FAR.
    pub fn data_access(self) -> Option<DataAccess> {
        let odd = Self::CM | Self::S1PTW | Self::FNV | Self::SSE;
        if self.class() != Class::DataAbort || self.0 & Self::ISV == 0 || self.0 & odd != 0 {
            return None;
        }
        Some(DataAccess {
            is_write: self.0 & Self::WNR != 0,
            size: 1 << ((self.0 >> Self::SAS_SHIFT) & 3),
            register: (self.0 >> Self::SRT_SHIFT) as usize & 31,
        })
    }

    /// Whether the fault is one of translation: nothing is mapped.
    pub const fn is_translation_fault(self) -> bool {
        (self.0 & 0x3F) >> 2 == 0b0001
    }
}
