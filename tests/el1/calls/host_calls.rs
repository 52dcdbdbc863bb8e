// SPDX-License-Identifier: GPL-2.0-only
//! The ranges of arguments of the host's calls, while there is no VM.

use crate::rt::call::{CONDUITS, host, simple};
use crate::rt::machine;
use corevisor::abi::{self, HOST_CALL_BASE, host_call as n};

/// Exclusive bounds: of physical and of guest addresses.
const PHYS: u64 = 1 << 40;
const ADDR: u64 = 1 << 48;
const PAGE: u64 = 4096;
/// Attributes may not have bits of the page's address.
const ATTRIBUTES: u64 = 0xFFFF_0000_0000_0FFF & !(1 << 63) & !(0xF << 60);

/// Every call with its arguments at the lower edge of what it accepts, and at the upper.
const ACCEPTED: [(u32, &[u64], &[u64]); 22] = [
    (n::TIMER_SET_CNTVOFF, &[0, 0], &[u32::MAX as u64, u32::MAX as u64]),
    (n::CLEAR_VM_S2_RANGE, &[1, 0, 0], &[15, 0, PHYS - PAGE]),
    (n::SET_BOOT_INFO, &[1, 0, 0], &[15, PHYS - PAGE - 1, PAGE]),
    (n::REMAP_VM_IMAGE, &[1, 0, 0], &[15, (PHYS >> 12) - 1, 4]),
    (n::VERIFY_VM_IMAGE, &[1], &[15]),
    (n::SMMU_FREE_PGD, &[0, 0], &[7, 1]),
    (n::SMMU_ALLOC_PGD, &[0, 0, 0], &[7, 15, 1]),
    (n::SMMU_LPAE_MAP, &[0, 0, 0, 0, 0], &[PHYS - 1, PHYS - 1, ATTRIBUTES, 7, 1]),
    (n::SMMU_LPAE_IOVA_TO_PHYS, &[0, 0, 0], &[PHYS - 1, 7, 1]),
    (n::SMMU_CLEAR, &[0, 0, 0], &[PHYS - 1, 7, 1]),
    (n::PHYS_ADDR_IOREMAP, &[1, 0, 0, 0], &[15, ADDR - PAGE - 1, PHYS - PAGE - 1, PAGE]),
    (n::REGISTER_KVM, &[0], &[3, u64::MAX, u64::MAX]),
    (n::REGISTER_VCPU, &[1, 0, 0], &[15, 7, PHYS - PAGE]),
    (n::ENCRYPT_BUF, &[1, 0, 0], &[15, PHYS - 1, PHYS - 1]),
    (n::DECRYPT_BUF, &[1, 0], &[15, PHYS - 1]),
    (n::SAVE_CRYPT_VCPU, &[1, 0], &[15, 7]),
    (n::LOAD_CRYPT_VCPU, &[1, 0], &[15, 7]),
    (n::VCPU_RUN, &[1, 0], &[15, 7]),
    (n::DESTROY_VM, &[1], &[15]),
    (n::SMMU_ATTACH_STREAM, &[0, 0, 0], &[u32::MAX as u64, abi::HOST_DMA, 1]),
    (n::SMMU_DETACH_STREAM, &[0, 0], &[u32::MAX as u64, 1]),
    (n::VM_MEASUREMENT, &[1], &[15]),
];

/// What a VM's id can't be.
const NO_VM: &[u64] = &[0, 16, 17, 255, 256, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX];
/// What a vCPU's number or a context bank's can't be.
const NO_8: &[u64] = &[8, 255, 256, 1 << 32, 1 << 63, u64::MAX];
/// What an SMMU's number can't be.
const NO_SMMU: &[u64] = &[2, 3, 256, 1 << 32, 1 << 63, u64::MAX];
/// What an address or a size can't be.
const NO_PHYS: &[u64] = &[PHYS, PHYS + 1, 1 << 48, 1 << 52, 1 << 63, u64::MAX - PAGE + 1, u64::MAX];
/// What half a counter offset can't be.
const NO_HALF: &[u64] = &[1 << 32, 1 << 63, u64::MAX];

