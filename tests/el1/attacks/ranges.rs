// SPDX-License-Identifier: GPL-2.0-only
//! Sizes, sums and numbers that are none (1 to 4, 32, 33).

use super::victim::{HOST, NOBODY, SMALL, Watch, assert_offer_refused, clock, offer, owner, setup, stumble};
use super::victim::{destroy, return_block, with_victim, with_young_victim};
use crate::rt::call::{hvc, test_call};
use crate::rt::{PAGE, tree};
use crate::world::protocol::SMALL_PAGES;
use crate::world::{BLOCK, Exit, Vm, memory};
use corevisor::abi::{DENIED, INVALID_PARAMETER, host_call as n};

/// Exclusive bound of physical addresses in calls.
const PHYS: u64 = 1 << 40;
/// A guest address that no image has.
const FREE: u64 = 0x7000_0000;

/// Calls `f` with the victim, a VM that is being built, and a watch over both and a page of the host's.
fn with_both(f: impl FnOnce(u64, u64, &Watch, u64)) {
    with_victim(|victim, _| {
        let page = memory::take_block();
        memory::write(page, 0x0057_A7E5);
        let young = Vm::register(&setup());
        let watch = Watch::over_blocks(victim.blocks().into_iter().chain([page]));
        f(victim.id(), young.id(), &watch, page);
        watch.assert_unchanged("all of that");
        destroy(young);
        return_block(page);
    });
}

pub fn a01_wrapping_sums() {
    with_both(|victim, young, watch, page| {
        for v in [victim, young] {
            for start in [page, PAGE, PHYS - PAGE] {
                for size in [0u64.wrapping_sub(start), u64::MAX - start, u64::MAX, PHYS - start, u64::MAX - PAGE + 2] {
                    watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, start, size], INVALID_PARAMETER);
                    watch.assert_answer(n::SET_BOOT_INFO, &[v, start, size], INVALID_PARAMETER);
                    watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, start, size], INVALID_PARAMETER);
                }
            }
            for gpa in [u64::MAX, 0u64.wrapping_sub(PAGE), (1 << 48) - PAGE] {
                watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, gpa, clock(), 2 * PAGE], INVALID_PARAMETER);
            }
        }
    });
}

pub fn a02_sizes() {
    with_both(|victim, young, watch, page| {
        let too_large = [1 << 52, (1 << 52) + 1, 1 << 63, u64::MAX - PAGE + 1, u64::MAX, PHYS];
        for v in [victim, young] {
            for size in too_large {
                watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, page, size], INVALID_PARAMETER);
                watch.assert_answer(n::SET_BOOT_INFO, &[v, FREE, size], INVALID_PARAMETER);
                watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, clock(), size], INVALID_PARAMETER);
            }
            watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, page, 0], 0);
            watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, clock(), 0], 0);
        }
        watch.assert_answer(n::SET_BOOT_INFO, &[young, FREE, 0], INVALID_PARAMETER);
    });
}

/// Page frames that are no RAM: below it, in no bank, behind it, as far as the calls' arguments go.
fn no_ram() -> [u64; 5] {
    let start = tree::ram().map(|ram| ram.start).min().expect("RAM");
    let end = tree::ram().map(|ram| ram.end).max().expect("RAM");
    let found = [0, start - PAGE, end, end + (1 << 30), PHYS - PAGE];
    found.iter().for_each(|&page| assert_eq!(owner(page), NOBODY, "{page:#x}"));
    found
}

pub fn a03_frames_that_are_no_ram() {
    with_both(|victim, young, watch, _| {
        assert_eq!(crate::rt::call::host(n::SET_BOOT_INFO, &[young, FREE, 2 * PAGE]), 0);
        for page in no_ram() {
            watch.assert_answer(n::REMAP_VM_IMAGE, &[young, page / PAGE, 0], DENIED);
            watch.assert_answer(n::REGISTER_VCPU, &[young, 1, page], DENIED);
            for v in [victim, young] {
                watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, page & !(BLOCK - 1), PAGE], 0);
            }
            assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), DENIED);
            watch.assert_unchanged("TAKE_PAGE");
        }
        for pfn in [PHYS / PAGE, PHYS, 1 << 36, 1 << 52, 1 << 63, u64::MAX] {
            watch.assert_answer(n::REMAP_VM_IMAGE, &[young, pfn, 0], INVALID_PARAMETER);
        }
    });
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let watch = Watch::over_blocks(vm.blocks());
        for page in no_ram() {
            assert_offer_refused(&watch, vm, SMALL_PAGES, page, 3, DENIED);
            assert_offer_refused(&watch, vm, SMALL_PAGES, page & !(BLOCK - 1), 2, DENIED);
        }
    });
}

