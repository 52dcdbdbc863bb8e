// SPDX-License-Identifier: GPL-2.0-only
//! The registers of hosts and VMs survive any number of switches.

use super::runner;
use crate::rt::harness::rounds;
use crate::rt::tree;
use crate::say;
use crate::world::{Setup, scheduler};

/// VMs that use FP always, now and then, and never, with vCPUs that go from CPU to CPU; each checks all of its registers
/// after every four exits, and the host all of its own after each.
pub fn registers_survive() {
    let rounds = rounds(100, 31_250);
    let switches = 4 * 8 * rounds;
    scheduler::set_slice(20, 400);
    scheduler::set_patience(4 * 3600);
    let made = runner::count(|| {
        let vm = |seed, fp, vcpus| Setup::new("registers").arguments(&[rounds, seed, fp]).vcpus(vcpus).start();
        let vms = [vm(1, 1, 2), vm(90, 1, 2), vm(170, 3, 2), vm(230, 0, 2)];
        scheduler::run(&vms, tree::cpus());
        for vm in vms {
            assert_eq!(vm.finished(), 0);
            assert!(vm.vcpus[..2].iter().all(|vcpu| vcpu.moves() > 0), "each vCPU was on each CPU");
            vm.destroy();
        }
    });
    scheduler::set_patience(60);
    scheduler::set_slice(200, 2000);
    assert!(made >= switches, "{made} switches");
    say!("{made} switches");
}
