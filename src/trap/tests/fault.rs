// SPDX-License-Identifier: GPL-2.0-only
//! FH-1, and system registers.

use crate::abi::stat;
use crate::addr::HOSTVISOR;
use crate::lock::Held;
use crate::trap::{HostAbort, Registers, Syndrome, SysregAnswer, Verdict};
use crate::world::{Core, GIB, MIB, World, ipa, range, snapshot, stat};
use std::format;
use std::vec;

const DATA_ABORT: u64 = (0x24 << 26) | Syndrome::IL;
const TRANSLATION: u64 = 0b00_0100;

fn abort(iss: u64, hpfar: u64) -> HostAbort {
    HostAbort { syndrome: Syndrome(DATA_ABORT | iss), far: 0x1234, hpfar, pc: 0x5678 }
}

/// HPFAR_EL2 for an address: bits 51:12 from bit 4 on.
const fn hpfar(address: u64) -> u64 {
    (address >> 12) << 4
}

fn handle(core: &Core, abort: &HostAbort) -> Verdict {
    let mut regs = super::distinct();
    let verdict = core.handle_host_stage2_fault(abort, &mut regs, &mut Held::nothing());
    assert_eq!(regs, super::distinct(), "no register of the host is touched");
    verdict
}

fn assert_refused(core: &Core, abort: &HostAbort, why: &str, at: u64) {
    let before = snapshot(core);
    let count = stat(core, stat::REFUSED_ACCESS);
    assert_eq!(handle(core, abort), Verdict::ExternalAbort, "{abort:x?}");
    assert_eq!(snapshot(core), before, "{abort:x?}");
    assert_eq!(stat(core, stat::REFUSED_ACCESS), count + 1);
    let esr = abort.syndrome.0;
    let line = format!("host access refused: {why}; ipa={at:#x} far=0x1234 esr={esr:#x} pc=0x5678");
    assert_eq!(core.machine().take_refusals(), [line]);
}

const OUT_OF_REACH: &str = "address out of the host's reach";

#[test]
fn the_address_is_read_from_hpfar_whatever_its_other_bits() {
    for noise in [0, 0xF, 1 << 63, 0x7FF << 44] {
        for address in [0x0900_0000, 0x12_3456_7000, (1 << 40) - 4096] {
            let core = World::default().boot();
            assert_eq!(handle(&core, &abort(TRANSLATION, hpfar(address) | noise)), Verdict::Retry);
            assert_eq!(core.machine().access(HOSTVISOR, ipa(address)).unwrap().pa(ipa(address)), address);
            assert!(core.machine().take_refusals().is_empty());
            assert_eq!(stat(&core, stat::REFUSED_ACCESS), 0);
        }
    }
}

#[test]
fn only_translation_faults_map_anything() {
    let core = World::default().boot();
    let address = 0x0900_0000;
    // Fault status codes (Arm ARM, ESR_ELx, "DFSC") and whether HPFAR_EL2 tells the address.
    for status in (0..64).filter(|s| s >> 2 != 0b0001) {
        let at = if status < 0b00_1100 { address } else { u64::MAX };
        assert_refused(&core, &abort(status, hpfar(address)), OUT_OF_REACH, at);
    }
    // A stage-1 walk without the right permission tells it.
    assert_refused(&core, &abort(Syndrome::S1PTW | 0b00_1111, hpfar(address)), OUT_OF_REACH, address);
    for level in 0..4 {
        let block = address + level * 2 * MIB;
        let walk = if level == 3 { Syndrome::S1PTW } else { 0 };
        assert_eq!(handle(&core, &abort(TRANSLATION | level | walk, hpfar(block))), Verdict::Retry);
        assert!(core.machine().access(HOSTVISOR, ipa(block)).is_ok());
    }
}

#[test]
fn addresses_beyond_reach_are_refused() {
    let core = World { ipa_bits: 36, ..World::default() }.boot();
    for address in [1 << 36, 1 << 40, (1 << 48) - 4096] {
        assert_refused(&core, &abort(TRANSLATION, hpfar(address)), OUT_OF_REACH, address);
    }
    // 52 bits: not an address here.
    for address in [1 << 48, (1 << 51) + 0x0900_0000, (1 << 52) - 4096] {
        assert_refused(&core, &abort(TRANSLATION, hpfar(address)), OUT_OF_REACH, u64::MAX);
    }
}

