// SPDX-License-Identifier: GPL-2.0-only
//! What the host says in the run page about a vCPU's interrupts, and about its time.

use crate::rt::call::host;
use crate::rt::machine;
use crate::world::gic::lr;
use crate::world::vm::Vm;
use crate::world::{Exit, Setup, gic, scheduler};
use corevisor::abi::{INVALID_PARAMETER, exit, host_call as n, run_page};

fn list(n: u64) -> u64 {
    run_page::LIST_REGISTER + 8 * n
}

/// The rings of two VMs, on the same CPUs: neither loses an interrupt, or gets one of the other's.
pub fn vms_find_nothing_of_each_others_interrupts() {
    const ROUNDS: u64 = 50;
    if !gic::is_v3() {
        return; // the distributor would be the host's to emulate
    }
    for cpus in [1, 2] {
        let vms = [2, 3].map(|vcpus| Setup::new("ring").arguments(&[ROUNDS]).vcpus(vcpus).start());
        scheduler::run(&vms, cpus);
        for (vm, vcpus) in vms.into_iter().zip([2, 3]) {
            assert_eq!(vm.finished(), 0);
            assert_eq!([vm.result(0), vm.result(1), vm.result(2)], [ROUNDS, vcpus * ROUNDS, vcpus - 1]);
            vm.destroy();
        }
    }
}

/// TIMER_SET_CNTVOFF before a VM's first entry moves its clock, and no other; nor does it later.
pub fn time_has_the_offset_of_the_first_entry() {
    const OFFSET: u64 = 1 << 40;
    if gic::list_register_count() == 0 {
        return;
    }
    let set = |offset: u64| assert_eq!(host(n::TIMER_SET_CNTVOFF, &[offset & 0xFFFF_FFFF, offset >> 32]), 0);
    let frequency = machine::read!("cntfrq_el0");
    let vm = Setup::new("clock").arguments(&[4, 500]).start();
    set(OFFSET.wrapping_neg());
    vm.set_offset(OFFSET.wrapping_neg());
    gic::set_up();
    gic::set_up_cpu();
    gic::set_alarm(100);
    let exit = vm.enter(0).expect("it runs");
    vm.serve(0, exit);
    gic::quiet();
    set(7);
    scheduler::run(&[vm], 2);
    assert_eq!(vm.finished(), 0);
    let behind = machine::now().wrapping_add(OFFSET).wrapping_sub(vm.result(3));
    assert!(behind < 20 * frequency, "{behind}");
    let difference = machine::read!("cntpct_el0").wrapping_sub(machine::read!("cntvct_el0"));
    assert!(difference.wrapping_add(frequency) < 2 * frequency, "the host's own has none: {difference:#x}");
    set(0);
    vm.destroy();
}

/// VCPU_RUN for vCPU 0 until an interrupt is the reason to leave, and nothing else.
fn until_interrupt(vm: &Vm) {
    const MOST: usize = 10;
    assert!((0..MOST).any(|_| host(n::VCPU_RUN, &[vm.id(), 0]) == exit::IRQ as i64), "no interrupt has come");
}

pub fn the_maintenance_interrupt_says_why() {
    const UIE: u64 = 1 << 1;
    const NPIE: u64 = 1 << 3;
    const EOI: u64 = 1 << 41;
    const SGI: u64 = 5;
    if gic::list_register_count() == 0 {
        return;
    }
    gic::set_up();
    gic::set_up_cpu();
    let vm = Setup::new("sleep").arguments(&[2, SGI]).start();
    let vcpu = &vm.vcpus[0];
    for (condition, reason) in [(UIE, 1 << 1), (NPIE, 1 << 3), (UIE | NPIE, 0b1010)] {
        vcpu.set_word(run_page::ICH_HCR, condition);
        assert_eq!(vm.enter(0), Ok(Exit::Irq));
        assert_eq!(vcpu.word(run_page::ICH_MISR), reason);
        assert_eq!(vcpu.word(run_page::ICH_HCR), condition);
    }
    // Until it sleeps. Then two interrupts, the end of each of which is to be told.
    vcpu.set_word(run_page::ICH_HCR, 0);
    loop {
        match vm.enter(0).expect("it runs") {
            Exit::Wfi => break,
            exit => vm.serve(0, exit),
        }
    }
    let group = if gic::is_v3() { lr::GROUP_1 } else { 0 };
    let interrupt = lr::PENDING | group | lr::PRIORITY | EOI | SGI;
    vcpu.set_word(list(1), interrupt);
    until_interrupt(vm);
    let left = || (vcpu.word(run_page::ICH_MISR), vcpu.word(list(1)));
    assert_eq!(left(), (1, interrupt & !lr::PENDING), "an interrupt has ended");
    // As hardware has left it, the word is no reason to refuse the entry, and once more to interrupt.
    assert_eq!(host(n::VCPU_RUN, &[vm.id(), 0]), exit::IRQ as i64);
    assert_eq!(left(), (1, interrupt & !lr::PENDING));
    vcpu.set_word(list(1), interrupt);
    until_interrupt(vm);
    assert_eq!(left(), (1, interrupt & !lr::PENDING));
    vcpu.set_word(list(1), 0);
    gic::quiet();
    scheduler::run(&[vm], 1);
    assert_eq!((vm.finished(), vm.result(0)), (0, 2));
    vm.destroy();
}

pub fn malformed_list_registers_are_refused() {
    let there = gic::list_register_count() as u64;
    let vm = Setup::new("compute").arguments(&[100]).start();
    let vcpu = &vm.vcpus[0];
    let malformed = [
        (run_page::ICH_HCR, 1),
        (run_page::ICH_HCR, 1 << 8),
        (list(0), lr::PENDING | 1020),
        (list(0), lr::ACTIVE | 0xFFFF_FFFF),
        (list(0), lr::PENDING | lr::HW | 40),
        (list(0), lr::PENDING | 40 | 1 << 45),
    ];
    for (offset, word) in malformed.into_iter().filter(|_| there > 0) {
        vcpu.set_word(offset, word);
        assert_eq!(vm.enter(0), Err(INVALID_PARAMETER), "{offset} {word:#x}");
        vcpu.set_word(offset, 0);
    }
    // Those that are not there are not looked at.
    (there..16).for_each(|n| vcpu.set_word(list(n), u64::MAX));
    scheduler::run(&[vm], 1);
    assert_eq!((vm.finished(), vm.result(0)), (0, 25));
    (there..16).for_each(|n| assert_eq!(vcpu.word(list(n)), u64::MAX));
    vm.destroy();
}
