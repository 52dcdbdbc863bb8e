// SPDX-License-Identifier: GPL-2.0-only
//! Who may turn vCPUs on, and where they begin: PSCI of VMs.

use super::{Guest, IMAGE, IMAGE_SIZE, esr, record, vcpu, vm, with_context};
use crate::abi::run_page::{PC, PSTATE, X};
use crate::abi::{DENIED, INVALID_PARAMETER, exit};
use crate::lock::Held;
use crate::machine::sim;
use crate::trap::{Exit, Registers};
use crate::vcpu::{Next, ShadowContext, Sys};
use crate::vm::{Power, VcpuState, VmState};
use crate::world::snapshot;
use std::sync::Arc;
use std::vec::Vec;

const CPU_ON: u64 = 0xC400_0003;
const CPU_ON_32: u64 = 0x8400_0003;
const CPU_OFF: u64 = 0x8400_0002;
/// Where a VM has its vCPUs begin: anywhere.
const ENTRY: u64 = 0xFFFF_8000_1234_5678;
const ARGUMENT: u64 = 0xA46;

/// Makes a call of vCPU 0 of VM 2, which runs.
fn call(guest: &mut Guest, call: [u64; 4]) -> Next {
    guest.regs[..4].copy_from_slice(&call);
    guest.trap(esr(0x16, 0))
}

/// A call that Corevisor answers without the host: x0. Nothing else changes.
fn answered(guest: &mut Guest, args: [u64; 4]) -> i64 {
    let before = (snapshot(&guest.core), guest.told(), guest.shown());
    assert_eq!(call(guest, args), Next::Vm, "{args:#x?}");
    assert_eq!(guest.regs[1..4], args[1..]);
    assert_eq!((snapshot(&guest.core), guest.told(), guest.shown()), before);
    guest.regs[0] as i64
}

/// Makes a call that goes to the host, which says `answer`.
fn asked(guest: &mut Guest, args: [u64; 4], answer: u64) {
    assert_eq!((call(guest, args), guest.regs[0]), (Next::Host, exit::TRAP));
    assert_eq!(guest.word(0, X), args[0]);
    guest.put(0, X, answer);
    assert_eq!((guest.run(), guest.regs[0]), (Next::Vm, answer));
}

/// The host enters vCPU 1, and interrupts it at once: its registers.
fn enter_other(guest: &Guest) -> Result<(Registers, ShadowContext), i64> {
    sim::set_cpu(1);
    let mut regs = [7; 31];
    let held = &mut Held::nothing();
    let entered = match guest.core.host_vcpu_run_handler(vm(2), vcpu(1), &mut regs, held) {
        Next::Host => Err(regs[0] as i64),
        Next::Vm => {
            let of_vm = regs;
            let registers = guest.cpu().registers;
            assert_eq!(guest.core.vm_exit_handler(Exit::Irq, &mut regs, held), Next::Host);
            Ok((of_vm, registers))
        }
    };
    sim::set_cpu(0);
    entered
}

fn power(guest: &Guest) -> [Power; 2] {
    record(&guest.core, vm(2), |info| [0, 1].map(|id| info.vcpu(vcpu(id)).power))
}

// Tests: VA-1
#[test]
fn the_host_says_where_a_vm_finds_its_device_tree_within_the_images() {
    for at in [0, IMAGE, IMAGE + IMAGE_SIZE - 1] {
        let mut guest = Guest::new();
        guest.put(0, X, at);
        assert_eq!((guest.run(), guest.regs[0]), (Next::Vm, at));
        assert_eq!(guest.regs[1..], [0; 30]);
    }
    for at in [1, IMAGE - 1, IMAGE + IMAGE_SIZE, u64::MAX] {
        let mut guest = Guest::new();
        guest.put(0, X, at);
        let before = (snapshot(&guest.core), guest.context());
        assert_eq!((guest.run(), guest.regs[0]), (Next::Host, INVALID_PARAMETER as u64), "{at:#x}");
        assert_eq!((snapshot(&guest.core), guest.context()), before);
    }
}

// ATTACKS 29, 40
// Tests: VA-1, VO-2
#[test]
fn a_vm_boots_once_on_one_vcpu_and_the_others_wait_for_its_word() {
    let mut guest = Guest::new();
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(power(&guest), [Power::On, Power::Off]);
    let before = (snapshot(&guest.core), with_context(&guest.core, vm(2), vcpu(1), |context| context.clone()));
    assert_eq!(enter_other(&guest), Err(DENIED));
    let after = (snapshot(&guest.core), with_context(&guest.core, vm(2), vcpu(1), |context| context.clone()));
    assert_eq!(after, before);
    // As any of them may be the first.
    let guest = Guest::new();
    assert!(enter_other(&guest).is_ok());
    assert_eq!(power(&guest), [Power::Off, Power::On]);
}

