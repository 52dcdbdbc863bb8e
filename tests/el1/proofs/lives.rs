// SPDX-License-Identifier: GPL-2.0-only
//! VMs come and go, and take nothing with them.

use crate::rt::PAGE;
use crate::rt::call::{host, stat};
use crate::rt::harness::rounds;
use crate::rt::machine;
use crate::say;
use crate::world::protocol::IMAGE;
use crate::world::vm::{Vm, to_the_end};
use crate::world::{Kind, Setup, memory, scheduler};
use corevisor::abi::{DENIED, INVALID_PARAMETER, host_call as n, stat as id};

/// What must be the same before VMs and after them.
type Balance = ([u64; 9], usize);

fn balance() -> Balance {
    let counters = [
        id::RAM_PAGES,
        id::COREVISOR_PAGES,
        id::HOST_TABLE_PAGES,
        id::CPUS_ON,
        id::VMS,
        id::VM_PAGES,
        id::VM_TABLE_PAGES,
        id::UNSIGNED_VMS,
        id::SHARED_VMS,
    ];
    (counters.map(stat), memory::available())
}

/// Runs the VM's only vCPU here until the VM is off.
fn run(vm: &Vm) {
    while !vm.is_off() {
        let exit = vm.enter(0).expect("VCPU_RUN");
        vm.serve(0, exit);
    }
    assert_eq!(vm.finished(), 0);
}

fn verify_once(vm: &Vm) -> i64 {
    host(n::VERIFY_VM_IMAGE, &[vm.id()])
}

/// A VM that is destroyed at a stage of its life, which `round` chooses.
fn live(round: u64) {
    const STAGES: u64 = 8;
    let kind = if round / STAGES % 4 == 3 { Kind::Shared } else { Kind::Unsigned };
    let mut setup = Setup::new("registers").arguments(&[1, round, 1]).kind(kind).quiet();
    let stage = round % STAGES;
    if stage == 0 {
        setup = Setup::new("memory").arguments(&[20, 1]).kind(kind).quiet();
    }
    let vm = Vm::register(&setup);
    if stage != 7 {
        vm.load(&setup);
    }
    match stage {
        // Announced; verified in part, or not at all; ready to run.
        7 => assert_eq!(host(n::SET_BOOT_INFO, &[vm.id(), IMAGE, PAGE, 0, 0, 0, 0, 0, 0, 0, 0]), 0),
        6 => {}
        5 => assert!(verify_once(vm) >= 0),
        _ => {
            assert_eq!(vm.verify(), 0);
            vm.power_on(IMAGE);
        }
    }
    match stage {
        // In the middle of its work.
        3 => (0..3).for_each(|_| {
            let exit = vm.enter(0).expect("VCPU_RUN");
            vm.serve(0, exit);
        }),
        4..=7 => {}
        _ => run(vm),
    }
    vm.destroy();
    assert_eq!(host(n::DESTROY_VM, &[vm.id()]), INVALID_PARAMETER, "no VM has the number 0");
}

pub fn many_lives_leave_no_trace() {
    let lives = rounds(100, 10_000);
    // The host's table is split where VMs have had memory.
    (0..16).for_each(live);
    let before = balance();
    let start = machine::now();
    for round in 0..lives {
        live(round);
        assert_eq!(balance(), before, "after life {round}");
    }
    say!("{lives} lives, {} ms", (machine::now() - start) * 1000 / machine::read!("cntfrq_el0"));
}

/// Another CPU runs it: it can't be destroyed. Then it can.
pub fn no_life_ends_while_it_is_lived() {
    (0..2).for_each(|_| destroy_while_it_runs());
    let before = balance();
    for _ in 0..rounds(10, 500) {
        destroy_while_it_runs();
        assert_eq!(balance(), before);
    }
}

fn destroy_while_it_runs() {
    let vm = Setup::new("spin").quiet().start();
    scheduler::set_slice(20_000_000, 20_000_000);
    scheduler::begin(&[vm], 2);
    scheduler::wait_until_it_spins(vm, 1);
    let before = balance();
    for _ in 0..3 {
        assert_eq!(host(n::DESTROY_VM, &[vm.id()]), DENIED);
    }
    assert_eq!(balance(), before);
    scheduler::stop();
    vm.kick(0);
    scheduler::finish(2);
    scheduler::set_slice(200, 2000);
    assert_eq!(to_the_end(n::DESTROY_VM, &[vm.id()]), 0);
    vm.forget();
}
