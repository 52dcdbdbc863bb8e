// SPDX-License-Identifier: GPL-2.0-only
//! Entries: the first one, those that are refused, and who gets a vCPU.

use super::{CANARY, Guest, IMAGE, IMAGE_SIZE, hpfar, record, run_page, vcpu, vm, with_context};
use crate::abi::run_page::{FAULT_ADDR, NEW_PAGE, PC, PSTATE, X};
use crate::abi::{DENIED, INVALID_PARAMETER, exit};
use crate::lock::Held;
use crate::machine::sim::{self, ACTLR_EL1};
use crate::refused::Refused;
use crate::trap::Exit;
use crate::vcpu::{Next, ShadowContext, Sys};
use crate::vm::{Generation, Power, VcpuState, VmState};
use crate::world::{GIB, snapshot};
use std::sync::Arc;
use std::vec::Vec;

// Tests: VA-1, VA-2, VO-2, CS-1, CS-4, TR-3, TH-3, BO-1
#[test]
fn a_first_entry_resets_all_registers() {
    let mut guest = Guest::new();
    guest.put(0, PC, IMAGE + IMAGE_SIZE - 1);
    (1..31).for_each(|i| guest.put(0, X + i * 8, CANARY));
    with_context(&guest.core, vm(2), vcpu(0), |context| {
        context.x = [1; 31];
        context.fp.q = [1; 32];
        (context.sp_el0, context.sp_el1, context.elr_el1, context.spsr_el1) = (1, 1, 1, 1);
    });
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.regs, [0; 31]);
    let cpu = guest.cpu();
    assert_eq!((cpu.registers.pc, cpu.registers.pstate), (IMAGE + IMAGE_SIZE - 1, 0x3C5));
    assert_eq!(cpu.registers.fp, ShadowContext::ZERO.fp);
    let r = &cpu.registers;
    assert_eq!((r.sp_el0, r.sp_el1, r.elr_el1, r.spsr_el1), (0, 0, 0, 0));
    assert_eq!(cpu.registers.sys[Sys::MpidrEl1], 0x8000_0000);
    assert_eq!(cpu.registers.sys[Sys::ActlrEl1], ACTLR_EL1);
    assert_eq!(cpu.registers.sys[Sys::SctlrEl1], 0x30D0_0800, "MMU and caches off");
    for register in [Sys::VbarEl1, Sys::TcrEl1, Sys::CpacrEl1, Sys::TpidrEl1, Sys::MdscrEl1] {
        assert_eq!(cpu.registers.sys[register], 0, "{register:?}");
    }
    assert_eq!(cpu.registers.sys[Sys::Ttbr0El1], 0x1DE7_EC7E_DBAD_C0DE);
    assert_eq!((cpu.traps, cpu.timer_traps), (true, true));
    assert_eq!(cpu.stage2, guest.core.root(vm(2)).map(|(root, _)| (vm(2), root)));
    assert_eq!(guest.core.current(), Some((vm(2), vcpu(0))));
    assert_eq!(guest.vcpu_state(), VcpuState::Active);
    assert_eq!(guest.context().dirty, 0);
}

// Tests: VA-2
#[test]
fn each_vcpu_has_its_number_in_mpidr() {
    let guest = Guest::new();
    let mut context = ShadowContext::ZERO;
    context.sys[Sys::ElrEl2] = 5;
    guest.core.reset_sys_regs(vcpu(7), &mut context);
    assert_eq!(context.sys[Sys::MpidrEl1], 0x8000_0007);
    assert_eq!(context.sys[Sys::ElrEl2], 5, "none of the VM's (D-29)");
    assert_eq!(context.x, [0; 31]);
}

// Tests: VA-1
#[test]
fn the_host_can_start_a_vcpu_at_el1_or_el0_only() {
    let daif = 0x3C0;
    let cases = [
        (0b0101, 0b0101),
        (0b0100 | daif, 0b0100 | daif),
        (0b0000, 0b0000),
        (0b1001, 0x3C5),                // EL2h
        (0b1101, 0x3C5),                // EL3h
        (0b1_0011, 0x3C5),              // AArch32
        (0b0001, 0x3C5),                // no mode
        (0xFFFF_FFFF_0000_0145, 0x145), // all other bits go
    ];
    for (asked, got) in cases {
        let mut guest = Guest::new();
        guest.put(0, PSTATE, asked);
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.cpu().registers.pstate, got, "{asked:#x}");
    }
}

// Tests: VO-2, BO-14
#[test]
fn a_vcpu_from_a_saved_state_keeps_its_registers() {
    let mut guest = Guest::new();
    record(&guest.core, vm(2), |info| {
        info.inc_exe = true;
        info.vcpu_mut(vcpu(0)).power = Power::On;
    });
    with_context(&guest.core, vm(2), vcpu(0), |context| {
        context.x[5] = 55;
        context.pc = 0x1234;
        context.sys[Sys::VbarEl1] = 66;
    });
    guest.put(0, PC, 0);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!((guest.regs[5], guest.cpu().registers.pc), (55, 0x1234));
    assert_eq!(guest.cpu().registers.sys[Sys::VbarEl1], 66);
    assert_eq!(guest.context().dirty, 0);
}