// Tests: VO-2, VA-1
#[test]
fn of_two_cpus_that_boot_a_vm_one_does() {
    for _ in 0..20 {
        let guest = Arc::new(Guest::new());
        let threads: Vec<_> = (0..2)
            .map(|id| {
                let guest = guest.clone();
                std::thread::spawn(move || {
                    sim::set_cpu(id);
                    let mut regs = [0; 31];
                    let next =
                        guest.core.host_vcpu_run_handler(vm(2), vcpu(id as u64), &mut regs, &mut Held::nothing());
                    u32::from(next == Next::Vm)
                })
            })
            .collect();
        assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>(), 1);
    }
}

// ATTACKS 40, 56
// Tests: VO-2, VA-2, VA-5, TD-2
#[test]
fn a_vcpu_that_the_vm_turns_on_begins_where_the_vm_says() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    asked(&mut guest, [CPU_ON, 1, ENTRY, ARGUMENT], 0);
    assert_eq!(power(&guest), [Power::On, Power::Pending { entry: ENTRY, argument: ARGUMENT }]);
    // Whatever the host would like.
    (0..31).for_each(|i| guest.put(1, X + i * 8, 0xBAD));
    guest.put(1, PC, IMAGE);
    guest.put(1, PSTATE, 0);
    with_context(&guest.core, vm(2), vcpu(1), |context| (context.sp_el1, context.keys) = (1, [1; 10]));
    let (regs, registers) = enter_other(&guest).unwrap();
    assert_eq!((regs[0], &regs[1..]), (ARGUMENT, &[0; 30][..]));
    assert_eq!((registers.pc, registers.pstate), (ENTRY, 0x3C5));
    assert_eq!((registers.sys[Sys::MpidrEl1], registers.sys[Sys::SctlrEl1]), (0x8000_0001, 0x30D0_0800));
    assert_eq!((registers.sp_el1, registers.keys), (0, [0; 10]));
    assert_eq!(power(&guest), [Power::On; 2]);
    // From then on it goes on where it was.
    guest.put(1, PC, 0xBAD);
    assert_eq!(enter_other(&guest).unwrap(), (regs, registers));
}

// ATTACKS 33, 56
// Tests: TD-2
#[test]
fn a_vcpu_that_can_not_be_turned_on_is_not() {
    const INVALID_PARAMETERS: i64 = -2;
    let mut guest = Guest::new();
    guest.run_with_canaries();
    // There are 0 and 1.
    for target in [2, 7, 8, 16, 0x100, 1 << 31 | 1, 1 << 32 | 1, u64::MAX] {
        assert_eq!(answered(&mut guest, [CPU_ON, target, ENTRY, 0]), INVALID_PARAMETERS, "{target:#x}");
    }
    assert_eq!(answered(&mut guest, [CPU_ON_32, 2, 0, 0]), INVALID_PARAMETERS);
    for entry in [1, 2, ENTRY | 3] {
        assert_eq!(answered(&mut guest, [CPU_ON, 1, entry, 0]), -9, "INVALID_ADDRESS");
    }
    assert_eq!(answered(&mut guest, [CPU_ON, 0, ENTRY, 0]), -4, "ALREADY_ON");
    asked(&mut guest, [CPU_ON, 1, ENTRY, ARGUMENT], 0);
    assert_eq!(answered(&mut guest, [CPU_ON, 1, 0x8000, 1]), -5, "ON_PENDING");
    assert_eq!(enter_other(&guest).unwrap().1.pc, ENTRY);
    assert_eq!(answered(&mut guest, [CPU_ON, 1, ENTRY, 0]), -4, "ALREADY_ON");
}

// Tests: TD-2
#[test]
fn a_32_bit_call_has_32_bit_arguments() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    asked(&mut guest, [CPU_ON_32, 0xBAD << 32 | 1, 0xBAD << 32 | 0x8000_0000, 0xBAD << 32 | 5], 0);
    assert_eq!(power(&guest)[1], Power::Pending { entry: 0x8000_0000, argument: 5 });
}

