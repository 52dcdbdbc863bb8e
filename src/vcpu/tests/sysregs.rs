// SPDX-License-Identifier: GPL-2.0-only
//! System registers of VMs that are trapped.

use super::{Guest, IMAGE, esr};
use crate::abi::exit;
use crate::abi::run_page::{FAULT_ADDR, FLAGS, PC, X};
use crate::machine::sim::ACTLR_EL1;
use crate::trap::{Exit, IdRegister, Syndrome};
use crate::vcpu::{Next, ShadowContext, Sys};
use std::collections::BTreeMap;
use std::vec::Vec;

/// Op0, Op1, CRn, CRm, Op2.
type Name = [u64; 5];
const SGI1R: Name = [3, 0, 12, 11, 5];
const SGI_REGISTERS: [Name; 3] = [SGI1R, [3, 0, 12, 11, 6], [3, 0, 12, 11, 7]];
const ACTLR: Name = [3, 0, 1, 0, 1];
const PFR0: Name = [3, 0, 0, 4, 0];

/// ISS of an access to `name` with general register `rt`.
fn sys64(name: Name, rt: u64, read: bool) -> u64 {
    let [op0, op1, crn, crm, op2] = name;
    esr(0x18, op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | u64::from(read))
}

/// A VM with canaries in all registers, with a GICv3 CPU interface or not.
fn running(gic: bool) -> Guest {
    let mut guest = Guest::new();
    guest.core.machine().with_features(|features| {
        features.gic_registers = gic;
        features.id.insert(IdRegister::Pfr0, 0x1101_0000_1111_1111);
    });
    guest.run_with_canaries();
    guest.core.machine().with_cpu(|cpu| cpu.registers.sys[Sys::VbarEl1] = 0x8000);
    guest
}

/// What `access` does: [`None`] if it is undefined; [`Some`] with what register `rt` then holds, and with whether the host
/// goes on.
fn outcome(guest: &mut Guest, name: Name, rt: usize, read: bool) -> Option<(u64, Next)> {
    let before = guest.regs;
    let next = guest.trap(sys64(name, rt as u64, read));
    let cpu = guest.cpu().registers;
    if next == Next::Host {
        return Some((0, next));
    }
    let others_are_as_before = (0..31).all(|i| i == rt || guest.regs[i] == before[i]);
    assert!(others_are_as_before, "{name:?}");
    if cpu.pc == 0x8200 {
        assert_eq!((guest.regs, cpu.elr_el1, cpu.sys[Sys::EsrEl1]), (before, IMAGE, Syndrome::IL), "{name:?}");
        return None;
    }
    assert_eq!((cpu.pc, cpu.pstate, cpu.sys[Sys::EsrEl1]), (IMAGE + 4, 0x3C5, 0), "{name:?}");
    assert!(read || guest.regs == before);
    Some((guest.regs[rt], next))
}

/// Puts a vCPU back to where it was before a trap.
fn again(guest: &Guest) {
    guest.core.machine().with_cpu(|cpu| {
        cpu.registers.pc = IMAGE;
        cpu.registers.pstate = 0x3C5;
        cpu.registers.sys[Sys::EsrEl1] = 0;
    });
}

/// Registers that a VM has: what they read as, if they can be read, and whether they can be written.
fn known(gic: bool) -> BTreeMap<Name, (Option<u64>, bool)> {
    let mut known = BTreeMap::new();
    let id = (1..8).flat_map(|crm| (0..8).map(move |op2| ([3, 0, 0, crm, op2], (Some(0), false))));
    known.extend(id);
    known.insert(PFR0, (Some(0x1101_0000_0011_0011 | u64::from(gic) << 24), false));
    known.insert([3, 0, 0, 5, 0], (Some(0xF0_0010_1006), false)); // ID_AA64DFR0_EL1
    known.insert([3, 0, 0, 0, 6], (Some(0), false)); // REVIDR_EL1
    known.insert([3, 1, 0, 0, 7], (Some(0), false)); // AIDR_EL1
    known.insert(ACTLR, (Some(ACTLR_EL1), true));
    for crm in [6, 10, 14] {
        known.insert([1, 0, 7, crm, 2], (None, true)); // DC by set and way
    }
    for (crm, op2) in [(0, 2), (2, 0), (2, 2), (3, 2), (6, 2)] {
        known.insert([2, 0, 0, crm, op2], (Some(0), true));
    }
    for (n, op2) in (0..2).flat_map(|n| (4..8).map(move |op2| (n, op2))) {
        known.insert([2, 0, 0, n, op2], (Some(0), true)); // breakpoints and watchpoints
    }
    known.insert([2, 0, 1, 0, 0], (Some(0), false)); // MDRAR_EL1
    known.insert([2, 0, 1, 0, 4], (None, true)); // OSLAR_EL1
    known.insert([2, 0, 1, 1, 4], (Some(8), true)); // OSLSR_EL1
    for (crn, crm, op2) in [(1, 3, 4), (1, 4, 4), (7, 8, 6), (7, 9, 6)] {
        known.insert([2, 0, crn, crm, op2], (Some(0), true));
    }
    known.insert([2, 0, 7, 14, 6], (Some(0), false)); // DBGAUTHSTATUS_EL1
    known.insert([2, 3, 0, 1, 0], (Some(0), false)); // MDCCSR_EL0
    known.insert([2, 3, 0, 4, 0], (Some(0), true));
    known.insert([2, 3, 0, 5, 0], (Some(0), true));
    if gic {
        known.insert([3, 0, 12, 12, 5], (Some(7), true)); // ICC_SRE_EL1
    }
    known
}

