// SPDX-License-Identifier: GPL-2.0-only
//! Two CPUs that are after the same (18, 34, 35, 36).

use super::victim::{NOBODY, Watch, assert_scrubbed, balance, clear, destroy, owner, setup, turn};
use crate::rt::call::host;
use crate::rt::{PAGE, cpu, machine};
use crate::world::protocol::IMAGE;
use crate::world::vcpu::State;
use crate::world::vm::to_the_end;
use crate::world::{BLOCK, Setup, Vm, gic, memory, scheduler};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{DENIED, INVALID_PARAMETER, exit, host_call as n};

/// The VM that the other CPU is after.
static TARGET: AtomicU64 = AtomicU64::new(0);
/// What VCPU_RUN gave: it ran; DENIED; INVALID_PARAMETER; anything else.
static OUTCOMES: [[AtomicU64; 4]; 2] = [const { [const { AtomicU64::new(0) }; 4] }; 2];

/// VCPU_RUN of vCPU `vcpu` of VM `v`, for a short time.
fn try_to_run(me: usize, v: u64, vcpu: u64) -> i64 {
    gic::set_alarm(50);
    let code = host(n::VCPU_RUN, &[v, vcpu]);
    gic::quiet();
    let outcome = match code {
        0.. => 0,
        DENIED => 1,
        INVALID_PARAMETER => 2,
        _ => 3,
    };
    OUTCOMES[me][outcome].fetch_add(1, Ordering::SeqCst);
    code
}

fn outcomes(me: usize) -> [u64; 4] {
    [0, 1, 2, 3].map(|i| OUTCOMES[me][i].load(Ordering::SeqCst))
}

/// Has CPU 1 do `work`, from now on, with `target`.
fn begin(work: fn(usize), target: u64) {
    TARGET.store(target, Ordering::SeqCst);
    OUTCOMES.iter().flatten().for_each(|count| count.store(0, Ordering::SeqCst));
    gic::set_up();
    gic::set_up_cpu();
    cpu::start(1);
    cpu::give_work(1, work);
}

/// Brings it to its end.
fn finish() {
    TARGET.store(0, Ordering::SeqCst);
    cpu::wait_for(1);
    cpu::stop(1);
    gic::quiet();
}

/// A VM that never leaves by itself, and runs.
fn spinner() -> &'static Vm {
    let vm = Setup::new("spin").start();
    while vm.result(0) == 0 {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        vm.serve(0, exit);
    }
    vm
}

/// vCPU 0 of the target, over and over.
fn run_target(me: usize) {
    gic::set_up_cpu();
    loop {
        match TARGET.load(Ordering::SeqCst) {
            0 => return,
            v => _ = try_to_run(me, v, 0),
        }
    }
}

/// Of two CPUs that run a vCPU, one has it, and the other is told so.
pub fn a34_a_vcpu_on_two_cpus() {
    const WINS: u64 = 50;
    let before = balance();
    let vm = spinner();
    let watch = Watch::over_blocks(vm.blocks().into_iter().take(1));
    begin(run_target, vm.id());
    let enough = || [outcomes(0), outcomes(1)].iter().all(|counts| counts[0] >= WINS && counts[1] >= WINS);
    let end = machine::after(30);
    while !enough() {
        let code = try_to_run(0, vm.id(), 0);
        assert!(code == exit::IRQ as i64 || code == DENIED, "{code}");
        assert!(machine::now() < end, "{:?} {:?}", outcomes(0), outcomes(1));
    }
    finish();
    let [_, _, wrong, others] = outcomes(1);
    assert_eq!([wrong, others], [0, 0]);
    watch.assert_pages_unchanged("runs of one vCPU on two CPUs");
    assert_eq!(try_to_run(0, vm.id(), 0), exit::IRQ as i64, "it still runs");
    destroy(vm);
    assert_eq!(balance(), before);
}

/// DESTROY_VM against VCPU_RUN: either it is refused and nothing happens, or the vCPU never runs again.
pub fn a35_destroyed_while_it_is_run() {
    const LIVES: u64 = 10;
    let before = balance();
    let mut refused = 0;
    for _ in 0..LIVES {
        let vm = spinner();
        let block = vm.blocks()[0];
        begin(run_target, vm.id());
        cpu::wait_until("a run", 20, || outcomes(1)[0] > 0);
        let end = machine::after(30);
        let mut left = loop {
            match host(n::DESTROY_VM, &[vm.id()]) {
                DENIED => {
                    refused += 1;
                    assert!(owner(block) == vm.id() && machine::now() < end);
                }
                left => break left,
            }
        };
        let runs = outcomes(1)[0];
        while left > 0 {
            left = host(n::DESTROY_VM, &[vm.id()]);
        }
        assert_eq!(left, 0);
        assert_scrubbed(block);
        let tries = outcomes(1)[1];
        cpu::wait_until("refusals", 20, || outcomes(1)[1] > tries + 10);
        // One that was on its way back when the VM was destroyed is counted late; there are no others.
        assert!(outcomes(1)[0] <= runs + 1, "it has run after its end");
        finish();
        assert_eq!(outcomes(1)[3], 0);
        assert_scrubbed(block);
        vm.forget();
    }
    assert!(refused > 0, "the runs were never in the way");
    assert_eq!(balance(), before);
}

