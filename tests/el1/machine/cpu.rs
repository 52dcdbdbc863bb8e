// SPDX-License-Identifier: GPL-2.0-only
//! Random numbers and time.

use super::pages::carry_out;
use crate::rt::call::{Conduit, Registers, primitive, test_call, with_canaries};
use crate::rt::machine::read;
use corevisor::abi::{INVALID_PARAMETER, NOT_SUPPORTED};

/// What PRIMITIVE returns.
pub fn ask(which: u64, address: u64, value: u64) -> Registers {
    with_canaries(Conduit::Hvc, test_call::PRIMITIVE.into(), &[which, address, value], 2)
}

/// Where the CPU has them.
pub fn numbers_differ() {
    if (read!("id_aa64isar0_el1") >> 60) == 0 {
        assert_eq!(ask(primitive::ENTROPY, 0, 0)[0] as i64, NOT_SUPPORTED, "nor has QEMU's firmware");
        return;
    }
    let numbers: [u64; 16] = core::array::from_fn(|_| carry_out(primitive::ENTROPY, 0, 0));
    for (n, number) in numbers.iter().enumerate() {
        assert!(!numbers[..n].contains(number), "{numbers:x?}");
    }
    let ones: u32 = numbers.iter().map(|number| number.count_ones()).sum();
    assert!((400..624).contains(&ones), "{ones} of 1024 bits");
}

pub fn primitives_that_are_none() {
    for which in [primitive::ENTROPY + 1, 255, u64::MAX] {
        assert_eq!(ask(which, 0, 0)[0] as i64, INVALID_PARAMETER);
    }
    for address in [1 << 48, u64::MAX] {
        assert_eq!(ask(primitive::SHARED_LOAD, address, 0)[0] as i64, INVALID_PARAMETER);
    }
}
