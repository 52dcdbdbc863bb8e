// SPDX-License-Identifier: GPL-2.0-only
//! Registers of the whole SMMU.

use super::banks::{alloc, free};
use super::policy::destroy;
use super::window::{Machine, Size, becomes, machine, raw, read, refused, write};
use crate::rt::call::host;
use corevisor::abi::{host_call as n, vm_flags};

/// Streams that match nothing, or twice, fault.
const CLOSED: u64 = (1 << 21) | (1 << 10);
const FAULT: u64 = 2 << 16;
const BYPASS: u64 = 1 << 16;
const ENTRIES: u64 = 32;
const SMR: u64 = 0x800;
const S2CR: u64 = 0xC00;
const CBAR: u64 = 0x1000;
const CBA2R: u64 = 0x1800;

pub fn what_boot_has_left() {
    if machine() != Machine::Driven {
        return;
    }
    for k in [0, 1] {
        assert_eq!(raw(k, 0, Size::Word), CLOSED);
        assert_eq!(raw(k, 8, Size::Word), 0);
        for entry in 0..ENTRIES {
            assert_eq!(raw(k, S2CR + 4 * entry, Size::Word), FAULT);
            assert_eq!(raw(k, SMR + 4 * entry, Size::Word), 0);
        }
        assert_eq!(raw(k, S2CR + 4 * ENTRIES, Size::Word), 0, "there are no more");
    }
}

/// The host is shown stage 2, and its banks.
pub fn identification() {
    if machine() != Machine::Driven {
        return;
    }
    let shown = [(0x20, 0x2800_1E20), (0x24, 0x2008_0008), (0x28, 0x1045), (0x2C, 0), (0x30, 0), (0x34, 0), (0x38, 0)];
    for (offset, value) in shown {
        assert_eq!(read(0, offset, Size::Word), value, "{offset:#x}");
        refused(offset, &[0, value, u64::MAX]);
    }
    assert_eq!(raw(0, 0x20, Size::Word), 0xF800_3E20, "there is more");
    assert_eq!(read(0, 0x20, Size::Double), 0x2008_0008_2800_1E20);
    assert_eq!(read(0, 0x28, Size::Double), 0x1045);
    assert!(!write(0, 0x20, Size::Double, 0));
}

pub fn configuration() {
    if machine() != Machine::Driven {
        return;
    }
    // sCR0: bypass, no faults, longer ids.
    refused(0, &[0, CLOSED | 1, CLOSED & !(1 << 10), CLOSED & !(1 << 21), CLOSED | 1 << 3, CLOSED | 1 << 31, u64::MAX]);
    assert!(!write(0, 0, Size::Double, CLOSED));
    becomes(0, CLOSED | 0b110, CLOSED | 0b110);
    becomes(0, CLOSED, CLOSED);
    // sCR2.BPVMID.
    refused(8, &[1, 0x80, 0xFF, u64::MAX]);
    becomes(8, 0x100, 0x100);
    becomes(8, 0, 0);
    // sACR: without effect.
    assert!(write(0, 0x10, Size::Word, u64::MAX));
    assert_eq!(raw(0, 0x10, Size::Word), 0);
}

/// Streams are routed to banks with an owner, or fault; those of a VM stay.
pub fn streams() {
    if machine() != Machine::Driven {
        return;
    }
    const VALID: u64 = 1 << 31;
    // No bypass, no bank that is free, or not there.
    refused(S2CR, &[BYPASS, 3 << 16, 0, 1, 7, 8, 0xFF]);
    assert!(!write(0, S2CR, Size::Double, FAULT));
    alloc(0, 0, 0);
    becomes(SMR, VALID | 5, VALID | 5);
    becomes(S2CR, 0, 0);
    becomes(S2CR, FAULT, FAULT);
    becomes(S2CR, 0, 0);
    refused(S2CR + 4 * ENTRIES, &[0, FAULT]);
    refused(SMR + 4 * ENTRIES, &[0, VALID]);
    // A VM's.
    let v = host(n::REGISTER_KVM, &[vm_flags::UNSIGNED]);
    alloc(0, v as u64, 1);
    becomes(SMR + 4, VALID | 6, VALID | 6);
    becomes(S2CR + 4, 1, 1);
    refused(S2CR + 4, &[0, FAULT, 1]);
    refused(SMR + 4, &[0, VALID | 7, VALID | 6]);
    // Nothing else may match its streams.
    refused(SMR + 8, &[VALID | 6, VALID | (0x7FFF << 16), VALID | (2 << 16) | 4]);
    becomes(SMR + 8, VALID | 8, VALID | 8);
    destroy(v as u64);
    assert_eq!([S2CR, S2CR + 4].map(|at| raw(0, at, Size::Word)), [0, FAULT]);
    free(0, 0);
    assert_eq!(raw(0, S2CR, Size::Word), FAULT);
    for entry in 0..3 {
        becomes(SMR + 4 * entry, 0, 0);
    }
}

/// CBAR and CBA2R.
pub fn descriptions_of_banks() {
    if machine() != Machine::Driven {
        return;
    }
    refused(CBAR, &[0, 0x80]);
    refused(CBA2R, &[0, 1]);
    alloc(0, 0, 0);
    // Of the host's, the interrupt is its own; stage and VMID are not.
    becomes(CBAR, (7 << 24) | (1 << 16) | 3, (7 << 24) | 0x80);
    becomes(CBAR, 0, 0x80);
    becomes(CBA2R, 0, 1);
    becomes(CBA2R, 3, 3);
    refused(CBA2R, &[4, 1 << 16, u64::MAX]);
    let v = host(n::REGISTER_KVM, &[vm_flags::UNSIGNED]) as u64;
    alloc(0, v, 1);
    becomes(CBAR + 4, v, 0x81);
    refused(CBAR + 4, &[0, v + 1, (1 << 16) | v, (7 << 24) | v, 0x81]);
    refused(CBAR + 8, &[0, v]);
    refused(CBAR + 4 * 8, &[0, v]);
    destroy(v);
    free(0, 0);
    refused(CBAR, &[0]);
}

/// Faults and translations are for the host to read and clear; what is not named is not.
pub fn the_rest() {
    if machine() != Machine::Driven {
        return;
    }
    for offset in [0x40, 0x48, 0x50, 0x54, 0x58, 0x64, 0x68, 0x6C, 0x70, 0x78, 0xB8, 0x100, 0x138, 0x180] {
        becomes(offset, 0x1234_5678, 0x1234_5678);
        becomes(offset, 0, 0);
    }
    assert!(write(0, 0x40, Size::Double, 0x1122_3344_5566_7788));
    assert_eq!(raw(0, 0x40, Size::Double), 0x1122_3344_5566_7788);
    assert!(write(0, 0x40, Size::Double, 0));
    for offset in [4, 0xC, 0x14, 0x74, 0x7C, 0xE00, 0x1200, 0x1A00, 0x2000, 0x7FFC] {
        refused(offset, &[0, 1]);
    }
}
