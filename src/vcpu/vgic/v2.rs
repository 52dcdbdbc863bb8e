// SPDX-License-Identifier: GPL-2.0-only
//! List registers of GICv2 (Arm IHI 0048B, 5.3.10): the run page has GICv3's, and a machine with a GICv2 translates.

/// VirtualID, in both.
const VIRTUAL_ID: u64 = 0x3FF;
/// CPUID of an SGI, in both: GICv3 has it in vINTID.
const SOURCE: u64 = 0b111 << 10;

/// A field, and where it starts in GICv3's list registers and in GICv2's.
struct Field {
    bits: u64,
    v3: u32,
    v2: u32,
}

const PHYSICAL_ID: Field = Field { bits: 0x3FF, v3: 32, v2: 10 };
/// Not of a physical interrupt: its end causes a maintenance interrupt.
const EOI: Field = Field { bits: 1, v3: 41, v2: 19 };
/// The upper five of the eight bits that GICv3 has.
const PRIORITY: Field = Field { bits: 0x1F, v3: 51, v2: 23 };
const STATE: Field = Field { bits: 0b11, v3: 62, v2: 28 };
const GROUP_1: Field = Field { bits: 1, v3: 60, v2: 30 };
const HW: Field = Field { bits: 1, v3: 61, v2: 31 };

impl Field {
    /// From GICv3's to GICv2's.
    const fn take_v3(&self, v3: u64) -> u64 {
        (v3 >> self.v3 & self.bits) << self.v2
    }

    /// And back.
    const fn take_v2(&self, v2: u64) -> u64 {
        (v2 >> self.v2 & self.bits) << self.v3
    }
}

/// What a list register has, whether its interrupt is a physical one, too, or not.
const COMMON: [Field; 4] = [PRIORITY, STATE, GROUP_1, HW];

/// GICH_LR for a list register of GICv3's that [`super::VgicEntry::fill`] has found right for a GICv2.
pub fn to_v2(v3: u64) -> u32 {
    let common = COMMON.iter().fold(v3 & VIRTUAL_ID, |v2, field| v2 | field.take_v3(v3));
    let other = if HW.take_v3(v3) != 0 { PHYSICAL_ID.take_v3(v3) } else { v3 & SOURCE | EOI.take_v3(v3) };
    (common | other) as u32
}

/// The list register of GICv3's that says the same as the GICH_LR `v2`.
pub fn from_v2(v2: u32) -> u64 {
    let v2 = u64::from(v2);
    let common = COMMON.iter().fold(v2 & VIRTUAL_ID, |v3, field| v3 | field.take_v2(v2));
    let other = if HW.take_v2(v2) != 0 { PHYSICAL_ID.take_v2(v2) } else { v2 & SOURCE | EOI.take_v2(v2) };
    common | other
}
