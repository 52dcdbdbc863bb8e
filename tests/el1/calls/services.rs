// SPDX-License-Identifier: GPL-2.0-only
//! What SMCCC defines, and what it leaves undefined.

use crate::rt::call::{CONDUITS, Conduit, psci, simple, with_canaries};
use crate::rt::tree;
use corevisor::abi::{self, HOST_CALL_BASE, host_call};

const VERSION: u64 = (HOST_CALL_BASE + host_call::VERSION) as u64;
const SMCCC_VERSION: u64 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u64 = 0x8000_0001;
/// Bit 16: the caller has no SVE state to preserve.
const SVE_HINT: u64 = 1 << 16;

pub fn version() {
    for conduit in CONDUITS {
        assert_eq!(simple(conduit, VERSION, &[]), abi::VERSION.into());
    }
}

pub fn features() {
    let id = (HOST_CALL_BASE + host_call::FEATURES).into();
    let bits = abi::features::TEST_IMAGE | abi::features::VMS | abi::features::UNSIGNED_VMS;
    // QEMU's CPUs have as many list registers.
    let expected = [0, bits, abi::stat::COUNT, tree::cpus() as u64, 4];
    for conduit in CONDUITS {
        assert_eq!(with_canaries(conduit, id, &[], 5)[..5], expected);
    }
}

pub fn uid_and_revision() {
    for conduit in CONDUITS {
        let uid = with_canaries(conduit, abi::CALL_UID.into(), &[], 4);
        assert_eq!(uid[..4], abi::UID.map(u64::from));
        let revision = with_canaries(conduit, abi::CALL_REVISION.into(), &[], 2);
        assert_eq!(revision[..2], [1, 0]);
    }
}

pub fn smccc_version_and_features() {
    for conduit in CONDUITS {
        assert_eq!(simple(conduit, SMCCC_VERSION, &[]), 0x1_0002);
        assert_eq!(simple(conduit, SMCCC_ARCH_FEATURES, &[SMCCC_VERSION]), 0);
        assert_eq!(simple(conduit, SMCCC_ARCH_FEATURES, &[SMCCC_ARCH_FEATURES]), 0);
        for unknown in [0, 0x8000_0003, 0x8400_0000, VERSION, u64::MAX] {
            assert_eq!(simple(conduit, SMCCC_ARCH_FEATURES, &[unknown]), abi::NOT_SUPPORTED, "{unknown:#x}");
        }
    }
}

pub fn upper_half_of_x0_is_ignored() {
    for conduit in CONDUITS {
        for junk in [1 << 32, 1 << 63, 0xDEAD_BEEF << 32, 0xFFFF_FFFF << 32] {
            assert_eq!(simple(conduit, VERSION | junk, &[]), abi::VERSION.into(), "{junk:#x}");
            assert_eq!(simple(conduit, SMCCC_VERSION | junk, &[]), 0x1_0002, "{junk:#x}");
            assert_eq!(simple(conduit, u64::from(psci::VERSION) | junk, &[]), 0x1_0001, "{junk:#x}");
        }
    }
}

pub fn sve_hint_is_ignored() {
    for conduit in CONDUITS {
        assert_eq!(simple(conduit, VERSION | SVE_HINT, &[]), abi::VERSION.into());
        assert_eq!(simple(conduit, SMCCC_VERSION | SVE_HINT, &[]), 0x1_0002);
        assert_eq!(simple(conduit, u64::from(psci::VERSION) | SVE_HINT, &[]), 0x1_0001);
        let uid = with_canaries(conduit, u64::from(abi::CALL_UID) | SVE_HINT, &[], 4);
        assert_eq!(uid[..4], abi::UID.map(u64::from));
    }
}

pub fn reserved_bits_are_unknown() {
    for conduit in CONDUITS {
        for id in [VERSION, SMCCC_VERSION, psci::VERSION.into(), psci::SYSTEM_OFF.into(), abi::CALL_UID.into()] {
            for bit in 17..24 {
                assert_eq!(simple(conduit, id | 1 << bit, &[]), abi::NOT_SUPPORTED, "{id:#x}, bit {bit}");
            }
            // A yielding call.
            assert_eq!(simple(conduit, id & !(1 << 31), &[]), abi::NOT_SUPPORTED, "{id:#x}");
        }
    }
}

pub fn other_immediates_are_unknown() {
    for conduit in [Conduit::Hvc1, Conduit::Smc1, Conduit::HvcFfff, Conduit::SmcFfff] {
        for id in [VERSION, SMCCC_VERSION, psci::VERSION.into(), psci::SYSTEM_OFF.into(), abi::CALL_UID.into(), 0] {
            assert_eq!(simple(conduit, id, &[]), abi::NOT_SUPPORTED, "{conduit:?} {id:#x}");
        }
    }
}

/// Of every owner, both widths, fast and yielding, a sample of numbers, less what exists.
pub fn unknown_ids() {
    const NUMBERS: [u64; 26] = [
        0, 1, 2, 3, 11, 13, 0x1F, 0x20, 0x4F, 0x50, 0x53, 0x54, 0x7F, 0x80, 0xFF, 0x100, 0xFFF, 0x1000, 0x1FFF, 0x2000,
        0x3FFF, 0x7FFF, 0x8000, 0xFF00, 0xFF02, 0xFFFF,
    ];
    let exists = |id: u64| match id {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => true,
        0x8400_0000..=0x8400_001F | 0xC400_0000..=0xC400_001F => true, // PSCI
        _ => false,
    };
    let mut tried = 0;
    for top in 0..=0xFFu64 {
        for id in NUMBERS.map(|number| (top << 24) | number).into_iter().filter(|&id| !exists(id)) {
            for conduit in CONDUITS {
                assert_eq!(simple(conduit, id, &[]), abi::NOT_SUPPORTED, "{id:#x} by {conduit:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000);
}
