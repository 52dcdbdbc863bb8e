// SPDX-License-Identifier: GPL-2.0-only
//! What the host says of a vCPU's registers, and what a VM does (21 to 25, 27, 38, 40, 42, 46, 48).

use super::victim::{SMALL, balance, destroy, owner, setup, turn, with_young_victim};
use super::victim::{Watch, with_victim};
use crate::rt::call::{host, stat, still_alive};
use crate::rt::fault::{Access, assert_refused, read};
use crate::rt::random::Random;
use crate::rt::{PAGE, cpu, tree};
use crate::world::protocol::{IMAGE, SMALL_PAGES};
use crate::world::vcpu::State;
use crate::world::vm::Vm;
use crate::world::{Exit, Setup, memory, scheduler};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::run_page::{self, inject};
use corevisor::abi::{INVALID_PARAMETER, host_call as n, stat as id};

/// A vCPU goes from CPU to CPU, and finds its memory on each.
pub fn a38_from_cpu_to_cpu() {
    const MOVES: u64 = 100;
    let before = balance();
    let vm = setup().start();
    vm.set_hook(|vm, _, _, _| (vm.vcpus[0].moves() >= MOVES).into());
    scheduler::set_slice(20, 200);
    scheduler::run(&[vm], tree::cpus());
    scheduler::set_slice(200, 2000);
    assert_eq!(vm.finished(), 0);
    assert_eq!(vm.result(0), 0, "words that the VM has found altered");
    assert!(vm.vcpus[0].moves() >= MOVES);
    destroy(vm);
    assert_eq!(balance(), before);
}

/// Where it starts: in an image, or not at all.
pub fn a40_where_a_vcpu_starts() {
    let before = balance();
    let vm = setup().start();
    let watch = Watch::over_blocks(vm.blocks());
    let size = setup().image.bytes.len() as u64;
    let outside = [0, IMAGE - 4, IMAGE + size.next_multiple_of(PAGE), SMALL_PAGES, 1 << 48, u64::MAX - 3, u64::MAX];
    let corevisors = tree::corevisor().next().expect("a range").start;
    for pc in outside.into_iter().chain([corevisors, vm.blocks()[0]]) {
        vm.vcpus[0].set_start(pc, 0);
        watch.assert_answer(n::VCPU_RUN, &[vm.id(), 0], INVALID_PARAMETER);
    }
    // EL2h, EL3, AArch32, an illegal state: it starts at EL1 all the same.
    vm.vcpus[0].set_start(IMAGE, 0);
    vm.vcpus[0].set_word(run_page::PSTATE, !0x1F | 0b01001);
    turn(vm);
    turn(vm);
    destroy(vm);
    assert_eq!(balance(), before);
}

/// Serves vCPU 0's exits until it has done `rounds` rounds; before each entry `spoil` writes what it likes to the run page.
fn spoiled(vm: &Vm, rounds: u64, mut spoil: impl FnMut(&Exit)) {
    while vm.result(1) < rounds {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        vm.serve(0, exit);
        spoil(&exit);
    }
    assert_eq!(vm.result(0), 0, "words that the VM has found altered");
}

/// Nothing in the run page reaches the vCPU but what the exit asks for.
pub fn a40_registers_that_are_not_asked_for() {
    with_young_victim(|vm| {
        let mut random = Random(40);
        let vcpu = &vm.vcpus[0];
        spoiled(vm, 5, |exit| {
            let asked_for = match exit {
                Exit::Device { register, store: None, .. } => *register,
                Exit::Hvc(_) => 0,
                _ => 31,
            };
            for register in (0..31).filter(|&register| register != asked_for) {
                vcpu.set_x(register, random.next());
            }
            for word in [run_page::PC, run_page::PSTATE, run_page::ESR, run_page::HPFAR, run_page::FAR] {
                vcpu.set_word(word, random.next());
            }
            if !matches!(exit, Exit::Fault { .. }) {
                for word in [run_page::FAULT_ADDR, run_page::NEW_PAGE, run_page::NEW_LEVEL] {
                    vcpu.set_word(word, random.next());
                }
            }
            for word in 0..run_page::SEALED_WORDS as u64 {
                vcpu.set_word(run_page::SEALED + 8 * word, random.next());
            }
        });
    });
}

/// It goes on where it was: the host can't have it skip more than one instruction, nor go elsewhere.
pub fn a42_where_a_vcpu_goes_on() {
    with_young_victim(|vm| {
        let vcpu = &vm.vcpus[0];
        let places = [0, IMAGE, IMAGE + 8, SMALL_PAGES, u64::MAX, 1 << 63, 0x80];
        let mut turn = 0;
        spoiled(vm, 5, |exit| {
            turn += 1;
            vcpu.set_word(run_page::PC, places[turn % places.len()]);
            vcpu.set_word(run_page::PSTATE, 0x3C9);
            // No exception out of nothing either: it is told of aborts only.
            if !matches!(exit, Exit::Device { .. } | Exit::Fault { .. } | Exit::Abort { .. }) {
                vcpu.set_word(run_page::FLAGS, inject::DATA_ABORT | inject::INSTRUCTION_ABORT | inject::UNDEFINED);
            }
        });
        assert!(turn > 20);
    });
}

