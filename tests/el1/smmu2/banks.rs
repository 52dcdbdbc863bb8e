// SPDX-License-Identifier: GPL-2.0-only
//! Context banks: their registers, and the calls that are about them.

use super::policy::destroy;
use super::window::{Machine, Size, becomes, machine, raw, refused, write};
use crate::rt::call::{host, test_call};
use crate::rt::{PAGE, machine as cpu, tree};
use corevisor::abi::{BUSY, host_call as n, vm_flags};

const TTBR0: u64 = 0x20;
const TCR: u64 = 0x30;
/// 40 bits from level 1 on, 4 KiB, write-back, 40 bits out.
const STAGE_2: u64 = 0x8002_3558;
/// What a bank is enabled with: M and CFRE.
const ENABLED: u64 = 0x21;
/// Read, write, normal memory.
const PROT: u64 = (0b11 << 6) | (0xF << 2);

/// Bank `b` of SMMU `k` for `owner`.
pub fn alloc(k: u64, owner: u64, b: u64) {
    assert_eq!(host(n::SMMU_ALLOC_PGD, &[b, owner, k]), 0);
}

pub fn free(k: u64, b: u64) {
    assert_eq!(host(n::SMMU_FREE_PGD, &[b, k]), 0);
}

const fn at(b: u64, register: u64) -> u64 {
    0x8000 + 0x1000 * b + register
}

/// The `i`th of some pages of the host's that nobody uses.
fn page(i: u64) -> u64 {
    let page = cpu::image().end.next_multiple_of(2 << 20) + (2 << 20) + i * PAGE;
    assert!(!tree::is_corevisors(page));
    page
}

pub fn registers_of_a_bank() {
    if machine() != Machine::Driven {
        return;
    }
    alloc(0, 0, 2);
    let root = raw(0, at(2, TTBR0), Size::Double);
    assert!(tree::is_corevisors(root) && root.is_multiple_of(PAGE), "{root:#x}");
    // The table is Corevisor's, whatever the width.
    for value in [0, page(0), u64::MAX] {
        assert!(write(0, at(2, TTBR0), Size::Double, value));
        becomes(at(2, TTBR0), value, root & 0xFFFF_FFFF);
        becomes(at(2, TTBR0 + 4), value, root >> 32);
        assert_eq!(raw(0, at(2, TTBR0), Size::Double), root);
        becomes(at(2, TCR), value, STAGE_2);
    }
    // A bank that does not translate lets everything through.
    becomes(at(2, 0), 0, 1);
    becomes(at(2, 0), u64::MAX, 0x1E1);
    becomes(at(2, 0), ENABLED, ENABLED);
    // ACTLR: without effect. CONTEXTIDR: not at all.
    assert!(write(0, at(2, 4), Size::Word, u64::MAX));
    assert_eq!(raw(0, at(2, 4), Size::Word), 0);
    refused(at(2, 0x34), &[0, 1]);
    // The host's: faults, invalidations, translations, and what stage 1 would use.
    for register in [0x08, 0x28, 0x2C, 0x38, 0x3C, 0x50, 0x58, 0x5C, 0x60, 0x68, 0x6C, 0x70, 0x600, 0x638, 0x7F0, 0x800]
    {
        becomes(at(2, register), 0x1234_5678, 0x1234_5678);
        becomes(at(2, register), 0, 0);
    }
    assert!(write(0, at(2, 0x60), Size::Double, 0x1122_3344_5566_7788));
    assert_eq!(raw(0, at(2, 0x60), Size::Double), 0x1122_3344_5566_7788);
    assert!(write(0, at(2, 0x60), Size::Double, 0));
    for register in [0x0C, 0x40, 0x78, 0x100, 0x640, 0x820, 0xFFC] {
        refused(at(2, register), &[0, 1]);
    }
    for register in [0, TCR, 0x58] {
        assert!(!write(0, at(2, register), Size::Double, ENABLED), "{register:#x} with 8 bytes");
    }
    free(0, 2);
}

