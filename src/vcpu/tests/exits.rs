// SPDX-License-Identifier: GPL-2.0-only
//! What the host sees after an exit, and what it may change.

use super::{CANARY, Guest, IMAGE, access, esr, hpfar, vm};
use crate::abi::run_page::{FLAGS, PC, X};
use crate::abi::{DENIED, exit};
use crate::lock::Held;
use crate::refused::Refused;
use crate::trap::{Exit, Syndrome};
use crate::vcpu::{Next, ShadowContext};
use crate::vm::{VcpuState, VmState};

/// No register.
const NONE: std::vec::Vec<u64> = std::vec::Vec::new();
const PC_FLAG: u64 = ShadowContext::DIRTY_PC;
/// The GIC of a VM, say.
const DEVICE: u64 = 0x0800_0000;

/// A VM with canaries in all registers leaves. Returns it after that.
fn left(why: Exit, syndrome: [u64; 3]) -> Guest {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    assert_eq!(guest.exit(why, syndrome), Next::Host);
    assert_eq!(guest.vcpu_state(), VcpuState::Ready);
    guest
}

// Tests: VO-1, CS-2, CS-3, TR-4, TH-4
#[test]
fn an_exit_that_is_no_trap_shows_nothing() {
    for (why, number) in [(Exit::Irq, exit::IRQ), (Exit::SError, exit::SERROR), (Exit::Illegal, exit::ILLEGAL)] {
        let mut guest = left(why, [access(1, 3, true), hpfar(DEVICE), CANARY]);
        assert_eq!((guest.regs[0], guest.shown(), guest.told()), (number, NONE, [0; 3]));
        assert_eq!((guest.context().dirty, guest.context().flags), (0, 0));
        // Nor can the host change anything.
        (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
        guest.put(0, PC, 0xBAD);
        guest.put(0, FLAGS, u64::MAX);
        let before = guest.context();
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!((guest.regs, guest.cpu().registers.pc), (before.x, before.pc));
    }
}

// Tests: VA-4, VO-1, VO-2
#[test]
fn a_wait_shows_nothing_and_is_then_over() {
    let mut guest = left(Exit::Trap, [esr(0x01, 0xF0_03E1), CANARY, CANARY]);
    assert_eq!((guest.regs[0], guest.shown(), guest.told()), (exit::TRAP, NONE, [esr(0x01, 1), 0, 0]));
    assert_eq!(guest.context().dirty, PC_FLAG);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().registers.pc, IMAGE + 4);
    assert_eq!(guest.context().dirty, 0);
}

// Tests: VA-3, VA-5, VO-1, VO-2, TD-2, FH-2, VP-1
#[test]
fn a_call_shows_the_arguments_that_psci_gives_it() {
    // The upper half of x0 does not matter, nor does the SVE hint.
    let calls = [
        (0xC400_0003, 0..=3), // CPU_ON
        (0xC401_0003, 0..=3),
        (0x8400_0003, 0..=3),
        (0x8400_0004, 0..=2), // AFFINITY_INFO
        (0xC400_0004, 0..=2), // the same (D-34)
        (0xC400_0001, 0..=0), // CPU_SUSPEND
        (0x8400_0001, 0..=0),
        (0x8400_0008, 0..=0), // SYSTEM_OFF
        (0x8401_0008, 0..=0),
        (0x8400_0009, 0..=0), // SYSTEM_RESET
        (0xC300_0001, 0..=0), // anything
        (0x4000_0004, 0..=0), // no such call (D-34)
    ];
    for (call, shown) in calls {
        for class in [0x16, 0x12] {
            let mut guest = Guest::new();
            guest.run_with_canaries();
            guest.regs[0] = CANARY & !0xFFFF_FFFF | call;
            if (call & 0xFFFF) == 3 {
                // CPU_ON: of vCPU 1, at an address of 4.
                guest.regs[1] = if call >> 30 & 1 == 0 { CANARY & !0xFFFF_FFFF } else { 0 } | 1;
                guest.regs[2] &= !0b11;
            }
            let shown_values = guest.regs;
            assert_eq!(guest.trap(esr(class, 0)), Next::Host);
            let canaries = shown.clone().filter(|i| shown_values[*i as usize] >= CANARY);
            assert_eq!(guest.shown(), canaries.collect::<std::vec::Vec<_>>(), "{call:#x}");
            for register in shown.clone() {
                assert_eq!(guest.word(0, X + register * 8), shown_values[register as usize]);
            }
            assert_eq!((guest.regs[0], guest.told()), (exit::TRAP, [esr(class, 0), 0, 0]));
            assert_eq!(guest.context().dirty, 1);
            let off = matches!(call & 0xFFFF, 8 | 9);
            assert_eq!(guest.vm_state(), if off { VmState::Poweroff } else { VmState::Verified });
            // The host answers in x0, and in x0 only; the instruction is over as it is.
            (0..31).for_each(|i| guest.put(0, X + i * 8, 0x5A + i));
            if off {
                assert_eq!((guest.run(), guest.regs[0]), (Next::Host, DENIED as u64));
                continue;
            }
            assert_eq!(guest.run(), Next::Vm);
            assert_eq!((guest.regs[0], &guest.regs[1..]), (0x5A, &shown_values[1..]));
            assert_eq!(guest.cpu().registers.pc, IMAGE);
        }
    }
}

