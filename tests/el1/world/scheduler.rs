// SPDX-License-Identifier: GPL-2.0-only
//! Runs the vCPUs of several VMs on several CPUs, each wherever chance has it, for a chance time.

use super::vcpu::State;
use super::vm::Vm;
use super::{gic, protocol};
use crate::rt::call::{self, psci};
use crate::rt::random::Random;
use crate::rt::{cpu, harness, machine};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corevisor::abi::DENIED;
use spin::Mutex;

/// Most VMs at once.
const VMS: usize = 15;
/// Seconds that VMs are given to come to their end.
static PATIENCE: AtomicU64 = AtomicU64::new(60);

static RUNNING: Mutex<ArrayVec<&'static Vm, VMS>> = Mutex::new(ArrayVec::new_const());
static STOP: AtomicBool = AtomicBool::new(false);
static DEADLINE: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(1);
/// Shortest and longest time slice, in microseconds.
static SLICE: [AtomicU64; 2] = [AtomicU64::new(200), AtomicU64::new(2000)];

/// Sets the time slices' bounds, in microseconds, for all that follows.
pub fn set_slice(shortest: u64, longest: u64) {
    SLICE[0].store(shortest, Ordering::SeqCst);
    SLICE[1].store(longest, Ordering::SeqCst);
}

/// Gives VMs so many seconds to come to their end, from now on.
pub fn set_patience(seconds: u64) {
    PATIENCE.store(seconds, Ordering::SeqCst);
}

/// Runs `vms` on CPUs 0 to `cpus` - 1 until all are off. Called on CPU 0, with all others off; they are off again
/// afterwards.
pub fn run(vms: &[&'static Vm], cpus: usize) {
    begin(vms, cpus);
    work(0);
    finish(cpus);
}

/// Has CPUs 1 to `cpus` - 1 run `vms`, and returns; [`finish`] must follow.
pub fn begin(vms: &[&'static Vm], cpus: usize) {
    // A test that has failed may have left CPUs on.
    stop();
    for cpu in (1..cpus).filter(|&cpu| is_on(cpu)) {
        cpu::wait_for(cpu);
        cpu::stop(cpu);
    }
    *RUNNING.lock() = vms.iter().copied().collect();
    STOP.store(false, Ordering::SeqCst);
    let patience = PATIENCE.load(Ordering::SeqCst);
    DEADLINE.store(machine::after(harness::rounds(patience, 60 * patience)), Ordering::SeqCst);
    gic::set_up();
    gic::set_up_cpu();
    for cpu in 1..cpus {
        cpu::start(cpu);
        cpu::give_work(cpu, work);
    }
}

fn is_on(cpu: usize) -> bool {
    call::psci(psci::AFFINITY_INFO_64, [cpu::mpidr(cpu), 0, 0]) == psci::ON
}

/// Asks the CPUs to come back after their next exit, whatever the VMs are at.
pub fn stop() {
    STOP.store(true, Ordering::SeqCst);
}

/// Waits for CPUs 1 to `cpus` - 1, and switches them off.
pub fn finish(cpus: usize) {
    for cpu in 1..cpus {
        cpu::wait_for(cpu);
        cpu::stop(cpu);
    }
    let vms = RUNNING.lock().clone();
    if !STOP.load(Ordering::SeqCst) && !vms.iter().all(|vm| vm.is_off()) {
        vms.iter().for_each(|vm| vm.describe());
        panic!("VMs have not come to their end in {} s", PATIENCE.load(Ordering::SeqCst));
    }
}

/// What each CPU does.
pub fn work(me: usize) {
    gic::set_up_cpu();
    let mut random = Random(SEED.fetch_add(1, Ordering::SeqCst) << 8 | me as u64);
    while !STOP.load(Ordering::SeqCst) && machine::now() < DEADLINE.load(Ordering::SeqCst) {
        let vms = RUNNING.lock().clone();
        if harness::is_broken() || vms.iter().all(|vm| vm.is_off()) {
            break;
        }
        let microseconds = {
            let [shortest, longest] = [0, 1].map(|i| SLICE[i].load(Ordering::SeqCst));
            shortest + random.below(longest - shortest + 1)
        };
        gic::set_alarm(microseconds);
        match pick(&vms, &mut random) {
            Some((vm, i)) => run_slice(vm, i),
            // Until the alarm, or another CPU's kick.
            None => gic::wait(),
        }
    }
    gic::quiet();
}

/// Waits until CPU `cpu` runs vCPU 0 of `vm`, whose program is "spin": until it has said so, its host goes back to it, and
/// has had time to get there, as nothing tells when it has.
pub fn wait_until_it_spins(vm: &Vm, cpu: usize) {
    cpu::wait_until("the VM runs", 20, || vm.result(0) == 1 && vm.vcpus[0].on() == cpu);
    machine::pause(20);
}

/// A vCPU that was ready, and is this CPU's now.
fn pick(vms: &[&'static Vm], random: &mut Random) -> Option<(&'static Vm, usize)> {
    let places = vms.len() * protocol::VCPUS;
    let start = random.below(places as u64) as usize;
    (0..places).map(|n| (start + n) % places).map(|n| (vms[n / protocol::VCPUS], n % protocol::VCPUS)).find(
        |(vm, i)| {
            let vcpu = &vm.vcpus[*i];
            if *i >= vm.count() || vm.is_off() {
                return false;
            }
            if vcpu.state() == State::Waiting && vcpu.wake_at() <= vm.virtual_now() {
                vcpu.change_state(State::Waiting, State::Ready);
            }
            vcpu.change_state(State::Ready, State::Running)
        },
    )
}

/// Runs a vCPU until it has nothing to do, or its time is over.
fn run_slice(vm: &Vm, i: usize) {
    let vcpu = &vm.vcpus[i];
    loop {
        match vm.enter(i) {
            Ok(exit) => {
                vm.serve(i, exit);
                let over = matches!(exit, super::Exit::Irq | super::Exit::Wfi | super::Exit::Wfe);
                let stop = over || vm.is_off() || STOP.load(Ordering::SeqCst);
                if stop || !vcpu.change_state(State::Ready, State::Running) {
                    return;
                }
            }
            // Another vCPU has switched the VM off; Corevisor knows that before the CPU that ran that vCPU has served it.
            Err(DENIED) if vm.goes_off() => {
                vcpu.set_state(State::Off);
                return;
            }
            Err(error) => {
                vm.describe();
                panic!("VCPU_RUN {} {i}: {error}", vm.id());
            }
        }
    }
}
