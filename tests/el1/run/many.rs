// SPDX-License-Identifier: GPL-2.0-only
//! Several vCPUs and several CPUs.

use super::basics::{assert_scrubbed, balance};
use crate::rt::call::host;
use crate::rt::{cpu, harness, machine, tree};
use crate::world::vcpu::State;
use crate::world::vm::Vm;
use crate::world::{Exit, Setup, gic, memory, scheduler};
use corevisor::abi::{DENIED, host_call as n};

pub fn vcpus_of_one_vm() {
    const ROUNDS: u64 = 20_000;
    for cpus in [1, 2, tree::cpus()] {
        let vm = Setup::new("team").arguments(&[ROUNDS]).vcpus(4).start();
        scheduler::run(&[vm], cpus);
        assert_eq!(vm.finished(), 0);
        assert_eq!([vm.result(0), vm.result(1)], [4 * ROUNDS, 4]);
        vm.destroy();
    }
}

/// The place of WFI exits in a vCPU's counts.
const WFI: usize = 4;

/// Each vCPU wherever chance has it.
pub fn vcpus_go_from_cpu_to_cpu() {
    let wanted = harness::rounds(200, 20_000);
    let moves = |vm: &Vm| vm.vcpus.iter().map(|vcpu| vcpu.moves()).sum::<u64>();
    let vm = Setup::new("team").arguments(&[1000, 1]).vcpus(4).start();
    vm.set_result(3, wanted);
    vm.set_hook(|vm, _, _, _| (vm.vcpus[0].moves() >= vm.result(3)).into());
    scheduler::set_slice(20, 200);
    scheduler::run(&[vm], tree::cpus());
    scheduler::set_slice(200, 2000);
    assert_eq!(vm.finished(), 0);
    assert_eq!(vm.result(0), 4000);
    assert!(moves(vm) >= wanted);
    vm.destroy();
}

pub fn two_vms_at_once() {
    let before = memory::available();
    let team = Setup::new("team").arguments(&[20_000]).vcpus(3).start();
    let memory = Setup::new("memory").arguments(&[100, 2]).start();
    let compute = Setup::new("compute").arguments(&[20_000]).quiet().start();
    scheduler::run(&[team, memory, compute], tree::cpus());
    assert_eq!([team.finished(), memory.finished(), compute.finished()], [0; 3]);
    assert_eq!(team.result(0), 60_000);
    assert_eq!([memory.result(0), memory.result(1)], [0, 0]);
    assert_eq!(compute.result(0), 2262);
    let blocks = [team.blocks(), memory.blocks(), compute.blocks()];
    [team, memory, compute].iter().for_each(|vm| vm.destroy());
    blocks.iter().flatten().for_each(|&block| assert_scrubbed(block));
    assert_eq!(memory::available(), before);
}

/// Not while a vCPU runs; then it can be.
pub fn destroyed_while_it_runs() {
    let vm = Setup::new("spin").start();
    // Nothing but a kick brings it back meanwhile.
    scheduler::set_slice(20_000_000, 20_000_000);
    scheduler::begin(&[vm], 2);
    scheduler::wait_until_it_spins(vm, 1);
    let before = balance();
    for _ in 0..10 {
        assert_eq!(host(n::DESTROY_VM, &[vm.id()]), DENIED);
        assert_eq!(host(n::VCPU_RUN, &[vm.id(), 0]), DENIED);
    }
    assert_eq!(balance(), before);
    assert_eq!(vm.vcpus[0].on(), 1, "it still runs");
    scheduler::stop();
    vm.kick(0);
    scheduler::finish(2);
    scheduler::set_slice(200, 2000);
    // And goes on, if the host wants it to.
    assert_eq!(vm.vcpus[0].state(), State::Ready);
    gic::set_alarm(1000);
    assert_eq!(vm.enter(0), Ok(Exit::Irq));
    gic::quiet();
    let blocks = vm.blocks();
    vm.destroy();
    blocks.iter().for_each(|&block| assert_scrubbed(block));
}

/// A vCPU that waits for interrupts is not run until one comes, and takes each.
pub fn a_vcpu_sleeps_until_an_interrupt() {
    const SGI: u32 = 5;
    const TIMES: u64 = 20;
    if gic::list_register_count() == 0 {
        return;
    }
    let vm = Setup::new("sleep").arguments(&[TIMES, SGI.into()]).start();
    scheduler::begin(&[vm], 2);
    let vcpu = &vm.vcpus[0];
    for time in 0..TIMES {
        cpu::wait_until("the vCPU sleeps", 20, || vcpu.state() == State::Waiting && vcpu.exits(WFI) > time);
        let before = vcpu.exits(WFI);
        machine::pause(2);
        assert_eq!((vcpu.state(), vcpu.exits(WFI)), (State::Waiting, before), "it still sleeps");
        vm.interrupt(0, SGI);
        cpu::wait_until("the vCPU is awake", 20, || vm.is_off() || vcpu.exits(WFI) > before);
    }
    scheduler::finish(2);
    assert_eq!((vm.finished(), vm.result(0)), (0, TIMES));
    vm.destroy();
}

/// VMs of all sorts, again and again; nothing is lost by it.
pub fn everything_at_once() {
    let before = balance();
    for _ in 0..harness::rounds(2, 200) {
        let team = Setup::new("team").arguments(&[5000]).vcpus(4);
        let memory = Setup::new("memory").arguments(&[50, 2]);
        let compute = Setup::new("compute").arguments(&[3000]).quiet();
        let clock = Setup::new("clock").arguments(&[5, 1000]).vcpus(2);
        // Without a distributor of its own a VM can't send SGIs by a GICv2.
        let ring = if gic::is_v3() { Setup::new("ring").arguments(&[5]).vcpus(3) } else { compute };
        let vms = [team, memory, compute, clock, ring].map(|setup| setup.start());
        scheduler::run(&vms, tree::cpus());
        vms.iter().for_each(|vm| assert_eq!(vm.finished(), 0));
        let results = [vms[0].result(0), vms[1].result(1), vms[2].result(0), vms[3].result(0)];
        assert_eq!(results, [20_000, 0, 430, 10]);
        vms.iter().for_each(|vm| vm.destroy());
        assert_eq!(balance(), before);
    }
}

/// Each time where CPU_ON says, with what it says in x0.
pub fn vcpus_that_go_off_and_on() {
    let times = harness::rounds(30, 3000);
    for cpus in [1, tree::cpus()] {
        let vm = Setup::new("power").arguments(&[times]).vcpus(2).start();
        scheduler::run(&[vm], cpus);
        assert_eq!((vm.finished(), vm.result(0)), (0, times));
        assert_eq!(vm.result(1), 0xC0_0001, "x0 of vCPU 1");
        vm.destroy();
    }
}