// Tests: TD-2
// ATTACKS 43: all system registers and instructions that there are names for, read and written.
#[test]
fn every_register_is_one_that_a_vm_has_or_undefined() {
    for gic in [false, true] {
        let (mut guest, known) = (running(gic), known(gic));
        for code in 0u64..1 << 16 {
            let name = [code >> 14, code >> 11 & 7, code >> 7 & 15, code >> 3 & 15, code & 7];
            for read in [false, true] {
                if gic && SGI_REGISTERS.contains(&name) && !read {
                    continue;
                }
                let canary = guest.regs[9];
                let expected = match known.get(&name) {
                    Some((Some(value), _)) if read => Some((*value, Next::Vm)),
                    Some((_, true)) if !read => Some((canary, Next::Vm)),
                    _ => None,
                };
                assert_eq!(outcome(&mut guest, name, 9, read), expected, "{name:?}, read {read}, gic {gic}");
                guest.regs[9] = canary;
                again(&guest);
            }
        }
    }
}

// Tests: TD-2
#[test]
fn register_31_is_no_register() {
    let mut guest = running(true);
    let before = guest.regs;
    for read in [false, true] {
        assert_eq!(guest.trap(sys64(ACTLR, 31, read)), Next::Vm);
        assert_eq!((guest.regs, guest.cpu().registers.pc), (before, IMAGE + 4));
        again(&guest);
    }
}

// Tests: TD-2, VO-1, VO-2
#[test]
fn an_sgi_is_the_hosts_to_deliver() {
    for name in SGI_REGISTERS {
        let mut guest = running(true);
        let value = guest.regs[9];
        assert_eq!(outcome(&mut guest, name, 9, false), Some((0, Next::Host)));
        assert_eq!((guest.regs[0], guest.told()), (exit::TRAP, [sys64(name, 9, false), 0, 0]));
        assert_eq!((guest.shown(), guest.word(0, X + 9 * 8)), (std::vec![9], value));
        assert_eq!((guest.context().dirty, guest.context().flags), (ShadowContext::DIRTY_PC, 0));
        // The host can change nothing; the instruction is over.
        let before = guest.context();
        (0..40).for_each(|i| guest.put(0, i * 8, u64::MAX));
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!((guest.regs, guest.cpu().registers.pc, guest.context().dirty), (before.x, IMAGE + 4, 0));
        assert_eq!(guest.cpu().registers.pstate, before.pstate);
    }
    // XZR: the word that would be its own is another's.
    let mut guest = running(true);
    assert_eq!(guest.trap(sys64(SGI1R, 31, false)), Next::Host);
    assert_eq!((guest.shown(), guest.word(0, PC)), (Vec::new(), IMAGE));
    assert_eq!((guest.word(0, FLAGS), guest.word(0, FAULT_ADDR)), (0, 0));
    assert_eq!(guest.told(), [sys64(SGI1R, 31, false), 0, 0]);
}

// Tests: TD-2, VO-2
#[test]
fn after_a_skipped_instruction_no_branch_is_remembered() {
    const BTYPE: u64 = 0b11 << 10;
    for name in [ACTLR, SGI1R] {
        let mut guest = running(true);
        guest.core.machine().with_cpu(|cpu| cpu.registers.pstate |= BTYPE);
        if guest.trap(sys64(name, 9, false)) == Next::Host {
            assert_eq!(guest.run(), Next::Vm);
        }
        assert_eq!((guest.cpu().registers.pc, guest.cpu().registers.pstate), (IMAGE + 4, 0x3C5), "{name:?}");
    }
}

// Tests: TD-2
// ATTACKS 47: debug registers of a VM stay 0, whatever it writes, and those of the host are its own again.
#[test]
fn debug_registers_are_nobodys() {
    const MDSCR: Name = [2, 0, 0, 2, 2];
    let mut guest = Guest::new();
    guest.core.machine().with_cpu(|cpu| cpu.registers.sys[Sys::MdscrEl1] = 0x1234);
    guest.run_with_canaries();
    assert_eq!(guest.cpu().registers.sys[Sys::MdscrEl1], 0);
    assert_eq!(guest.trap(sys64(MDSCR, 9, false)), Next::Vm);
    assert_eq!(guest.cpu().registers.sys[Sys::MdscrEl1], 0);
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
    assert_eq!(guest.cpu().registers.sys[Sys::MdscrEl1], 0x1234);
    assert_eq!(guest.context().sys[Sys::MdscrEl1], 0);
    assert_eq!(guest.core.current(), None);
}
