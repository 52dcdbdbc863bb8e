// SPDX-License-Identifier: GPL-2.0-only
//! Images that are not.

use super::signer::{OTHER, TRUSTED, sign};
use super::whole::{measurement, signed};
use crate::rt::PAGE;
use crate::rt::call::{host, stat};
use crate::rt::fault::{Access, assert_refused};
use crate::world::{BLOCK, Setup, Vm, memory};
use corevisor::abi::{DENIED, host_call as n, stat as id};

/// Changes one bit of the host's memory.
fn flip(at: u64) {
    let word = at & !7;
    memory::write(word, memory::read(word) ^ 1 << (8 * (at % 8) + at / 8 % 8));
}

/// Hands the image of `setup` over, after which `spoil` gets its block; it must be refused then, for good, and nothing of
/// it may be left.
fn assert_never_runs(setup: &Setup, spoil: impl FnOnce(&Vm, u64), what: &str) {
    let before = (stat(id::VMS), stat(id::VM_PAGES));
    let vm = Vm::register(setup);
    let block = vm.load(setup);
    spoil(vm, block);
    assert_eq!(vm.verify(), DENIED, "{what}");
    for (call, x2) in [
        (n::VCPU_RUN, 0),
        (n::VERIFY_VM_IMAGE, 0),
        (n::VM_MEASUREMENT, 0),
        (n::REMAP_VM_IMAGE, block / PAGE),
        (n::SAVE_CRYPT_VCPU, 0),
    ] {
        assert_eq!(host(call, &[vm.id(), x2, 0]), DENIED, "{what}: call {call}");
    }
    assert_refused(Access::Read, block);
    assert_refused(Access::Write, block + BLOCK - 8);
    vm.destroy();
    assert!((block..block + BLOCK).step_by(8).all(|at| memory::read(at) == 0), "{what}: not scrubbed");
    assert_eq!((stat(id::VMS), stat(id::VM_PAGES)), before);
}

pub fn a_changed_byte_in_any_place() {
    let setup = signed(TRUSTED[0]);
    let size = (setup.image.bytes.len() as u64).next_multiple_of(PAGE);
    let places = [0, 1, 8, 63, 64, PAGE - 1, PAGE, size / 2, size - PAGE, size - PAGE + 1, size - 2, size - 1];
    for at in places {
        assert_never_runs(&setup, |_, block| flip(block + at), "a byte");
    }
    // A whole page, of the middle, is another's.
    let other_page = |_: &Vm, block: u64| {
        let (to, from) = (block + size / 2 / PAGE * PAGE, block);
        (0..PAGE).step_by(8).for_each(|at| memory::write(to + at, memory::read(from + at)));
    };
    assert_never_runs(&setup, other_page, "a page");
}

pub fn another_address_size_signature_or_key() {
    let good = signed(TRUSTED[0]);
    let mut elsewhere = good;
    elsewhere.image.address += BLOCK;
    assert_never_runs(&elsewhere, |_, _| {}, "another address");
    let mut shorter = good;
    shorter.image.bytes = &good.image.bytes[..good.image.bytes.len() - PAGE as usize];
    assert_never_runs(&shorter, |_, _| {}, "a page less");
    for word in 0..8 {
        let mut other = good;
        other.image.signature[word] ^= 1 << (word * 9 % 64);
        assert_never_runs(&other, |_, _| {}, "another signature");
    }
    let signatures = [
        [0; 8],
        sign(OTHER, good.image.address, good.image.bytes),
        sign(TRUSTED[0], good.image.address + BLOCK, good.image.bytes),
        sign(TRUSTED[0], good.image.address, shorter.image.bytes),
    ];
    for signature in signatures {
        let mut other = good;
        other.image.signature = signature;
        assert_never_runs(&other, |_, _| {}, "none, another key's, another image's");
    }
}

/// Corevisor has taken the image and hashed a part of it: nothing of it can be changed, and nothing added.
pub fn an_image_that_is_being_verified() {
    let setup = signed(TRUSTED[1]);
    let vm = Vm::register(&setup);
    let block = vm.load(&setup);
    assert!(host(n::VERIFY_VM_IMAGE, &[vm.id()]) > 0, "the image is too small for this test");
    assert_refused(Access::Read, block);
    assert_refused(Access::Write, block);
    assert_eq!(host(n::SET_BOOT_INFO, &[vm.id(), 2 * setup.image.address, PAGE, 0, 0, 0, 0, 0, 0, 0, 0]), DENIED);
    assert_eq!(host(n::REMAP_VM_IMAGE, &[vm.id(), block / PAGE, 0]), DENIED);
    assert_eq!(host(n::VCPU_RUN, &[vm.id(), 0]), DENIED);
    assert_eq!(measurement(vm), Err(DENIED));
    assert_eq!(vm.verify(), 0);
    assert!(measurement(vm).is_ok());
    vm.destroy();
}