/// An access that begins in one page of the VM's and ends in the next faults there, and is then whole.
pub fn a46_accesses_across_pages() {
    let before = balance();
    let vm = Setup::new("edges").quiet().start();
    let mut faults = [0; 4];
    while !vm.is_off() {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        if let Exit::Fault { page, .. } = exit {
            let number = faults.iter().position(|&page| page == 0).expect("four faults");
            faults[number] = page;
        }
        vm.serve(0, exit);
    }
    assert_eq!(vm.finished(), 0);
    assert_eq!(faults, [0, 1, 2, 3].map(|i| SMALL_PAGES + i * PAGE));
    assert_eq!(vm.result(0), 0x8877_6655_4433_2211);
    assert_eq!(vm.result(1), 0, "of two pages that are new");
    destroy(vm);
    assert_eq!(balance(), before);
    const { assert!(SMALL > 0) };
}

/// A VM that does nothing but leave, on another CPU, holds nobody up.
pub fn a48_exits_without_end() {
    const CALLS: u64 = 500;
    let before = balance();
    let vm = setup().start();
    let other = setup().start();
    turn(other);
    scheduler::set_slice(20, 200);
    scheduler::begin(&[vm], 2);
    cpu::wait_until("a round", 20, || vm.result(1) > 0);
    let rounds = vm.result(1);
    for call in 0..CALLS {
        still_alive();
        assert_eq!(host(n::CLEAR_VM_S2_RANGE, &[vm.id(), vm.blocks()[0], PAGE]), 0);
        if call % 50 == 0 {
            turn(other);
            let young = Vm::register(&setup());
            destroy(young);
        }
    }
    cpu::wait_until("another round", 20, || vm.result(1) > rounds);
    scheduler::stop();
    vm.kick(0);
    scheduler::finish(2);
    scheduler::set_slice(200, 2000);
    assert_eq!(vm.vcpus[0].state(), State::Ready);
    [vm, other].into_iter().for_each(turn);
    [vm, other].into_iter().for_each(destroy);
    assert_eq!(balance(), before);
}

/// What the host writes to a run page while the vCPU runs on another CPU reaches nobody.
pub fn a27_a_run_page_that_changes_all_the_time() {
    with_victim(|victim, _| {
        assert_eq!(owner(victim.vcpus[0].page()), 0);
        let mut random = Random(27);
        scheduler::set_slice(20, 200);
        scheduler::begin(&[victim], 2);
        let rounds = victim.result(1);
        while victim.result(1) < rounds + 3 {
            assert!(!crate::rt::harness::is_broken());
            let vcpu = &victim.vcpus[0];
            // Only while it runs: the host's own answer must stand.
            for word in [run_page::PC, run_page::PSTATE, run_page::FAULT_ADDR, run_page::NEW_PAGE] {
                memory::write(vcpu.page() + word, random.next());
            }
        }
        scheduler::stop();
        victim.kick(0);
        scheduler::finish(2);
        scheduler::set_slice(200, 2000);
        assert_eq!(victim.result(0), 0);
    });
}

/// What the VM of the next tests has told of its page: how often that it is shared, and that it is not.
static TOLD: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The host tries the page at the guest address `store`, which is as the VM says by `offset`.
fn look_at_page(vm: &Vm, _: usize, offset: u64, store: Option<u64>) -> u64 {
    const SECRET: u64 = 0x5EC2_E75E_C2E7_0021;
    let page = vm.blocks()[0] + store.expect("an address") - IMAGE;
    assert_eq!(owner(page), vm.id());
    if offset == 0 {
        let times = TOLD[0].fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(read(page), Ok(SECRET));
        memory::write(page + 8, times);
    } else {
        TOLD[1].fetch_add(1, Ordering::SeqCst);
        for access in [Access::Read, Access::Write, Access::Branch] {
            assert_refused(access, page);
        }
    }
    // Its neighbours stay its own.
    assert_refused(Access::Read, page - PAGE);
    assert_refused(Access::Write, page + PAGE);
    0
}

/// It shares what it may, as often as it may, and all else is refused; when sharing ends, the host's way to the
/// page, which it has just used, has ended, too.
pub fn a21_what_a_vm_shares() {
    let before = balance();
    TOLD.iter().for_each(|count| count.store(0, Ordering::SeqCst));
    let vm = Setup::new("sharer").start();
    vm.set_hook(look_at_page);
    let pages = stat(id::VM_PAGES);
    while !vm.is_off() {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        vm.serve(0, exit);
    }
    assert_eq!(vm.finished(), 0);
    assert_eq!(vm.result(0), 0, "answers that were wrong");
    let [shared, private] = [0, 1].map(|i| TOLD[i].load(Ordering::SeqCst));
    assert_eq!([shared, private, vm.result(1)], [5, 7, 5]);
    assert_eq!(stat(id::VM_PAGES), pages);
    destroy(vm);
    assert_eq!(balance(), before);
}
