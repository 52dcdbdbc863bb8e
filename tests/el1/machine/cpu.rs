// SPDX-License-Identifier: GPL-2.0-only
//! Random numbers and time.

use super::pages::carry_out;
use crate::rt::call::{Conduit, Registers, primitive, test_call, with_canaries};
use crate::rt::machine::{read, write};
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

pub fn counter_offset() {
    let offset = || {
        let (before, time, after) = (read!("cntpct_el0"), read!("cntvct_el0"), read!("cntpct_el0"));
        (before.wrapping_sub(time), after.wrapping_sub(time))
    };
    for wanted in [1 << 40, u64::MAX << 20, 1, 0] {
        carry_out(primitive::TIMER_SET_CNTVOFF, 0, wanted);
        write!("tpidr_el0", 0); // an ISB, so that the counters are read in order
        let (low, high) = offset();
        let tolerance = read!("cntfrq_el0");
        assert!(wanted.wrapping_sub(low) <= tolerance && high.wrapping_sub(wanted) <= tolerance, "{wanted:#x}");
    }
}

pub fn primitives_that_are_none() {
    for which in [primitive::TIMER_SET_CNTVOFF + 1, 255, u64::MAX] {
        assert_eq!(ask(which, 0, 0)[0] as i64, INVALID_PARAMETER);
    }
    for address in [1 << 48, u64::MAX] {
        assert_eq!(ask(primitive::SHARED_LOAD, address, 0)[0] as i64, INVALID_PARAMETER);
    }
}
