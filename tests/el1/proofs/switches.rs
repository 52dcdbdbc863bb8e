// SPDX-License-Identifier: GPL-2.0-only
//! The registers of hosts and VMs survive any number of switches.

use super::runner;
use crate::rt::harness::rounds;
use crate::rt::{machine, tree};
use crate::say;
use crate::world::{Setup, scheduler};
use corevisor::abi::DENIED;

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

/// Sets bits 0 (SM) and 1 (ZA) of SVCR, or clears them (Arm ARM C6.2, SMSTART and SMSTOP).
macro_rules! set_svcr {
    ($instruction:literal) => {
        // SAFETY: FP and SVE registers change, which compiled code has no use for.
        unsafe { core::arch::asm!(concat!(".inst ", $instruction), options(nostack)) }
    };
}

/// In SME's streaming mode a host can't run VMs; with its array on it can.
pub fn streaming_mode() {
    const SVCR_SM: u64 = 1;
    const SVCR_ZA: u64 = 2;
    if machine::read!("id_aa64pfr1_el1") >> 24 & 0xF == 0 {
        return;
    }
    machine::write!("cpacr_el1", machine::read!("cpacr_el1") | 3 << 20 | 3 << 24);
    let vm = Setup::new("registers").arguments(&[20, 1, 1]).quiet().start();
    set_svcr!("0xd503437f");
    assert_eq!(machine::read!("s3_3_c4_c2_2"), SVCR_SM);
    for _ in 0..3 {
        assert_eq!(vm.enter(0), Err(DENIED));
    }
    assert_eq!(machine::read!("s3_3_c4_c2_2"), SVCR_SM);
    set_svcr!("0xd503427f");
    set_svcr!("0xd503457f");
    while !vm.is_off() {
        let exit = vm.enter(0).expect("VCPU_RUN");
        assert_eq!(machine::read!("s3_3_c4_c2_2"), SVCR_ZA);
        vm.serve(0, exit);
    }
    set_svcr!("0xd503447f");
    assert_eq!(vm.finished(), 0);
    vm.destroy();
}
