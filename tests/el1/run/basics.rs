// SPDX-License-Identifier: GPL-2.0-only
//! One VM on one CPU.

use crate::rt::call::{host, stat};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::{PAGE, cpu};
use crate::world::protocol::{CONSOLE, DESK, IMAGE, LARGE_PAGES, SMALL_PAGES, desk};
use crate::world::vcpu::State;
use crate::world::vm::{Outcome, Vm};
use crate::world::{BLOCK, Exit, Setup, memory, scheduler};
use corevisor::abi::{host_call as n, stat as id};

/// Counters that are the same before a VM and after it.
pub fn balance() -> ([u64; 4], usize) {
    ([id::RAM_PAGES, id::COREVISOR_PAGES, id::VMS, id::VM_PAGES].map(stat), memory::available())
}

/// That all of a block is the host's, and zero.
pub fn assert_scrubbed(block: u64) {
    assert!((block..block + BLOCK).step_by(8).all(|at| memory::read(at) == 0), "{block:#x}");
}

pub fn a_vm_computes() {
    let before = balance();
    let vm = Setup::new("compute").arguments(&[10_000]).start();
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    assert_eq!([vm.result(0), vm.result(1)], [1229, 0]);
    let blocks = vm.blocks();
    blocks.iter().for_each(|&block| assert_refused(Access::Read, block));
    vm.destroy();
    blocks.iter().for_each(|&block| assert_scrubbed(block));
    assert_eq!(balance(), before);
}

/// Runs vCPU 0 to its next exit that is no interrupt.
pub fn next(vm: &Vm) -> Exit {
    loop {
        match vm.enter(0) {
            Ok(Exit::Irq) => vm.serve(0, Exit::Irq),
            Ok(exit) => return exit,
            Err(error) => panic!("VCPU_RUN: {error}"),
        }
    }
}

/// What the host sees of each exit, one by one.
pub fn the_console_and_each_exit() {
    let vm = Setup::new("compute").arguments(&[5]).start();
    let load =
        |offset| Exit::Device { address: DESK + offset, size: 8, store: None, register: 0, signed: false, wide: true };
    let is = |exit: Exit, wanted: Exit| match (exit, wanted) {
        (Exit::Device { address: a, size: b, store: c, .. }, Exit::Device { address, size, store, .. }) => {
            assert_eq!((a, b, c), (address, size, store));
        }
        _ => panic!("{exit:x?} instead of {wanted:x?}"),
    };
    for offset in [desk::PROGRAM, desk::ARGUMENTS, desk::VCPUS] {
        let exit = next(vm);
        is(exit, load(offset));
        vm.serve(0, exit);
    }
    for byte in b"hello from vCPU 0 of 1\n2 primes below 5\n" {
        let exit = next(vm);
        let store = Some(u64::from(*byte));
        is(exit, Exit::Device { address: CONSOLE, size: 4, store, register: 0, signed: false, wide: false });
        vm.serve(0, exit);
    }
    for (i, value) in [(0, 2), (1, 0)] {
        let exit = next(vm);
        let address = DESK + desk::RESULTS + 8 * i;
        is(exit, Exit::Device { address, size: 8, store: Some(value), register: 0, signed: false, wide: true });
        vm.serve(0, exit);
    }
    let exit = next(vm);
    is(
        exit,
        Exit::Device { address: DESK + desk::DONE, size: 8, store: Some(0), register: 0, signed: false, wide: true },
    );
    vm.serve(0, exit);
    let Exit::Hvc([0x8400_0008, ..]) = next(vm) else { panic!("not SYSTEM_OFF") };
    // It is off: Corevisor has heard it, too.
    assert!(host(n::VCPU_RUN, &[vm.id(), 0]) < 0);
    vm.destroy();
}

pub fn faults_are_answered_by_pages_and_blocks() {
    const SMALL: u64 = 600;
    const LARGE: u64 = 3;
    let before = balance();
    let pages = stat(id::VM_PAGES);
    let vm = Setup::new("memory").arguments(&[SMALL, LARGE]).start();
    scheduler::run(&[vm], 2);
    assert_eq!(vm.finished(), 0);
    assert_eq!([vm.result(0), vm.result(1)], [0, 0]);
    let in_pages = (1 + LARGE) * (BLOCK / PAGE) + SMALL;
    assert_eq!(stat(id::VM_PAGES) - pages, in_pages);
    let faults = 9;
    assert_eq!(vm.vcpus[0].exits(faults), SMALL + LARGE);
    let blocks = vm.blocks();
    vm.destroy();
    blocks.iter().for_each(|&block| assert_scrubbed(block));
    assert_eq!(balance(), before);
    const { assert!(IMAGE + BLOCK <= SMALL_PAGES && SMALL_PAGES + SMALL * PAGE <= LARGE_PAGES) };
}

/// The VM's own handlers take what it does wrong; nobody else hears of it.
pub fn exceptions_stay_in_the_vm() {
    const IL: u64 = 1 << 25;
    let vm = Setup::new("fault").start();
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    // Undefined; SVC #5; a data abort; an instruction abort: both by a translation fault at level 0 or an address beyond TCR.
    assert_eq!([vm.result(0), vm.result(1)], [IL, 0x15 << 26 | IL | 5]);
    assert_eq!([vm.result(2) >> 26, vm.result(3) >> 26], [0x25, 0x21]);
    assert_eq!([vm.result(2) & 0x3F, vm.result(3) & 0x3F], [4, 4]);
    vm.destroy();
}

/// The host can't serve the access, and asks for an abort.
pub fn a_device_that_is_not_there() {
    let address = 0x0B00_0008;
    let vm = Setup::new("fault").arguments(&[address]).start();
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    // A data abort of the same level, external, at the VM's own address.
    assert_eq!([vm.result(4) >> 26, vm.result(4) & 0x3F], [0x25, 0x10]);
    assert_eq!(vm.result(5), address);
    vm.destroy();
    assert_eq!((vm.outcome(), vm.vcpus[0].state()), (Some(Outcome::Done(0)), State::Off));
    assert_eq!(cpu::index(), 0);
}
