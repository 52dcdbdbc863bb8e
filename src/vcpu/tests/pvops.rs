// SPDX-License-Identifier: GPL-2.0-only
//! The calls of a VM to Corevisor: pages that it shares with the host, and takes back.

use super::{Guest, IMAGE, esr, vm};
use crate::abi::exit;
use crate::abi::vm_call::{SET_DESC_PFN, UNSET_DESC_PFN};
use crate::addr::Pa;
use crate::lock::Held;
use crate::memory::Count;
use crate::npt::Level;
use crate::trap::Exit;
use crate::vcpu::Next;
use crate::vm::{VcpuState, VmState};
use crate::world::{GIB, MIB, ipa};
use std::vec::Vec;

const AT: u64 = 0x5000_0000;
const HVC: u64 = 0x16;

/// A VM with `blocks` blocks of 2 MiB at [`AT`], from 4 MiB of RAM on, that runs.
fn guest(blocks: u64) -> Guest {
    let mut guest = Guest::new();
    for i in (0..blocks).map(|i| i * 2 * MIB) {
        let pa = Pa::new(GIB + 4 * MIB + i).unwrap();
        let held = &mut Held::nothing();
        guest.core.prot_and_map_vm_s2pt(vm(2), ipa(AT + i), pa, Level::L2, held).unwrap();
    }
    guest.run_with_canaries();
    guest
}

/// The VM calls.
fn call(guest: &mut Guest, call: u64, address: u64, size: u64) -> Next {
    (guest.regs[0], guest.regs[2], guest.regs[3]) = (call, address, size);
    let before = guest.regs;
    let next = guest.trap(esr(HVC, 0));
    if next == Next::Vm {
        assert_eq!((guest.regs, guest.cpu().registers.pc), (before, IMAGE), "no result, and the HVC is over");
    }
    next
}

/// Which pages of the VM's, counted from its first, are shared.
fn shared(guest: &Guest) -> Vec<usize> {
    let records = guest.core.records();
    let of_vm = records.iter().filter(|r| r.owner() == Some(vm(2)));
    of_vm.enumerate().filter(|(_, r)| r.count() != Count::Shares(0)).map(|(i, _)| i).collect()
}

// Tests: FH-2, TD-2, MO-3, MO-4
#[test]
fn pages_are_shared_and_taken_back() {
    let mut guest = guest(1);
    assert_eq!(call(&mut guest, SET_DESC_PFN, AT + 0x3000, 0x1001), Next::Vm);
    assert_eq!(shared(&guest), [3, 4]);
    assert_eq!(call(&mut guest, UNSET_DESC_PFN, AT + 0x3000, 1), Next::Vm);
    assert_eq!(shared(&guest), [4]);
    assert_eq!(guest.context().unfinished, None);
    assert!(guest.shown().is_empty());
}

// Tests: FH-2
#[test]
fn what_is_out_of_range_is_ignored() {
    let mut guest = guest(1);
    let cases = [
        (1 << 48, 0x1000),
        (u64::MAX, 0x1000),
        (AT, 1 << 48),
        (AT, u64::MAX),
        ((1 << 48) - 0x1000, 0x1000),
        (AT, 0),
        ((1 << 48) - 0x2000, 0x1000), // in range, and nothing is there
    ];
    for (address, size) in cases {
        for number in [SET_DESC_PFN, UNSET_DESC_PFN] {
            assert_eq!(call(&mut guest, number, address, size), Next::Vm, "{address:#x} {size:#x}");
            assert_eq!((shared(&guest), guest.context().unfinished), (Vec::new(), None));
        }
    }
    // Not these calls: all of x0 counts.
    assert_eq!(call(&mut guest, SET_DESC_PFN | 1 << 32, AT, 0x1000), Next::Host);
    assert!(shared(&guest).is_empty());
}

// Tests: FH-2, CS-4, TR-3, TR-4
#[test]
fn a_long_call_goes_on_at_the_next_entries() {
    let mut guest = guest(3);
    let all: Vec<usize> = (0..3 * 512).collect();
    assert_eq!(call(&mut guest, SET_DESC_PFN, AT, 6 * MIB), Next::Host);
    // As if an interrupt had come: nothing is shown, and nothing can be changed.
    assert_eq!((guest.regs[0], guest.shown(), guest.told()), (exit::IRQ, Vec::new(), [0; 3]));
    assert_eq!(shared(&guest), all[..512]);
    let host = guest.regs;
    assert_eq!(guest.run(), Next::Host, "one more part, and the host's interrupts again");
    assert_eq!((guest.regs, guest.core.current(), guest.vcpu_state()), (host, None, VcpuState::Ready));
    assert_eq!(shared(&guest), all[..1024]);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(shared(&guest), all);
    assert_eq!((guest.regs[0], guest.cpu().registers.pc), (SET_DESC_PFN, IMAGE));
    assert_eq!(guest.context().unfinished, None);
    // Each page once.
    let once = |r: &crate::memory::S2Page| r.owner() != Some(vm(2)) || r.count() == Count::Shares(1);
    assert!(guest.core.records().iter().all(once));
    assert_eq!(call(&mut guest, UNSET_DESC_PFN, AT, 4 * MIB), Next::Host);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(shared(&guest), all[1024..]);
}

// Tests: FH-2, CS-4, TD-2, VP-1
#[test]
fn a_vm_whose_call_is_refused_is_stopped() {
    // Its table is gone: nothing else makes these calls fail.
    let mut guest = guest(1);
    let npt = guest.core.npt(vm(2)).lock(&mut Held::nothing()).0.take();
    assert_eq!(call(&mut guest, SET_DESC_PFN, AT, 0x1000), Next::Host);
    assert_eq!(
        (guest.regs[0], guest.vm_state(), guest.vcpu_state()),
        (exit::STOPPED, VmState::Poweroff, VcpuState::Ready)
    );
    assert_eq!((guest.shown(), guest.told()), (Vec::new(), [0; 3]));
    assert_eq!(guest.core.machine().take_refusals(), ["vm2 stopped: vm2 does not exist"]);
    *guest.core.npt(vm(2)).lock(&mut Held::nothing()).0 = npt;
}

// Tests: CS-4, VP-1
#[test]
fn or_when_it_goes_on() {
    let mut guest = guest(1);
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
    super::with_context(&guest.core, vm(2), super::vcpu(0), |context| {
        context.unfinished = Some(crate::vcpu::Unfinished { call: SET_DESC_PFN, ipa: ipa(AT), size: 0x1000, done: 2 });
    });
    assert_eq!(guest.run(), Next::Host);
    assert_eq!(
        (guest.regs[0], guest.vm_state(), guest.vcpu_state()),
        (exit::STOPPED, VmState::Poweroff, VcpuState::Ready)
    );
}
