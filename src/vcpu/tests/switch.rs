// SPDX-License-Identifier: GPL-2.0-only
//! What is in the CPU's registers while the host runs, and while a VM does.

use super::{CANARY, Guest, vcpu, vm};
use crate::abi::exit;
use crate::addr::HOSTVISOR;
use crate::lock::Held;
use crate::machine::sim;
use crate::trap::{Conduit, Exit, HostAbort, HostAction, Syndrome, Verdict};
use crate::vcpu::{Fp, Next, ShadowContext, Sys};

/// Fills all registers of the CPU that a switch has to do with.
fn fill(guest: &Guest, from: u64) {
    guest.core.machine().with_cpu(|cpu| {
        let r = &mut cpu.registers;
        for (i, register) in (from..).zip(r.sys.0.iter_mut()) {
            *register = i;
        }
        (r.pc, r.pstate, r.elr_el1, r.spsr_el1) = (from + 100, from + 101, from + 102, from + 103);
        (r.sp_el0, r.sp_el1) = (from + 104, from + 105);
        r.fp =
            Fp { q: core::array::from_fn(|i| u128::from(from) << 64 | i as u128), fpsr: from + 106, fpcr: from + 107 };
        r.sys[Sys::MdccintEl1] = 0; // these two are not switched
        r.sys[Sys::ElrEl2] = 0;
    });
}

// Tests: CS-1, CS-2, CS-3, CS-4, TR-3, TR-4, TH-3, TH-4
#[test]
fn each_has_its_own_registers() {
    let mut guest = Guest::new();
    fill(&guest, 0x1000);
    let host = (guest.cpu(), guest.regs);
    guest.run_with_canaries();
    let canaries = guest.regs;
    fill(&guest, CANARY);
    let of_vm = guest.cpu();
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
    let mut after = guest.cpu();
    assert_eq!(after.stage2, guest.core.root(HOSTVISOR).map(|(root, _)| (HOSTVISOR, root)));
    (after.stage2, after.flushes) = (None, host.0.flushes.clone());
    assert_eq!(after, host.0, "all that the host had, and no traps");
    assert_eq!((guest.regs[0], &guest.regs[1..]), (exit::IRQ, &host.1[1..]));
    assert_eq!(guest.core.current(), None);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!((guest.cpu(), guest.regs), (of_vm, canaries));
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
}

// Tests: CS-4
#[test]
fn another_vcpu_of_a_vm_finds_nothing_of_the_last() {
    let guest = Guest::new();
    guest.turn_on_other();
    let run = |id| {
        let mut regs = [0; 31];
        let held = &mut Held::nothing();
        assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(id), &mut regs, held), Next::Vm);
        assert_eq!(guest.core.vm_exit_handler(Exit::Irq, &mut regs, held), Next::Host);
        guest.cpu().flushes.len()
    };
    let flushes = [0, 0, 1, 1, 0].map(run);
    assert_eq!(flushes, [1, 1, 2, 2, 3]);
    sim::set_cpu(1);
    assert_eq!([1, 1].map(run), [1, 1], "each CPU by itself");
    sim::set_cpu(0);
    assert_eq!(run(0), 3);
    assert!(guest.cpu().flushes.iter().all(|&v| v == vm(2)));
}

// Tests: TH-1, TR-1, TD-1
#[test]
fn the_hosts_call_says_which_vcpu_is_to_run() {
    let guest = Guest::new();
    let call = |x1, x2| {
        let mut regs = [0; 31];
        regs[..3].copy_from_slice(&[0xC600_1000 + 30, x1, x2]);
        (guest.core.host_hvc_handler(Conduit::Hvc, 0, &mut regs, &mut Held::nothing()), regs[0])
    };
    assert_eq!(call(2, 1).0, HostAction::Run { v: vm(2), vcpu: vcpu(1) });
    for (x1, x2) in [(0, 0), (16, 0), (1, 8), (1 << 32 | 1, 0), (1, 1 << 32)] {
        assert_eq!(call(x1, x2), (HostAction::Resume, crate::abi::INVALID_PARAMETER as u64), "{x1} {x2}");
    }
    assert_eq!(guest.core.current(), None);
}

// Tests: TH-2, TR-2, FH-1
#[test]
fn the_hosts_abort_is_answered() {
    let guest = Guest::new();
    let abort = |ipa: u64| {
        let syndrome = Syndrome(super::access(0, 2, false));
        HostAbort { syndrome, far: ipa, hpfar: super::hpfar(ipa), pc: 0 }
    };
    let (mut regs, held) = ([0; 31], &mut Held::nothing());
    assert_eq!(guest.core.host_npt_handler(&abort(0x0900_0000), &mut regs, held), Verdict::Retry);
    assert!(guest.core.machine().walk(HOSTVISOR, crate::world::ipa(0x0900_0000)).is_ok());
    assert_eq!(guest.core.host_npt_handler(&abort(1 << 45), &mut regs, held), Verdict::ExternalAbort);
}

// Tests: CS-1
#[test]
fn what_is_saved_of_the_host_is_in_its_context() {
    let mut guest = Guest::new();
    fill(&guest, 0x1000);
    let regs = guest.regs;
    assert_eq!(guest.run(), Next::Vm);
    let held = &mut Held::nothing();
    let (context, _) = guest.core.host_context(held);
    assert_eq!((context.x, context.pc), (regs, 0x1000 + 100));
    assert_ne!(*context, ShadowContext::ZERO);
}