#[test]
fn withheld_registers_are_refused_and_their_neighbours_are_not() {
    let withheld = vec![range(0x0900_3000, 0x2000), range(GIB, 0x1000)];
    let core = World { withheld, ..World::default() }.boot();
    for page in [0x0900_3000, 0x0900_4000] {
        assert_refused(&core, &abort(TRANSLATION, hpfar(page)), OUT_OF_REACH, page);
    }
    for page in [0x0900_2000, 0x0900_5000] {
        assert_eq!(handle(&core, &abort(TRANSLATION, hpfar(page))), Verdict::Retry);
    }
    assert_refused(&core, &abort(TRANSLATION, hpfar(0x0900_3000)), OUT_OF_REACH, 0x0900_3000);
}

#[test]
fn corevisors_pages_are_refused_for_all_kinds_of_access() {
    let world = World::default();
    let core = world.boot();
    let page = world.carve_out().start;
    let why = format!("page {page:#x} is not the host's");
    for iss in [0, Syndrome::WNR, Syndrome::S1PTW, Syndrome::WNR | Syndrome::CM, Syndrome::FNV] {
        for level in 0..4 {
            assert_refused(&core, &abort(iss | TRANSLATION | level, hpfar(page)), &why, page);
        }
    }
    let fetch = HostAbort { syndrome: Syndrome((0x20 << 26) | TRANSLATION), ..abort(0, hpfar(page)) };
    assert_refused(&core, &fetch, &why, page);
}

#[test]
fn a_fault_that_another_cpu_has_answered_is_tried_again() {
    let core = World::default().boot();
    let page = GIB + 3 * MIB;
    crate::world::take(&core, page).unwrap();
    crate::world::give(&core, page);
    assert_eq!(handle(&core, &abort(TRANSLATION, hpfar(page))), Verdict::Retry);
    let mapped = snapshot(&core);
    assert_eq!(handle(&core, &abort(TRANSLATION, hpfar(page))), Verdict::Retry);
    assert_eq!(snapshot(&core), mapped);
}

/// ISS of a trapped MSR or MRS.
fn sysreg([op0, op1, crn, crm, op2]: [u64; 5], register: u64, read: bool) -> Syndrome {
    let iss = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | register << 5 | crm << 1 | u64::from(read);
    Syndrome((0x18 << 26) | Syndrome::IL | iss)
}

const ACTLR_EL1: [u64; 5] = [3, 0, 1, 0, 1];

#[test]
fn actlr_reads_as_it_is_and_ignores_writes() {
    let core = World::default().boot();
    for register in 0..32 {
        let before = super::distinct();
        let mut regs: Registers = before;
        let write = sysreg(ACTLR_EL1, register, false);
        assert_eq!(core.host_sysreg(write, &mut regs, || panic!("read")), SysregAnswer::Done);
        assert_eq!(regs, before);
        let read = sysreg(ACTLR_EL1, register, true);
        assert_eq!(core.host_sysreg(read, &mut regs, || 0xAC71), SysregAnswer::Done);
        let expected = core::array::from_fn(|i| if i as u64 == register { 0xAC71 } else { before[i] });
        assert_eq!(regs, expected, "x{register}");
    }
}

#[test]
fn other_registers_are_undefined() {
    let core = World::default().boot();
    let mut others = vec![[3, 1, 15, 2, 0], [1, 0, 11, 0, 0], [3, 7, 15, 15, 7]];
    for field in 0..5 {
        let mut near = ACTLR_EL1;
        near[field] ^= 1;
        others.push(near);
    }
    for register in others {
        for read in [false, true] {
            let mut regs = super::distinct();
            let answer = core.host_sysreg(sysreg(register, 3, read), &mut regs, || panic!("read"));
            assert_eq!((answer, regs), (SysregAnswer::Undefined, super::distinct()), "{register:?}");
        }
    }
    core.refuse_trap(Syndrome(0x6200_0000), 0x1000);
    assert_eq!(core.machine().take_refusals(), ["host trap refused: esr=0x62000000 pc=0x1000"]);
}
