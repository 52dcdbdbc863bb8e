// SPDX-License-Identifier: GPL-2.0-only
//! Device registers, for want of an SMMU those of a clock.

use super::pages::carry_out;
use crate::rt::call::primitive;
use crate::rt::tree;

/// Match register of the PL031; the data register, at 0, tells the seconds.
const MATCH: u64 = 4;

/// In both widths, and by the host and Corevisor in turn.
pub fn device_registers() {
    let clock = tree::ranges(tree::compatible("arm,pl031").expect("a clock")).next().expect("its registers").start;
    let register = (clock + MATCH) as *mut u32;
    for value in [0x1234_5678, 0xFFFF_FFFF, 0, 0x8000_0001u32] {
        carry_out(primitive::MMIO_WRITE_WORD, clock + MATCH, 0xDEAD_BEEF_0000_0000 | u64::from(value));
        // SAFETY: a register of the clock, which nobody uses.
        assert_eq!(unsafe { register.read_volatile() }, value);
        assert_eq!(carry_out(primitive::MMIO_READ_WORD, clock + MATCH, 0), value.into());
        // SAFETY: as above.
        unsafe { register.write_volatile(!value) };
        assert_eq!(carry_out(primitive::MMIO_READ_WORD, clock + MATCH, 0), (!value).into());
        assert_eq!(carry_out(primitive::MMIO_READ_DOUBLE, clock, 0) >> 32, (!value).into());
    }
    // SAFETY: as above.
    unsafe { register.write_volatile(0) };
}