/// Every argument, from x1 on, with values that are out of range while the others are at the edge of theirs.
const REFUSED: [(u32, usize, &[u64]); 53] = [
    (n::TIMER_SET_CNTVOFF, 1, NO_HALF),
    (n::TIMER_SET_CNTVOFF, 2, NO_HALF),
    (n::CLEAR_VM_S2_RANGE, 1, NO_VM),
    (n::CLEAR_VM_S2_RANGE, 2, NO_PHYS),
    (n::CLEAR_VM_S2_RANGE, 2, &[PAGE, PHYS - 1]), // with the size at its edge
    (n::CLEAR_VM_S2_RANGE, 3, NO_PHYS),
    (n::CLEAR_VM_S2_RANGE, 3, &[PHYS - PAGE + 1, PHYS - 1]), // rounded up to pages
    (n::SET_BOOT_INFO, 1, NO_VM),
    (n::SET_BOOT_INFO, 2, NO_PHYS),
    (n::SET_BOOT_INFO, 2, &[PHYS - PAGE, PHYS - 1]),
    (n::SET_BOOT_INFO, 3, NO_PHYS),
    (n::SET_BOOT_INFO, 3, &[PAGE + 1, 2 * PAGE]),
    (n::REMAP_VM_IMAGE, 1, NO_VM),
    (n::REMAP_VM_IMAGE, 2, &[PHYS >> 12, PHYS, 1 << 52, u64::MAX]),
    (n::REMAP_VM_IMAGE, 3, &[5, 256, 1 << 32, u64::MAX]),
    (n::VERIFY_VM_IMAGE, 1, NO_VM),
    (n::SMMU_FREE_PGD, 1, NO_8),
    (n::SMMU_FREE_PGD, 2, NO_SMMU),
    (n::SMMU_ALLOC_PGD, 1, NO_8),
    (n::SMMU_ALLOC_PGD, 2, &[16, 17, 256, 1 << 32, u64::MAX]),
    (n::SMMU_ALLOC_PGD, 3, NO_SMMU),
    (n::SMMU_LPAE_MAP, 1, NO_PHYS),
    (n::SMMU_LPAE_MAP, 2, NO_PHYS),
    (n::SMMU_LPAE_MAP, 3, &[PAGE, 1 << 47, 1 << 20, (1 << 63) - 1, 1 << 63, u64::MAX]),
    (n::SMMU_LPAE_MAP, 4, NO_8),
    (n::SMMU_LPAE_MAP, 5, NO_SMMU),
    (n::SMMU_LPAE_IOVA_TO_PHYS, 1, NO_PHYS),
    (n::SMMU_LPAE_IOVA_TO_PHYS, 2, NO_8),
    (n::SMMU_LPAE_IOVA_TO_PHYS, 3, NO_SMMU),
    (n::SMMU_CLEAR, 1, NO_PHYS),
    (n::SMMU_CLEAR, 2, NO_8),
    (n::SMMU_CLEAR, 3, NO_SMMU),
    (n::PHYS_ADDR_IOREMAP, 1, NO_VM),
    (n::PHYS_ADDR_IOREMAP, 2, &[ADDR - PAGE, ADDR, 1 << 63, u64::MAX]),
    (n::PHYS_ADDR_IOREMAP, 3, NO_PHYS),
    (n::PHYS_ADDR_IOREMAP, 3, &[PHYS - PAGE]),
    (n::PHYS_ADDR_IOREMAP, 4, &[PAGE + 1, PHYS, 1 << 63, u64::MAX - PAGE + 1, u64::MAX]),
    (n::REGISTER_KVM, 1, &[4, 8, 1 << 63, u64::MAX]),
    (n::REGISTER_VCPU, 1, NO_VM),
    (n::REGISTER_VCPU, 2, NO_8),
    (n::REGISTER_VCPU, 3, NO_PHYS),
    (n::REGISTER_VCPU, 3, &[1, PAGE - 1, PAGE + 1]),
    (n::ENCRYPT_BUF, 2, NO_PHYS),
    (n::ENCRYPT_BUF, 3, NO_PHYS),
    (n::DECRYPT_BUF, 2, NO_PHYS),
    (n::SAVE_CRYPT_VCPU, 2, NO_8),
    (n::LOAD_CRYPT_VCPU, 2, NO_8),
    (n::VCPU_RUN, 2, NO_8),
    (n::SMMU_ATTACH_STREAM, 1, NO_HALF),
    (n::SMMU_ATTACH_STREAM, 2, &[8, 9, 256, 1 << 32, u64::MAX - 1]),
    (n::SMMU_ATTACH_STREAM, 3, NO_SMMU),
    (n::SMMU_DETACH_STREAM, 1, NO_HALF),
    (n::SMMU_DETACH_STREAM, 2, NO_SMMU),
];

