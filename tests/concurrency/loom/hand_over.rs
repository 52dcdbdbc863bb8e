// SPDX-License-Identifier: GPL-2.0-only
//! A vCPU goes from CPU to CPU: BO-2 and BO-3 by themselves, and as parts of a whole run (TH-3, TH-4).
//!
//! While a vCPU runs, no lock guards its registers: its state does. So they are a cell here that loom watches.

use super::{check, on_cpu, world};
use corevisor::addr::{VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::refused::Refused;
use corevisor::trap::Exit;
use corevisor::vcpu::Next;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::JoinHandle;
use world::Core;

/// The registers of a CPU on which the VM runs: how often one ran.
struct Hardware(UnsafeCell<u32>);

// SAFETY: loom finds accesses that race.
unsafe impl Sync for Hardware {}

impl Hardware {
    fn run(&self) {
        // SAFETY: loom finds accesses that race.
        self.0.with_mut(|runs| unsafe { *runs += 1 });
    }

    fn runs(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|runs| unsafe { *runs })
    }
}

/// What the CPUs share: a VM that can run.
struct Shared {
    core: Core,
    v: Vmid,
    vcpu: VcpuId,
    hardware: Hardware,
}

impl Shared {
    fn new() -> Self {
        let core = world::boot();
        let (v, vcpu) = (Vmid::new_vm(1).unwrap(), VcpuId::new(0).unwrap());
        world::verified_vm(&core, v, 1);
        Self { core, v, vcpu, hardware: Hardware(UnsafeCell::new(0)) }
    }

    /// BO-2, a run, BO-3. Whether the vCPU was free; if `asked` is false, it runs whatever the answer.
    fn active_run_inactive(&self, asked: bool) -> bool {
        let mut nothing = Held::nothing();
        let active = self.core.set_vcpu_active(self.v, self.vcpu, &mut nothing);
        if active.is_err() && asked {
            assert_eq!(active, Err(Refused::State(self.v)));
            return false;
        }
        self.hardware.run();
        let (mut context, mut held) = self.core.context(self.v, self.vcpu, &mut nothing).unwrap();
        context.x[0] += 1;
        let inactive = self.core.set_vcpu_inactive(self.v, self.vcpu, &mut held);
        assert!(inactive.is_ok() || !asked);
        true
    }

    /// TH-3, a run, TH-4. Whether the vCPU ran.
    fn host_call_to_exit(&self) -> bool {
        let mut nothing = Held::nothing();
        let mut regs = [7; 31];
        if self.core.host_vcpu_run_handler(self.v, self.vcpu, &mut regs, &mut nothing) == Next::Host {
            assert_eq!(regs[1..], [7; 30], "x0 says why");
            return false;
        }
        self.hardware.run();
        regs[19] += 1;
        assert_eq!(self.core.vm_exit_handler(Exit::Irq, &mut regs, &mut nothing), Next::Host);
        assert_eq!(regs[1..], [7; 30], "the host's registers");
        true
    }
}

/// Has `cpus` CPUs do `step` at the same time, and counts those that got the vCPU. What each did must be there.
fn race(cpus: usize, step: impl Fn(&Shared) -> bool + Copy + Send + 'static, counted: impl Fn(&Shared) -> u64) {
    let shared = on_cpu(0, || Arc::new(Shared::new())).join().unwrap();
    let running: Vec<JoinHandle<bool>> = (0..cpus)
        .map(|cpu| {
            let shared = shared.clone();
            on_cpu(cpu, move || step(&shared))
        })
        .collect();
    let ran = running.into_iter().filter_map(|cpu| cpu.join().unwrap().then_some(())).count();
    assert!(ran >= 1, "the first to come gets it");
    assert_eq!(shared.hardware.runs() as usize, ran);
    assert_eq!(counted(&shared), ran as u64);
}

/// x0 of the vCPU's context.
fn x0(shared: &Shared) -> u64 {
    shared.core.context(shared.v, shared.vcpu, &mut Held::nothing()).unwrap().0.x[0]
}

/// x19 of the vCPU's context: it starts as zero.
fn x19(shared: &Shared) -> u64 {
    shared.core.context(shared.v, shared.vcpu, &mut Held::nothing()).unwrap().0.x[19]
}

// Tests: BO-2, BO-3, LK-5, LK-11
#[test]
fn an_active_vcpu_is_one_cpus() {
    check(2, || race(2, |shared| shared.active_run_inactive(true), x0));
}

// Tests: BO-2, BO-3
#[test]
#[ignore = "takes a minute"]
fn an_active_vcpu_is_one_of_three_cpus() {
    check(1, || race(3, |shared| shared.active_run_inactive(true), x0));
}

// Tests: TH-3, TH-4, CS-1, CS-2, CS-3, CS-4, BO-2, BO-3
#[test]
fn a_run_is_one_cpus() {
    check(1, || race(2, Shared::host_call_to_exit, x19));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_state_that_nobody_asks_is_found_out() {
    check(2, || race(2, |shared| shared.active_run_inactive(false), x0));
}