// Tests: VA-3, VA-6, VO-1, VO-2
#[test]
fn the_host_says_what_a_load_from_a_device_gives() {
    for register in [0, 7, 30, 31] {
        let iss2 = 0x1F << 32;
        let mut guest = left(Exit::Trap, [access(register, 2, false) | iss2, hpfar(DEVICE), 0xFFFF_0000_0000_0ABC]);
        assert_eq!(guest.regs[0], exit::TRAP);
        assert_eq!((guest.shown(), guest.told()), (NONE, [access(register, 2, false), hpfar(DEVICE), 0xABC]));
        assert_eq!(guest.context().dirty, PC_FLAG | 1 << register);
        (0..31).for_each(|i| guest.put(0, X + i * 8, 0x5A + i));
        let before = guest.context();
        assert_eq!(guest.run(), Next::Vm);
        for i in 0..31 {
            let expected = if i as u64 == register { 0x5A + register } else { before.x[i] };
            assert_eq!(guest.regs[i], expected, "x{i} after a load to x{register}");
        }
        assert_eq!(guest.cpu().registers.pc, IMAGE + 4);
    }
}

// Tests: VA-6, VO-1, VO-2
#[test]
fn the_host_sees_what_is_stored_to_a_device_and_no_more() {
    for (size, bits) in [(0, 8), (1, 16), (2, 32), (3, 64)] {
        let mut guest = left(Exit::Trap, [access(9, size, true), hpfar(DEVICE), 0x10]);
        let value = guest.context().x[9];
        let shown = if bits == 64 { value } else { value & ((1 << bits) - 1) };
        assert_eq!(guest.word(0, X + 9 * 8), shown, "{bits} bits");
        assert!(guest.shown().iter().all(|&i| i == 9));
        assert_eq!(guest.told(), [access(9, size, true), hpfar(DEVICE), 0x10]);
        assert_eq!(guest.context().dirty, PC_FLAG);
        (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
        let before = guest.context();
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!((guest.regs, guest.cpu().registers.pc), (before.x, IMAGE + 4));
    }
    // XZR is no register, and the word that would be its own is another's.
    let guest = left(Exit::Trap, [access(31, 3, true), hpfar(DEVICE), 0]);
    assert_eq!((guest.shown(), guest.word(0, PC)), (NONE, IMAGE));
}

// Tests: VA-6, VO-1, VO-2
#[test]
fn an_abort_without_a_register_shows_none() {
    let not_isv = access(3, 3, true) & !Syndrome::ISV;
    let walk = not_isv | Syndrome::S1PTW;
    let fetch = esr(0x20, super::TRANSLATION);
    let cases = [
        ([not_isv, hpfar(DEVICE)], [not_isv & Syndrome::FAULT, hpfar(DEVICE)]),
        ([walk, hpfar(DEVICE)], [walk & Syndrome::FAULT, hpfar(DEVICE)]),
        ([fetch, hpfar(DEVICE)], [fetch, hpfar(DEVICE)]),
    ];
    for ([syndrome, hpfar], [esr, told]) in cases {
        let mut guest = left(Exit::Trap, [syndrome, hpfar, CANARY + 5]);
        assert_eq!((guest.shown(), guest.told()), (NONE, [esr, told, 0]));
        assert_eq!((guest.context().dirty, guest.context().flags), (0, 0));
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.cpu().registers.pc, IMAGE, "it tries again");
    }
}

// Tests: VO-2
#[test]
fn after_anything_else_it_can_not() {
    for syndrome in [esr(0x01, 0), esr(0x16, 0)] {
        let mut guest = left(Exit::Trap, [syndrome, 0, 0]);
        guest.put(0, FLAGS, u64::MAX);
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.cpu().registers.pstate, 0x3C5);
        assert!(guest.cpu().registers.pc >= IMAGE);
    }
}

// Tests: VO-1
#[test]
fn a_class_that_can_not_leave_is_refused() {
    let guest = Guest::new();
    let mut context = ShadowContext { ec: exit::TRAP, esr_el2: esr(0x17, 0), ..ShadowContext::ZERO };
    let before = context.clone();
    let page = guest.core.run_page(vm(2), Some(super::run_page(0))).unwrap();
    let done = guest.core.save_shadow_kvm_regs(vm(2), &page, &mut context, &mut Held::nothing());
    assert_eq!((done, context), (Err(Refused::Exit(esr(0x17, 0))), before));
}

// Tests: CS-3
#[test]
fn a_vm_that_leaves_as_it_can_not_is_stopped() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    let mut held = Held::nothing();
    // SAFETY: it runs, and this is its CPU.
    let (mut context, mut held) = unsafe { guest.core.active_context(vm(2), super::vcpu(0), &mut held) }.unwrap();
    (context.ec, context.esr_el2) = (exit::TRAP, esr(0x17, 0));
    let why = guest.core.save_vm(vm(2), super::vcpu(0), context, &mut held);
    assert_eq!((why, guest.vm_state(), guest.vcpu_state()), (exit::STOPPED, VmState::Poweroff, VcpuState::Ready));
    assert_eq!(guest.context().ec, exit::STOPPED);
    assert_eq!(guest.shown(), NONE);
}