// Tests: VO-2
#[test]
fn what_the_host_does_not_turn_on_is_off() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    asked(&mut guest, [CPU_ON, 1, ENTRY, ARGUMENT], -6i64 as u64);
    assert_eq!(power(&guest), [Power::On, Power::Off]);
    assert_eq!(enter_other(&guest), Err(DENIED));
    // The VM can try again; and what runs already stays on, whatever the host says.
    assert_eq!((call(&mut guest, [CPU_ON, 1, ENTRY, ARGUMENT]), guest.regs[0]), (Next::Host, exit::TRAP));
    assert!(enter_other(&guest).is_ok());
    guest.put(0, X, -6i64 as u64);
    assert_eq!((guest.run(), guest.regs[0] as i64), (Next::Vm, -6));
    assert_eq!(power(&guest), [Power::On; 2]);
}

// Tests: TD-2, VO-2
#[test]
fn a_vcpu_that_is_off_runs_when_another_turns_it_on_from_the_beginning() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    asked(&mut guest, [CPU_ON, 1, ENTRY, ARGUMENT], 0);
    enter_other(&guest).unwrap();
    // vCPU 0 leaves for good.
    assert_eq!((call(&mut guest, [CPU_OFF, 0, 0, 0]), guest.regs[0]), (Next::Host, exit::TRAP));
    assert_eq!((guest.word(0, X), power(&guest)), (CPU_OFF, [Power::Off, Power::On]));
    guest.put(0, PC, IMAGE);
    let before = (snapshot(&guest.core), guest.context());
    assert_eq!((guest.run(), guest.regs[0]), (Next::Host, DENIED as u64));
    assert_eq!((snapshot(&guest.core), guest.context()), before);
    // vCPU 1 turns it on again.
    sim::set_cpu(1);
    let (mut regs, held) = ([0; 31], &mut Held::nothing());
    assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(1), &mut regs, held), Next::Vm);
    regs[..4].copy_from_slice(&[CPU_ON, 0, 0x4000_0000, 9]);
    guest.core.machine().with_cpu(|cpu| cpu.registers.esr_el2 = esr(0x16, 0));
    assert_eq!(guest.core.vm_exit_handler(Exit::Trap, &mut regs, held), Next::Host);
    sim::set_cpu(0);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!((guest.regs[0], &guest.regs[1..]), (9, &[0; 30][..]));
    assert_eq!((guest.cpu().registers.pc, guest.context().dirty), (0x4000_0000, 0));
}

// Tests: TD-2, VA-5, VP-1
#[test]
fn a_reset_is_the_end_of_a_vm_as_it_is() {
    for (id, kind) in [(0x8400_0009, 5), (0x8400_0012, 0), (0xC400_0012, 0xFFFF_0000_0000), (0xC400_0012, 1 << 31)] {
        let mut guest = Guest::new();
        guest.run_with_canaries();
        assert_eq!((call(&mut guest, [id, kind, 0, 0]), guest.regs[0]), (Next::Host, exit::TRAP));
        assert_eq!((guest.word(0, X), guest.vm_state()), (id, VmState::Poweroff), "the host sees which");
        assert_eq!((guest.run(), guest.regs[0]), (Next::Host, DENIED as u64));
        assert_eq!(guest.vcpu_state(), VcpuState::Ready);
    }
    let mut guest = Guest::new();
    guest.run_with_canaries();
    assert_eq!(answered(&mut guest, [0xC400_0012, 1, 0, 0]), -2, "no such reset");
}

// Tests: TD-2
#[test]
fn corevisor_says_what_there_is_of_psci() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    assert_eq!(answered(&mut guest, [0x8400_0000, 1, 2, 3]), 0x1_0001);
    assert_eq!(answered(&mut guest, [0x8400_0006, 1, 2, 3]), 2);
    let there = [
        0x8400_0000,
        0x8400_0001,
        0xC400_0001,
        0x8400_0002,
        CPU_ON,
        CPU_ON_32,
        0x8400_0004,
        0xC400_0004,
        0x8400_0006,
        0x8400_0008,
        0x8400_0009,
        0x8400_000A,
        0x8400_0012,
        0xC400_0012,
        0x8000_0000,
    ];
    let all = (0..0x20).flat_map(|n| [0x8400_0000 | n, 0xC400_0000 | n]).chain([0x8000_0000, 0, u64::MAX]);
    for id in all {
        let expected = if there.contains(&id) { 0 } else { -1 };
        assert_eq!(answered(&mut guest, [0x8400_000A, id, 0, 0]), expected, "{id:#x}");
    }
}
