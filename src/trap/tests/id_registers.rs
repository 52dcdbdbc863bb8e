// SPDX-License-Identifier: GPL-2.0-only
//! ID registers as VMs see them.

use crate::trap::IdRegister::{self, Dfr0, Isar0, Isar1, Isar2, Mmfr0, Mmfr1, Mmfr2, Pfr0, Pfr1};
use proptest::prelude::*;

const ALL: [IdRegister; 9] = [Pfr0, Pfr1, Dfr0, Isar0, Isar1, Isar2, Mmfr0, Mmfr1, Mmfr2];
/// All fields 0xE, which is more than there is today.
const MUCH: u64 = 0xEEEE_EEEE_EEEE_EEEE;
/// Debug registers: the fewest that there can be.
const DEBUG: u64 = 0xF0_0010_1006;

// Tests: TD-2
#[test]
fn what_is_not_known_is_hidden() {
    let expected = [
        0x1101_0000_0011_0011,
        0x0000_0001_0000_0021,
        DEBUG,
        0x1221_1111_1021_2120,
        0x0011_2111_1131_1552,
        0x0010_0000_1110_5110,
        0x0000_0000_0011_0122,
        0x1001_1020_0030_2002,
        0x1001_0011_1011_0010,
    ];
    for (register, expected) in ALL.into_iter().zip(expected) {
        let shown = register.shown(MUCH, 40, false);
        assert_eq!(shown, expected, "{register:?} {shown:#x}");
    }
    assert_eq!(Pfr0.shown(MUCH, 40, true), expected[0] | 1 << 24);
}

// Tests: TD-2
#[test]
fn what_the_hardware_does_not_have_is_not_shown() {
    for register in ALL {
        let expected = match register {
            Pfr0 => 0x11,
            Dfr0 => DEBUG,
            _ => 0,
        };
        assert_eq!(register.shown(0, 48, false), expected, "{register:?}");
    }
    // 0xF: no FP, no AdvSIMD; no granules of 64 and 4 KiB.
    assert_eq!(Pfr0.shown(0xFF_0000, 48, false), 0xFF_0011);
    assert_eq!(Mmfr0.shown(0xFF00_0000, 48, false), 0xFF00_0000);
}

// Tests: TD-2
#[test]
fn addresses_are_no_wider_than_stage_2() {
    // 0 to 6: 32, 36, 40, 42, 44, 48, 52 bits.
    for (bits, most) in [(32, 0), (35, 0), (36, 1), (39, 1), (40, 2), (42, 3), (43, 3), (44, 4), (47, 4), (48, 5)] {
        for hardware in 0..=6 {
            assert_eq!(Mmfr0.shown(hardware, bits, false), hardware.min(most), "{bits} bits");
        }
    }
}

proptest! {
    // Tests: TD-2
    #[test]
    fn no_field_shows_more_than_the_hardware_has(hardware: u64, bits in 32u32..=48, gic: bool) {
        for register in ALL.into_iter().filter(|register| *register != Dfr0) {
            let shown = register.shown(hardware, bits, gic);
            for shift in (0..64).step_by(4) {
                let (field, has) = (shown >> shift & 0xF, hardware >> shift & 0xF);
                let always = register == Pfr0 && [0, 4, 24].contains(&shift);
                prop_assert!(field <= has || always, "{:?} {}", register, shift);
            }
        }
    }
}
