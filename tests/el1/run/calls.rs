// SPDX-License-Identifier: GPL-2.0-only
//! Calls of VMs that Corevisor itself answers.

use super::basics::next;
use crate::rt::call::stat;
use crate::rt::fault::{Access, assert_refused, read};
use crate::rt::machine;
use crate::rt::{PAGE, cpu};
use crate::world::protocol::{IMAGE, SMALL_PAGES};
use crate::world::{BLOCK, Exit, Kind, Setup, Vm, memory, scheduler};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{NOT_SUPPORTED, run_page, stat as id, vm_call};

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

/// From 1 GiB on, the host of a shared VM decides for each access whether it is a device's or memory's.
pub fn a_shared_vm_has_devices_anywhere() {
    const DEVICE: u64 = 0xC000_1000;
    const MEMORY: u64 = SMALL_PAGES;
    const PAIR: u64 = SMALL_PAGES + PAGE;
    const ISV: u64 = 1 << 24;
    let vm = Setup::new("shelf").kind(Kind::Shared).arguments(&[DEVICE, MEMORY, PAIR]).start();
    let vcpu = &vm.vcpus[0];
    let mut seen = 0;
    loop {
        let exit = next(vm);
        let Exit::Fault { page, esr } = exit else {
            vm.serve(0, exit);
            if vm.is_off() {
                break;
            }
            continue;
        };
        seen += 1;
        let (offset, register) = (vcpu.word(run_page::FAR), (esr >> 16 & 0x1F) as usize);
        assert_eq!((esr & ISV != 0, page), (seen < 5, [DEVICE, DEVICE, DEVICE, MEMORY, PAIR][seen - 1]));
        match seen {
            1 => assert_eq!((offset, vcpu.word(run_page::X + 8 * register as u64)), (8, 0x7788)),
            2 => {
                assert_eq!(offset, 16);
                vcpu.set_x(register, 0xDE71_CE00_0000_0002);
            }
            3 => {
                assert_eq!((offset, esr >> 21 & 1), (0xFFF, 1));
                vcpu.set_x(register, (-3i64) as u64);
            }
            4 => {
                assert_eq!(offset, 0);
                vcpu.set_x(register, 0xBAD);
                let memory = vm.take_page();
                memory::write(memory, 0x5EED);
                vcpu.set_word(run_page::FAULT_ADDR, page);
                vcpu.set_word(run_page::NEW_PAGE, memory);
                vcpu.set_word(run_page::NEW_LEVEL, 3);
            }
            _ => vm.serve(0, exit),
        }
    }
    assert_eq!((vm.finished(), seen), (0, 5));
    let results = [0, 1, 2, 3, 4].map(|i| vm.result(i));
    assert_eq!(results, [0xDE71_CE00_0000_0002, (-3i64) as u64, 0x5EED, 0x1122_3344_5566_7788, DEVICE]);
    vm.destroy();
}

/// A block that CPU 1 reads for as long as it is not 0; how often it has, and what it found besides what it may.
static READ: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

fn read_on(_: usize) {
    loop {
        let block = READ[0].load(Ordering::SeqCst);
        if block == 0 {
            return;
        }
        for page in (block..block + BLOCK).step_by(PAGE as usize) {
            let found = read(page);
            READ[2].fetch_add(u64::from(!matches!(found, Ok(0 | PATTERN))), Ordering::SeqCst);
        }
        READ[1].fetch_add(1, Ordering::SeqCst);
    }
}

const PATTERN: u64 = 0x5AA5_0FF0_5AA5_0FF0;

/// DESTROY_VM while a CPU of the host's uses the memory, as a program that has it mapped does: each page is there all the
/// time, first with what the VM had in it, then zeroed.
pub fn a_shared_vm_that_goes_while_its_host_reads_it() {
    let before = super::basics::balance();
    for _ in 0..5 {
        let vm = Setup::new("caller").kind(Kind::Shared).start();
        let block = vm.blocks()[0];
        (block..block + BLOCK).step_by(PAGE as usize).for_each(|page| memory::write(page, PATTERN));
        [block, 0, 0].into_iter().zip(&READ).for_each(|(value, word)| word.store(value, Ordering::SeqCst));
        cpu::start(1);
        cpu::give_work(1, read_on);
        cpu::wait_until("a round", 20, || READ[1].load(Ordering::SeqCst) > 0);
        vm.destroy();
        let rounds = READ[1].load(Ordering::SeqCst);
        cpu::wait_until("a round", 20, || READ[1].load(Ordering::SeqCst) > rounds + 1);
        READ[0].store(0, Ordering::SeqCst);
        cpu::wait_for(1);
        cpu::stop(1);
        assert_eq!(READ[2].load(Ordering::SeqCst), 0);
        super::basics::assert_scrubbed(block);
    }
    assert_eq!(super::basics::balance(), before);
}
