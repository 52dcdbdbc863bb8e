// SPDX-License-Identifier: GPL-2.0-only
//! Interrupts of VMs, through list registers.

use crate::rt::{harness, tree};
use crate::world::vcpu::Vcpu;
use crate::world::{Setup, gic, scheduler};

/// The place of writes to system registers in a vCPU's counts.
const REGISTER: usize = 7;

/// A token goes round four vCPUs, on each number of CPUs.
pub fn sgis_between_vcpus() {
    let rounds = harness::rounds(50, 5000);
    if !gic::is_v3() {
        return; // the distributor would be the host's to emulate
    }
    for cpus in [1, 2, tree::cpus()] {
        let vm = Setup::new("ring").arguments(&[rounds]).vcpus(4).start();
        scheduler::run(&[vm], cpus);
        assert_eq!(vm.finished(), 0);
        assert_eq!([vm.result(0), vm.result(1), vm.result(2)], [rounds, 4 * rounds, 3]);
        let sent = |vcpu: &Vcpu| vcpu.exits(REGISTER);
        assert_eq!(vm.vcpus.iter().map(sent).sum::<u64>(), 4 * rounds + 1);
        vm.destroy();
    }
}

/// Each vCPU is woken by its own timer, wherever it sleeps or runs; never early.
pub fn timers_of_vcpus() {
    let times = harness::rounds(30, 1000);
    for (vcpus, cpus) in [(1, 1), (4, 2), (4, tree::cpus())] {
        let one = Setup::new("clock").arguments(&[times, 3000]).vcpus(vcpus).start();
        let other = Setup::new("clock").arguments(&[times, 2000]).vcpus(vcpus).start();
        scheduler::run(&[one, other], cpus);
        for vm in [one, other] {
            assert_eq!(vm.finished(), 0);
            assert_eq!([vm.result(0), vm.result(1)], [vcpus as u64 * times, 0]);
            vm.destroy();
        }
    }
}
