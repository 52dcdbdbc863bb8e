// SPDX-License-Identifier: GPL-2.0-only
//! Calls of VMs that Corevisor itself answers.

use crate::rt::PAGE;
use crate::rt::call::stat;
use crate::rt::fault::{Access, assert_refused, read};
use crate::rt::machine;
use crate::world::protocol::IMAGE;
use crate::world::{Kind, Setup, Vm, memory, scheduler};
use corevisor::abi::{NOT_SUPPORTED, stat as id, vm_call};

/// What `caller` asks for, and gets.
fn assert_answers(vm: &Vm, features: u32, meminfo: u64) {
    let wanted = [
        0x1_0002,
        0x1_0001,
        0,
        u64::MAX,
        vm_call::KVM_UID[0].into(),
        features.into(),
        meminfo,
        if machine::read!("id_aa64isar0_el1") >> 60 == 0 { u64::MAX } else { 0x1_0000 },
        NOT_SUPPORTED as u64,
    ];
    for (i, wanted) in wanted.into_iter().enumerate() {
        // A result of a call by 32-bit number may be sign-extended or not.
        assert_eq!(vm.result(i) as u32, wanted as u32, "call {i}: {:#x}", vm.result(i));
    }
}

/// The page of the image's block that the VM has at `address`.
fn page(vm: &Vm, address: u64) -> u64 {
    vm.blocks()[0] + (address - IMAGE)
}

fn words(page: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..PAGE / 8).map(move |i| (page + 8 * i, i))
}

/// While the VM shares the page the host reads and writes it; before and after it can't.
fn look(vm: &Vm, _: usize, offset: u64, store: Option<u64>) -> u64 {
    let address = store.expect("a page's address");
    let page = page(vm, address);
    if offset == 0 {
        for (at, i) in words(page) {
            assert_eq!(read(at), Ok(address ^ i));
            memory::write(at, !(address ^ i));
        }
        // Its neighbours are not shared.
        assert_refused(Access::Read, page - PAGE);
        assert_refused(Access::Read, page + PAGE);
    } else {
        assert_refused(Access::Read, page);
        assert_refused(Access::Write, page + PAGE - 8);
    }
    0
}

pub fn pages_are_shared_and_taken_back() {
    let vm = Setup::new("caller").arguments(&[1]).start();
    vm.set_hook(look);
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    assert_answers(vm, vm_call::FEATURES_BITMAP, PAGE);
    assert!(vm.vcpus[0].exits(6) == 1, "no exit to the host but for SYSTEM_OFF");
    vm.destroy();
}

/// All of a shared VM is the host's to read and write; it counts as one, and what it leaves is scrubbed.
pub fn a_shared_vm_hides_nothing() {
    let before = stat(id::SHARED_VMS);
    let vm = Setup::new("caller").kind(Kind::Shared).start();
    assert_eq!(stat(id::SHARED_VMS), before + 1);
    let block = vm.blocks()[0];
    let image = Setup::new("caller").image.bytes;
    let same = |(i, chunk): (usize, &[u8])| {
        read(block + 8 * i as u64).map(u64::to_le_bytes) == Ok(chunk.try_into().expect("8"))
    };
    assert!(image.chunks_exact(8).enumerate().all(same));
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    assert_answers(vm, vm_call::FEATURES_BITMAP_SHARED, u64::MAX);
    vm.destroy();
    super::basics::assert_scrubbed(block);
    assert_eq!(stat(id::SHARED_VMS), before);
}
