// SPDX-License-Identifier: GPL-2.0-only
//! ESR_ELx, decoded (Arm ARM D24.2.40).

/// What kind of exception was taken: ESR_ELx.EC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// WFI, WFE, WFIT or WFET.
    Wfx,
    /// FP or SIMD registers, while they are not the VM's.
    Fp,
    /// HVC in AArch32 state.
    Hvc32,
    /// SMC in AArch32 state.
    Smc32,
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

/// An ESR_ELx value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// IL: the instruction was 32 bits long.
    pub const IL: u64 = 1 << 25;
    /// The class.
    pub const CLASS: u64 = 0x3F << 26;
    /// ISS.ISV of a data abort: the fields that tell of the access are valid.
    pub const ISV: u64 = 1 << 24;
    /// ISS.WnR of a data abort: a write. Set for cache maintenance, too.
    pub const WNR: u64 = 1 << 6;
    /// ISS.S1PTW: the access was a stage-1 walk.
    pub const S1PTW: u64 = 1 << 7;
    /// ISS.CM: cache maintenance.
    pub const CM: u64 = 1 << 8;
    /// ISS.FnV: FAR is not valid.
    pub const FNV: u64 = 1 << 10;
    /// ISS.SSE: what is loaded is sign-extended.
    pub const SSE: u64 = 1 << 21;

    /// What there is to say of an abort without saying anything of the register or the address that it is about.
    pub const FAULT: u64 = Self::CLASS | Self::IL | Self::FNV | Self::CM | Self::S1PTW | Self::WNR | 0x3F;

    /// The exception class, bits 31:26.
    pub const fn class(self) -> Class {
        match ((self.0 >> 26) & 0x3F) as u8 {
            0x01 => Class::Wfx,
            0x07 => Class::Fp,
            0x12 => Class::Hvc32,
            0x13 => Class::Smc32,
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

    /// ISS.TI of a trapped wait, bit 1: it was WFIT or WFET.
    pub const fn is_wait_with_timeout(self) -> bool {
        self.0 & 0b10 != 0
    }

    /// ISS.SRT of a data abort with a valid ISS: the general register.
    pub const fn register(self) -> usize {
        (self.0 >> 16) as usize & 0x1F
    }

    /// ISS.SAS of the same: the bits of the register that the access is about.
    pub const fn access_mask(self) -> u64 {
        match self.0 >> 22 & 0b11 {
            0 => 0xFF,
            1 => 0xFFFF,
            2 => 0xFFFF_FFFF,
            _ => u64::MAX,
        }
    }

    /// Whether a fault status code says that HPFAR_EL2 holds the address: translation, access flag and address size
    /// faults, and any fault of a stage-1 walk (Arm ARM D24.2.62).
    pub const fn has_ipa(self) -> bool {
        let status = self.0 & 0x3F;
        matches!(status >> 2, 0b0000..=0b0010) || self.0 & Self::S1PTW != 0
    }

    /// Whether hardware describes in full the load or store of one register that caused a data abort: not so for pairs,
    /// cache maintenance, stage-1 walks, loads that extend the sign, or without FAR.
    pub fn describes_access(self) -> bool {
        let odd = Self::CM | Self::S1PTW | Self::FNV | Self::SSE;
        self.class() == Class::DataAbort && self.0 & (Self::ISV | odd) == Self::ISV
    }

    /// Whether the fault is one of translation: nothing is mapped.
    pub const fn is_translation_fault(self) -> bool {
        (self.0 & 0x3F) >> 2 == 0b0001
    }
}
