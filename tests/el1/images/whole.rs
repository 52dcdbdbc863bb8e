// SPDX-License-Identifier: GPL-2.0-only
//! Images that are as they were signed.

use super::signer::{TRUSTED, padded, sign};
use crate::rt::call::{Conduit, host, stat, with_canaries};
use crate::world::{Kind, Setup, Vm, memory, scheduler};
use corevisor::abi::{DENIED, HOST_CALL_BASE, host_call as n, stat as id};
use corevisor::vm::VmFlags;
use corevisor::vm::measure::measure;

/// Of a VM that counts primes, signed with the key of this seed.
pub fn signed(seed: u8) -> Setup {
    let mut setup = Setup::new("compute").arguments(&[1000]).kind(Kind::Signed).quiet();
    setup.image.signature = sign(seed, setup.image.address, setup.image.bytes);
    setup
}

/// VM_MEASUREMENT: measurement and flags.
pub fn measurement(vm: &Vm) -> Result<([u64; 4], u64), i64> {
    let call = (HOST_CALL_BASE + n::VM_MEASUREMENT).into();
    let [x0, a, b, c, d, flags, ..] = with_canaries(Conduit::Hvc, call, &[vm.id(), 0, 0, 0, 0], 6);
    if x0 == 0 { Ok(([a, b, c, d], flags)) } else { Err(x0 as i64) }
}

/// What it must be, for a VM with the setup's image alone.
pub fn expected(setup: &Setup, flags: VmFlags) -> ([u64; 4], u64) {
    let (digest, size) = padded(setup.image.bytes);
    let bytes = measure(flags, [(setup.image.address, size, digest)].into_iter());
    let (words, _) = bytes.as_chunks::<8>();
    (core::array::from_fn(|i| u64::from_le_bytes(words[i])), flags.bits())
}

pub fn a_signed_vm_runs() {
    let before = (stat(id::VMS), stat(id::VM_PAGES), memory::available());
    for seed in TRUSTED {
        let setup = signed(seed);
        let vm = Vm::register(&setup);
        vm.load(&setup);
        assert_eq!(measurement(vm), Err(DENIED), "it is not verified");
        assert_eq!(vm.verify(), 0);
        assert_eq!(measurement(vm), Ok(expected(&setup, VmFlags::empty())));
        assert_eq!([id::UNSIGNED_VMS, id::SHARED_VMS].map(stat), [0, 0]);
        vm.power_on(setup.image.address);
        scheduler::run(&[vm], 2);
        assert_eq!((vm.finished(), vm.result(0)), (0, 168));
        assert_eq!(measurement(vm), Ok(expected(&setup, VmFlags::empty())), "it was what it was");
        let id = vm.id();
        vm.destroy();
        assert_eq!(host(n::VM_MEASUREMENT, &[id]), DENIED);
    }
    assert_eq!((stat(id::VMS), stat(id::VM_PAGES), memory::available()), before);
}

pub fn each_kind_of_vm_has_its_measurement() {
    let kinds = [(Kind::Unsigned, VmFlags::UNSIGNED, [1, 0]), (Kind::Shared, VmFlags::SHARED, [0, 1])];
    for (kind, flags, counts) in kinds {
        let setup = Setup::new("compute").arguments(&[1000]).kind(kind).quiet();
        let vm = Vm::register(&setup);
        vm.load(&setup);
        assert_eq!(vm.verify(), 0, "without a signature");
        assert_eq!(measurement(vm), Ok(expected(&setup, flags)));
        assert_eq!([id::UNSIGNED_VMS, id::SHARED_VMS].map(stat), counts);
        vm.destroy();
    }
    assert_eq!([id::UNSIGNED_VMS, id::SHARED_VMS].map(stat), [0, 0]);
}