pub fn a04_address_bits() {
    with_both(|victim, young, watch, page| {
        for v in [victim, young] {
            for bit in 40..64 {
                let far = page | 1 << bit;
                watch.assert_answer(n::CLEAR_VM_S2_RANGE, &[v, far, PAGE], INVALID_PARAMETER);
                watch.assert_answer(n::SET_BOOT_INFO, &[v, far, PAGE], INVALID_PARAMETER);
                watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[v, FREE, far, PAGE], INVALID_PARAMETER);
                watch.assert_answer(n::REGISTER_VCPU, &[v, 1, far], INVALID_PARAMETER);
                watch.assert_answer(n::ENCRYPT_BUF, &[v, far, page], INVALID_PARAMETER);
                watch.assert_answer(n::ENCRYPT_BUF, &[v, page, far], INVALID_PARAMETER);
                watch.assert_answer(n::DECRYPT_BUF, &[v, far, 0, 0, 0, 0, 0, 0], INVALID_PARAMETER);
            }
        }
        let reach = crate::rt::machine::physical_address_bits().min(48);
        for bit in reach..64 {
            watch.assert_answer(n::PHYS_ADDR_IOREMAP, &[young, FREE | 1 << bit, clock(), PAGE], INVALID_PARAMETER);
        }
    });
    with_young_victim(|vm| {
        assert_eq!(stumble(vm), SMALL_PAGES);
        let page = vm.take_page();
        let watch = Watch::over_blocks(vm.blocks());
        for bit in 40..64 {
            // Another guest address than that where it stumbled.
            assert_offer_refused(&watch, vm, SMALL_PAGES | 1 << bit, page, 3, INVALID_PARAMETER);
        }
        for bit in 40..48 {
            assert_offer_refused(&watch, vm, SMALL_PAGES, page | 1 << bit, 3, DENIED);
        }
        // What is above an address's 48 bits is not looked at, and names no other page.
        let corevisors = tree::corevisor().next().expect("a range").start;
        assert_offer_refused(&watch, vm, SMALL_PAGES, corevisors | 0xFFFF << 48, 3, DENIED);
        assert!(matches!(offer(vm, SMALL_PAGES, page | 0xFFFF << 48, 3), Ok(Exit::Fault { .. })));
        assert_eq!((owner(page), owner(page + PAGE)), (vm.id(), HOST));
    });
    const { assert!(SMALL > 1) };
}

/// What a VM's number can't be.
const NO_VM: [u64; 10] = [0, 16, 17, 255, 256, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX - 15, u64::MAX];

/// All calls on a VM, with arguments that are in range, `x` being the VM.
fn calls_on(v: u64, page: u64) -> [(u32, [u64; 8]); 13] {
    let with = |call, [x2, x3, x4]: [u64; 3]| (call, [v, x2, x3, x4, 0, 0, 0, 0]);
    [
        with(n::CLEAR_VM_S2_RANGE, [page, PAGE, 0]),
        with(n::SET_BOOT_INFO, [FREE, PAGE, 0]),
        with(n::REMAP_VM_IMAGE, [page / PAGE, 0, 0]),
        with(n::VERIFY_VM_IMAGE, [0; 3]),
        with(n::PHYS_ADDR_IOREMAP, [FREE, clock(), PAGE]),
        with(n::REGISTER_VCPU, [0, page, 0]),
        with(n::ENCRYPT_BUF, [page, page, 0]),
        with(n::DECRYPT_BUF, [page, 0, 0]),
        with(n::SAVE_CRYPT_VCPU, [0; 3]),
        with(n::LOAD_CRYPT_VCPU, [0; 3]),
        with(n::VCPU_RUN, [0; 3]),
        with(n::DESTROY_VM, [0; 3]),
        with(n::VM_MEASUREMENT, [0; 3]),
    ]
}

pub fn a32_numbers_of_vms() {
    let mut dead = 0;
    with_both(|victim, young, watch, page| {
        for v in NO_VM {
            for (call, args) in calls_on(v, page) {
                watch.assert_answer(call, &args, INVALID_PARAMETER);
            }
        }
        // One that is not there: as if it had never been.
        dead = (1..16).find(|&v| v != victim && v != young).expect("an id");
        for (call, args) in calls_on(dead, page) {
            let code = crate::rt::call::host(call, &args);
            assert!(code < 0 || call == n::CLEAR_VM_S2_RANGE && code == 0, "call {call}: {code}");
            watch.assert_unchanged("a call on no VM");
        }
    });
    // One that is dead, and its number in use again.
    let vm = setup().start();
    let (v, page) = (vm.id(), memory::take_block());
    destroy(vm);
    let watch = Watch::over_blocks([page]);
    for (call, args) in calls_on(v, page) {
        let code = crate::rt::call::host(call, &args);
        assert!(code < 0 || call == n::CLEAR_VM_S2_RANGE && code == 0, "call {call}: {code}");
        watch.assert_unchanged("a call on a dead VM");
    }
    return_block(page);
}

pub fn a33_numbers_of_vcpus() {
    with_both(|victim, young, watch, page| {
        for vcpu in [8, 9, 255, 256, 1 << 32, 1 << 63, u64::MAX] {
            for v in [victim, young] {
                watch.assert_answer(n::REGISTER_VCPU, &[v, vcpu, page], INVALID_PARAMETER);
                for call in [n::VCPU_RUN, n::SAVE_CRYPT_VCPU, n::LOAD_CRYPT_VCPU] {
                    watch.assert_answer(call, &[v, vcpu], INVALID_PARAMETER);
                }
            }
        }
        // The victim has vCPU 0 only, and so has the other.
        for vcpu in 1..8 {
            watch.assert_answer(n::VCPU_RUN, &[victim, vcpu], DENIED);
            watch.assert_answer(n::REGISTER_VCPU, &[victim, vcpu, page], DENIED);
            watch.assert_answer(n::SAVE_CRYPT_VCPU, &[victim, vcpu], DENIED);
            watch.assert_answer(n::LOAD_CRYPT_VCPU, &[victim, vcpu], DENIED);
        }
        watch.assert_answer(n::REGISTER_VCPU, &[young, 0, page], DENIED);
        watch.assert_answer(n::REGISTER_VCPU, &[young, 0, page + PAGE], DENIED);
    });
}
