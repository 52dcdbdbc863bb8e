// SPDX-License-Identifier: GPL-2.0-only
//! The registers: as the host has them, and as they are.

use super::banks::{alloc, free};
use crate::rt::call::{Conduit, primitive, stat, test_call, with_canaries};
use crate::rt::fault::{Access, EXTERNAL, access, assert_refused};
use crate::rt::tree;
use corevisor::abi::stat as id;

/// Where the SMMUs are (tools/qemu-runner).
pub const SMMUS: [u64; 3] = [0x5C00_0000, 0x5C10_0000, 0x5C20_0000];

/// What this machine has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// Two SMMUs that can be driven.
    Driven,
    /// One that does not answer.
    Stuck,
    /// Three, one more than are supported.
    Many,
    /// None, though one is required.
    Required,
}

pub fn machine() -> Machine {
    match tree::options().find_map(|option| option.strip_prefix("smmu2=")) {
        Some("driven") => Machine::Driven,
        Some("stuck") => Machine::Stuck,
        Some("many") => Machine::Many,
        Some("required") => Machine::Required,
        other => panic!("no such machine: {other:?}"),
    }
}

/// Bytes of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Word,
    Double,
}

/// The register of SMMU `k` at `offset`, as it is.
pub fn raw(k: usize, offset: u64, size: Size) -> u64 {
    let what = match size {
        Size::Word => primitive::MMIO_READ_WORD,
        Size::Double => primitive::MMIO_READ_DOUBLE,
    };
    let [error, value, ..] = with_canaries(Conduit::Hvc, test_call::PRIMITIVE.into(), &[what, SMMUS[k] + offset, 0], 2);
    assert_eq!(error, 0);
    value
}

/// What the host reads there.
pub fn read(k: usize, offset: u64, size: Size) -> u64 {
    let kind = if size == Size::Word { Access::Read32 } else { Access::Read };
    access(kind, SMMUS[k] + offset, 0).unwrap_or_else(|fault| panic!("{offset:#x}: {fault:x?}"))
}

/// The host writes `value` there. `false` if it got an external abort; then nothing has changed.
pub fn write(k: usize, offset: u64, size: Size, value: u64) -> bool {
    let kind = if size == Size::Word { Access::Write32 } else { Access::Write };
    let before = (raw(k, offset & !7, Size::Double), stat(id::REFUSED_ACCESS));
    match access(kind, SMMUS[k] + offset, value) {
        Ok(_) => {
            assert_eq!(stat(id::REFUSED_ACCESS), before.1);
            true
        }
        Err(fault) => {
            assert_eq!((fault.class(), fault.esr & 0x3F, fault.far), (0x25, EXTERNAL, SMMUS[k] + offset));
            assert_eq!((raw(k, offset & !7, Size::Double), stat(id::REFUSED_ACCESS)), (before.0, before.1 + 1));
            false
        }
    }
}

/// The host writes `value` to a register of 4 bytes of the first SMMU, which holds `becomes` then.
#[track_caller]
pub fn becomes(offset: u64, value: u64, becomes: u64) {
    assert!(write(0, offset, Size::Word, value), "{offset:#x} := {value:#x}");
    assert_eq!(raw(0, offset, Size::Word), becomes, "{offset:#x} := {value:#x}");
    assert_eq!(read(0, offset, Size::Word), becomes, "{offset:#x}");
}

/// Each of `values` is refused for a register of 4 bytes of the first SMMU.
#[track_caller]
pub fn refused(offset: u64, values: &[u64]) {
    for &value in values {
        assert!(!write(0, offset, Size::Word, value), "{offset:#x} := {value:#x}");
    }
}

pub fn accesses_that_are_none_of_a_register() {
    if machine() != Machine::Driven {
        return;
    }
    use Access::{Read, Read8, Read16, Read32, ReadPair, ReadPost, Write, Write8, WritePair, WritePost, Zero};
    for kind in [Read8, Read16, ReadPair, ReadPost, Write8, WritePair, WritePost, Zero] {
        assert_refused(kind, SMMUS[0] + 0x40);
    }
    assert_refused(Access::UnmappedBranch, SMMUS[0]);
    // A group of registers has 4 KiB of its page at most.
    for at in [SMMUS[1] + 0x1000, SMMUS[1] + 0xF_1000, SMMUS[1] + 0x8_8000] {
        assert_refused(Read32, at);
        assert_refused(Read, at);
        assert_refused(Write, at);
    }
}

/// The second SMMU's pages have 64 KiB, 8 in each half.
pub fn another_layout() {
    const CBAR: u64 = 0x1_0000;
    const CBA2R: u64 = 0x1_0800;
    const BANK_1: u64 = 0x9_0000;
    const TTBR0: u64 = 0x20;
    if machine() != Machine::Driven {
        return;
    }
    assert_eq!(raw(1, 0xC00 + 4 * 31, Size::Word), 2 << 16, "boot was here");
    assert_eq!(read(1, 0x24, Size::Word), 0xA004_0004, "4 banks, all of stage 2");
    assert!(!write(1, CBAR + 4, Size::Word, 0), "nobody's");
    alloc(1, 0, 1);
    assert_eq!(raw(1, CBAR + 4, Size::Word), 0x81);
    assert_eq!(raw(1, CBA2R + 4, Size::Word), 1);
    let root = raw(1, BANK_1 + TTBR0, Size::Double);
    assert!(root != 0 && tree::is_corevisors(root), "{root:#x}");
    assert!(write(1, BANK_1 + TTBR0, Size::Double, 0x4000_0000));
    assert_eq!(raw(1, BANK_1 + TTBR0, Size::Double), root);
    assert!(write(1, CBAR + 4, Size::Word, 5 << 24));
    assert_eq!(raw(1, CBAR + 4, Size::Word), 0x0500_0081);
    // Where the specification's layout has them there is nothing.
    for offset in [0x1000, 0x1004, 0x9020, BANK_1 + 0x1020, BANK_1 + 0x8000] {
        assert!(!write(1, offset, Size::Word, 0x81), "{offset:#x}");
    }
    free(1, 1);
    assert_eq!(raw(1, BANK_1 + TTBR0, Size::Double), 0);
}