/// Runs the vCPU, which is refused with `code`, and checks that nothing else happened.
fn refused(guest: &mut Guest, code: i64) {
    let before = (snapshot(&guest.core), guest.context(), guest.cpu(), guest.regs);
    let info = record(&guest.core, vm(2), |info| info.clone());
    assert_eq!(guest.run(), Next::Host);
    assert_eq!(guest.regs[0], code as u64);
    guest.regs[0] = before.3[0];
    assert_eq!((snapshot(&guest.core), guest.context(), guest.cpu(), guest.regs), before);
    assert_eq!(record(&guest.core, vm(2), |info| info.clone()), info);
    assert_eq!(guest.core.current(), None);
    assert!(guest.core.machine().take_refusals()[0].starts_with("vcpu0 of vm2 not run: "));
}

// Tests: CS-4, VA-1, VO-2, BO-1, BO-2, BO-3, TR-3, TH-3
#[test]
fn a_refused_entry_changes_nothing() {
    let mut guest = Guest::new();
    let saved = Some(Generation { lineage: 1, epoch: 5 });
    record(&guest.core, vm(2), |info| info.generation = saved); // the latest until it runs
    for pc in [0, IMAGE - 1, IMAGE + IMAGE_SIZE, u64::MAX] {
        guest.put(0, PC, pc);
        refused(&mut guest, INVALID_PARAMETER);
    }
    guest.put(0, PC, IMAGE);
    for state in [VmState::Unused, VmState::Ready, VmState::Poweroff] {
        record(&guest.core, vm(2), |info| info.state = state);
        refused(&mut guest, DENIED);
    }
    record(&guest.core, vm(2), |info| info.state = VmState::Verified);
    for state in [VcpuState::Unused, VcpuState::Active] {
        record(&guest.core, vm(2), |info| info.vcpu_mut(vcpu(0)).state = state);
        refused(&mut guest, DENIED);
    }
    record(&guest.core, vm(2), |info| info.vcpu_mut(vcpu(0)).state = VcpuState::Ready);
    record(&guest.core, vm(2), |info| info.vcpu_mut(vcpu(0)).run_page = None);
    refused(&mut guest, DENIED);
    record(&guest.core, vm(2), |info| info.vcpu_mut(vcpu(0)).run_page = Some(run_page(0)));
    let root = guest.core.root_to_run(vm(2)).unwrap();
    guest.core.set_root(vm(2), None);
    refused(&mut guest, INVALID_PARAMETER);
    guest.core.set_root(vm(2), Some(root));
    assert_eq!(guest.run(), Next::Vm, "READY as it was");
    assert_ne!(record(&guest.core, vm(2), |info| info.generation), saved);
}

// Tests: CS-4, VA-8, VO-2
#[test]
fn a_page_that_is_not_the_hosts_to_give_is_refused() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    let fault = [super::access(1, 3, true), hpfar(0x5000_0000), 0x5000_0008];
    assert_eq!(guest.exit(Exit::Trap, fault), Next::Host);
    guest.put(0, NEW_PAGE, 2 * GIB);
    guest.put(0, FAULT_ADDR, 0x5000_1000);
    refused(&mut guest, INVALID_PARAMETER); // not where it stumbled (D-37)
    guest.put(0, FAULT_ADDR, 0x5000_0000);
    refused(&mut guest, DENIED); // not RAM
    guest.put(0, NEW_PAGE, GIB + 64 * crate::world::MIB - 4096);
    refused(&mut guest, DENIED); // Corevisor's
    guest.put(0, NEW_PAGE, GIB);
    assert_eq!(guest.run(), Next::Vm);
}

// Tests: CS-4
#[test]
fn there_are_no_contexts_but_those_of_vms() {
    let guest = Guest::new();
    for v in [crate::addr::HOSTVISOR, crate::addr::COREVISOR] {
        assert_eq!(guest.core.context(v, vcpu(0), &mut Held::nothing()).err(), Some(Refused::State(v)));
    }
}

// Tests: CS-3, CS-4, TR-3, TR-4, TH-3, TH-4
#[test]
fn two_cpus_never_run_one_vcpu() {
    let guest = Arc::new(Guest::new());
    let threads: Vec<_> = (0..2)
        .map(|cpu| {
            let guest = guest.clone();
            std::thread::spawn(move || {
                sim::set_cpu(cpu);
                let held = &mut Held::nothing();
                let mine = [cpu as u64; 31];
                let mut ran = 0;
                for _ in 0..100 {
                    let mut regs = mine;
                    match guest.core.host_vcpu_run_handler(vm(2), vcpu(0), &mut regs, held) {
                        Next::Host => {
                            assert_eq!(regs[0], DENIED as u64);
                            continue;
                        }
                        Next::Vm => ran += 1,
                    }
                    // A register that only one CPU at a time counts up.
                    regs[1] += 1;
                    std::thread::yield_now();
                    assert_eq!(guest.core.vm_exit_handler(Exit::Irq, &mut regs, held), Next::Host);
                    assert_eq!((regs[0], &regs[1..]), (exit::IRQ, &mine[1..]));
                }
                ran
            })
        })
        .collect();
    let ran: u64 = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(ran > 0);
    assert_eq!(guest.context().x[1], ran);
}