/// Calls whose first argument is a VM, besides those of [`REFUSED`] that say so.
const OF_VMS: [u32; 7] = [
    n::ENCRYPT_BUF,
    n::DECRYPT_BUF,
    n::SAVE_CRYPT_VCPU,
    n::LOAD_CRYPT_VCPU,
    n::VCPU_RUN,
    n::DESTROY_VM,
    n::VM_MEASUREMENT,
];

/// What call `call` gives with arguments in range: nearly all need a VM.
fn without_vms(call: u32, args: &[u64]) -> i64 {
    match call {
        n::TIMER_SET_CNTVOFF | n::CLEAR_VM_S2_RANGE => 0,
        n::PHYS_ADDR_IOREMAP if args[3] == 0 => 0,
        // The upper edge is beyond what stage 2 translates, unless it translates all of 48 bits.
        n::PHYS_ADDR_IOREMAP if machine::physical_address_bits() < 48 => abi::INVALID_PARAMETER,
        n::DESTROY_VM => abi::INVALID_PARAMETER,
        _ => abi::DENIED,
    }
}

pub fn calls_in_range() {
    for (call, low, high) in ACCEPTED {
        for args in [low, high] {
            for conduit in CONDUITS {
                let got = simple(conduit, (HOST_CALL_BASE + call).into(), args);
                if call == n::REGISTER_KVM {
                    assert!((1..16).contains(&got), "{got}");
                    assert_eq!(host(n::DESTROY_VM, &[got as u64]), 0);
                } else {
                    assert_eq!(got, without_vms(call, args), "call {call} with {args:x?}");
                }
            }
        }
    }
    assert_eq!(host(n::TIMER_SET_CNTVOFF, &[0, 0]), 0);
}

pub fn calls_out_of_range() {
    let of_vms = OF_VMS.map(|call| (call, 1, NO_VM));
    for (call, argument, values) in REFUSED.into_iter().chain(of_vms) {
        let (_, _, edge) = ACCEPTED.into_iter().find(|(c, ..)| *c == call).expect("listed");
        for &value in values {
            let mut args = [0; 5];
            args[..edge.len()].copy_from_slice(edge);
            args[argument - 1] = value;
            for conduit in CONDUITS {
                let got = simple(conduit, (HOST_CALL_BASE + call).into(), &args[..edge.len()]);
                assert_eq!(got, abi::INVALID_PARAMETER, "call {call}, x{argument} = {value:#x}");
            }
        }
    }
}

/// The numbers of other principals' calls, of boot, those that are free, and the specification's bare numbers.
pub fn numbers_that_are_no_host_calls() {
    for call in (0..n::TIMER_SET_CNTVOFF).chain([n::BOOT]).chain(n::SMMU_DETACH_STREAM + 1..0xF00).chain(0xF05..0x1000)
    {
        let got = simple(CONDUITS[call as usize % 2], (HOST_CALL_BASE + call).into(), &[]);
        assert_eq!(got, abi::NOT_SUPPORTED, "call {call}");
    }
    for call in 0..0x40 {
        for base in [0, 0x8600_1000, 0x4600_1000, 0xC600_0000, 0xC600_2000, 0xC500_1000, 0xC700_1000] {
            for conduit in CONDUITS {
                assert_eq!(simple(conduit, base + call, &[1]), abi::NOT_SUPPORTED, "{:#x}", base + call);
            }
        }
    }
}

/// The offset is for VMs: the host's own counter stays where it is.
pub fn the_hosts_counter_stays() {
    let frequency = machine::read!("cntfrq_el0");
    for offset in [0x1234_5678_9ABC_DEF0, 1 << 32, 0] {
        assert_eq!(host(n::TIMER_SET_CNTVOFF, &[offset & 0xFFFF_FFFF, offset >> 32]), 0);
        let difference = machine::read!("cntpct_el0").wrapping_sub(machine::read!("cntvct_el0"));
        assert!(difference.wrapping_add(frequency) < 2 * frequency, "{difference:#x}");
    }
}