/// vCPUs 0 and 1 of all numbers that a VM can get.
fn run_anything(me: usize) {
    gic::set_up_cpu();
    while TARGET.load(Ordering::SeqCst) != 0 {
        for v in 1..16 {
            for vcpu in [0, 1, 7] {
                // Not when it may run: it is another's then.
                if TARGET.load(Ordering::SeqCst) == 1 {
                    let code = try_to_run(me, v, vcpu);
                    assert!(code < 0, "vCPU {vcpu} of VM {v} has run: {code}");
                }
            }
        }
    }
}

/// VCPU_RUN while the VM is being made: a vCPU that is not whole never runs.
pub fn a36_run_while_it_is_made() {
    const LIVES: usize = 20;
    let before = balance();
    begin(run_anything, 1);
    cpu::wait_until("a try", 20, || outcomes(1)[1] > 0);
    for _ in 0..LIVES {
        let end = machine::after(30);
        let vm = Vm::register(&setup().vcpus(2));
        vm.load(&setup());
        // Verified, it could run: but nobody has said where it starts.
        vm.vcpus[0].set_word(corevisor::abi::run_page::PC, 0);
        assert_eq!(vm.verify(), 0);
        let tries = outcomes(1);
        cpu::wait_until("tries", 20, || outcomes(1)[2] > tries[2] && outcomes(1)[1] > tries[1] + 10);
        // Refused while the other CPU has the vCPU, if only to be told that it can't start.
        while to_the_end(n::DESTROY_VM, &[vm.id()]) != 0 {
            assert!(machine::now() < end);
        }
        vm.blocks().into_iter().for_each(assert_scrubbed);
        vm.forget();
    }
    finish();
    let [ran, denied, no_entry, others] = outcomes(1);
    assert!(ran == 0 && denied > 0 && no_entry > 0 && others == 0, "{:?}", outcomes(1));
    // And one that is whole runs from its beginning, with all that it has.
    let vm = setup().start();
    assert_eq!(vm.vcpus[0].word(corevisor::abi::run_page::PC), IMAGE);
    turn(vm);
    destroy(vm);
    assert_eq!(balance(), before);
}

/// A page that comes back is out of reach of the vCPU that looks at it on another CPU: it can't be taken before that CPU is
/// out of the VM.
pub fn a18_pages_that_a_vcpu_still_sees() {
    let before = balance();
    let vm = Setup::new("watcher").vcpus(2).start();
    scheduler::set_slice(20_000_000, 20_000_000);
    gic::set_up();
    gic::set_up_cpu();
    // vCPU 0 here, vCPU 1 on the other CPU, without the scheduler: who is where must be certain.
    let serve = |vm: &Vm| {
        let exit = vm.enter(0).unwrap_or_else(|error| panic!("VCPU_RUN: {error}"));
        vm.serve(0, exit);
    };
    while vm.vcpus[1].state() != State::Ready {
        serve(vm);
    }
    scheduler::begin(&[vm], 2);
    cpu::wait_until("vCPU 1 looks", 20, || {
        if vm.vcpus[0].change_state(State::Ready, State::Running) {
            serve(vm);
        }
        vm.result(1) == 1
    });
    machine::pause(5);
    vm.set_hook(|_, _, _, _| 1);
    let end = machine::after(20);
    while !vm.is_off() {
        if vm.vcpus[0].change_state(State::Ready, State::Running)
            && let Ok(exit) = vm.enter(0)
        {
            leave_others(vm, exit);
        }
        assert!(machine::now() < end);
    }
    // It is off, and vCPU 1 does not know yet.
    let blocks = vm.blocks();
    let owners = |blocks: &[u64]| blocks.iter().filter(|&&block| owner(block) == vm.id()).count();
    let mut refused = 0;
    let had = owners(&blocks);
    while vm.vcpus[1].on() == 1 && refused < 10 {
        let codes = [n::CLEAR_VM_S2_RANGE, n::DESTROY_VM].map(|call| host(call, &[vm.id(), 0, (1 << 40) - PAGE]));
        if codes == [DENIED; 2] {
            refused += 1;
            assert_eq!(owners(&blocks), had);
        }
    }
    assert_eq!(refused, 10, "vCPU 1 was on its CPU");
    scheduler::stop();
    vm.kick(1);
    scheduler::finish(2);
    scheduler::set_slice(200, 2000);
    assert_eq!(vm.result(2), 0, "vCPU 1 has seen something else than what was there");
    assert_eq!(host(n::VCPU_RUN, &[vm.id(), 1]), DENIED);
    assert_eq!(clear(vm.id(), 0, (1 << 40) - PAGE), 0);
    blocks.iter().for_each(|&block| assert_scrubbed(block));
    destroy(vm);
    assert_eq!(balance(), before);
    const { assert!(BLOCK > PAGE && NOBODY != 0) };
    assert!(memory::available() > 0);
}

/// Serves an exit of vCPU 0; SYSTEM_OFF without a kick for the other vCPU.
fn leave_others(vm: &Vm, exit: crate::world::Exit) {
    const SYSTEM_OFF: u64 = 0x8400_0008;
    match exit {
        crate::world::Exit::Hvc([SYSTEM_OFF, ..]) => vm.note_off(),
        exit => vm.serve(0, exit),
    }
}