pub fn banks_that_are_nobodys() {
    if machine() != Machine::Driven {
        return;
    }
    for b in 0..8 {
        for register in [0, 4, TTBR0, TCR, 0x58, 0x600] {
            refused(at(b, register), &[0, ENABLED]);
        }
        assert_eq!([raw(0, at(b, 0), Size::Word), raw(0, at(b, TTBR0), Size::Double)], [0, 0]);
    }
    for (b, k) in [(4, 1), (7, 1), (0, 2)] {
        assert!(host(n::SMMU_ALLOC_PGD, &[b, 0, k]) < 0, "bank {b} of SMMU {k}");
    }
}

/// It is set up, used, and cleaned up; and what a device reaches is not given away.
pub fn the_life_of_a_bank() {
    if machine() != Machine::Driven {
        return;
    }
    const IOVA: u64 = 0x12_3456_7000;
    alloc(0, 0, 3);
    assert_eq!([at(3, 0), at(3, TCR), 0x100C, 0x180C].map(|r| raw(0, r, Size::Word)), [ENABLED, STAGE_2, 0x83, 1]);
    let root = raw(0, at(3, TTBR0), Size::Double);
    assert!(tree::is_corevisors(root), "{root:#x}");
    let (page, number) = (page(0), page(0) / PAGE);
    assert_eq!(host(n::SMMU_LPAE_MAP, &[IOVA, page, PROT, 3, 0]), 0);
    assert_eq!(host(n::SMMU_LPAE_IOVA_TO_PHYS, &[IOVA + 0x123, 3, 0]), (page + 0x123) as i64);
    assert_eq!(host_take(number), BUSY);
    assert!(host(n::SMMU_FREE_PGD, &[3, 0]) < 0, "something is mapped");
    assert!(write(0, 0x64, Size::Word, 0));
    assert_eq!(host(n::SMMU_CLEAR, &[IOVA, 3, 0]), 0);
    assert_eq!(raw(0, 0x64, Size::Word), 0x83, "TLBIVMID, of the bank's translations");
    assert_eq!(host_take(number), 0, "no device reaches it any more");
    assert_eq!(host_give(number), 0);
    free(0, 3);
    assert_eq!([raw(0, at(3, 0), Size::Word), raw(0, at(3, TTBR0), Size::Double)], [0, 0]);
}

fn host_take(page: u64) -> i64 {
    crate::rt::call::hvc(test_call::TAKE_PAGE, &[page])
}

fn host_give(page: u64) -> i64 {
    crate::rt::call::hvc(test_call::GIVE_PAGE, &[page])
}

/// What is mapped for a VM's bank becomes the VM's; the bank is freed with the VM.
pub fn a_vms_bank() {
    if machine() != Machine::Driven {
        return;
    }
    let v = host(n::REGISTER_KVM, &[vm_flags::UNSIGNED]) as u64;
    alloc(0, v, 4);
    let root = raw(0, at(4, TTBR0), Size::Double);
    alloc(0, 0, 4);
    assert_eq!(raw(0, at(4, TTBR0), Size::Double), root, "it stays the VM's");
    let page = page(1);
    assert_eq!(host(n::SMMU_LPAE_MAP, &[0, page, PROT, 4, 0]), 0);
    crate::rt::fault::assert_refused(crate::rt::fault::Access::Read, page);
    // Stalled transactions of a VM would be the host's to hold up.
    becomes(at(4, 0), u64::MAX, 0x161);
    assert!(host(n::SMMU_FREE_PGD, &[4, 0]) < 0, "the VM is not powered off");
    destroy(v);
    assert_eq!([raw(0, at(4, 0), Size::Word), raw(0, at(4, TTBR0), Size::Double)], [0, 0]);
    assert_eq!(crate::rt::fault::read(page), Ok(0), "it came back zeroed");
    refused(at(4, 0), &[ENABLED]);
}
