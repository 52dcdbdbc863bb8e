// SPDX-License-Identifier: GPL-2.0-only
//! Who may use a vCPU.

use super::{record, vcpu, vm};
use crate::lock::Held;
use crate::machine::sim;
use crate::refused::Refused;
use crate::vm::{Teardown, VcpuState, VmState};
use crate::world::World;
use std::sync::Arc;
use std::vec::Vec;

const VM_STATES: [VmState; 4] = [VmState::Unused, VmState::Ready, VmState::Verified, VmState::Poweroff];
const VCPU_STATES: [VcpuState; 3] = [VcpuState::Unused, VcpuState::Ready, VcpuState::Active];

// Tests: BO-2, BO-3
#[test]
fn only_a_ready_vcpu_of_a_verified_vm_becomes_active() {
    let core = World::default().boot();
    let held = &mut Held::nothing();
    for (state, of_vcpu) in VM_STATES.iter().flat_map(|s| VCPU_STATES.map(|c| (*s, c))) {
        for destroying in [None, Some(Teardown { recycle: true, next: Some(0) })] {
            record(&core, vm(3), |info| {
                info.state = state;
                info.destroying = destroying;
                info.vcpu_mut(vcpu(7)).state = of_vcpu;
            });
            let before = record(&core, vm(3), |info| info.clone());
            let runs = state == VmState::Verified && destroying.is_none() && of_vcpu == VcpuState::Ready;
            let expected = if runs { Ok(()) } else { Err(Refused::State(vm(3))) };
            let done = core.set_vcpu_active(vm(3), vcpu(7), held).map(|turn| turn.info.state);
            assert_eq!(done, expected.map(|()| VcpuState::Active), "{state:?} {of_vcpu:?} {destroying:?}");
            let active = record(&core, vm(3), |info| info.vcpu(vcpu(7)).state == VcpuState::Active);
            assert_eq!(active, runs || of_vcpu == VcpuState::Active);
            record(&core, vm(3), |info| info.vcpu_mut(vcpu(7)).state = of_vcpu);
            assert_eq!(record(&core, vm(3), |info| info.clone()), before, "nothing else changes");
            // The way back does not ask for the VM's state.
            let expected = if of_vcpu == VcpuState::Active { Ok(()) } else { Err(Refused::State(vm(3))) };
            assert_eq!(core.set_vcpu_inactive(vm(3), vcpu(7), held), expected);
        }
    }
    record(&core, vm(3), |info| *info = Default::default());
}

// Tests: BO-2, BO-3
#[test]
fn of_two_cpus_that_want_a_vcpu_one_gets_it() {
    let core = Arc::new(World::default().boot());
    record(&core, vm(1), |info| {
        info.state = VmState::Verified;
        info.vcpu_mut(vcpu(0)).state = VcpuState::Ready;
    });
    let threads: Vec<_> = (0..2)
        .map(|cpu| {
            let core = core.clone();
            std::thread::spawn(move || {
                sim::set_cpu(cpu);
                let held = &mut Held::nothing();
                let mut got = 0;
                for _ in 0..200 {
                    if core.set_vcpu_active(vm(1), vcpu(0), held).is_ok() {
                        let (mut context, _) = core.context(vm(1), vcpu(0), held).unwrap();
                        context.x[0] = cpu as u64;
                        drop(context);
                        std::thread::yield_now();
                        assert_eq!(core.context(vm(1), vcpu(0), held).unwrap().0.x[0], cpu as u64);
                        core.set_vcpu_inactive(vm(1), vcpu(0), held).unwrap();
                        got += 1;
                    }
                }
                got
            })
        })
        .collect();
    let got: Vec<u32> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(got.iter().sum::<u32>() > 0);
}
