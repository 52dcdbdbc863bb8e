// SPDX-License-Identifier: GPL-2.0-only
//! The host's accesses to registers, row by row of `spec/layers/10-abi-flows.md` §10.11.

use super::*;
use crate::machine::{Machine, Width};
use crate::mmio::registers::{
    CBA2R_MONC, CBA2R_VA64, CBAR_IRPTNDX, IDR0_NUMSIDB_SHIFT, SMR_VALID, Scr0, Sctlr, TCR_STAGE_2, cb, gr0, gr1,
};
use crate::trap::{HostAbort, Registers, Syndrome, Verdict};

const DATA_ABORT: u64 = 0x24 << 26 | Syndrome::IL | 0b00_0111;
/// log2 of 4 and 8 bytes, in ISS.SAS.
const WORD: u64 = 2 << 22;
const DOUBLE: u64 = 3 << 22;
/// The register that accesses are by, in these tests.
const RT: usize = 3;

fn abort(at: u64, iss: u64) -> HostAbort {
    let esr = DATA_ABORT | Syndrome::ISV | (RT as u64) << 16 | iss;
    HostAbort { syndrome: Syndrome(esr), far: 0xFFFF_0000_0000_0000 | (at & 0xFFF), hpfar: at >> 12 << 4, pc: 0 }
}

fn distinct() -> Registers {
    core::array::from_fn(|i| 0x1234_0000_0000_0000 + i as u64)
}

/// The host writes `value`, with 4 bytes (of 8 in the register, the upper ones not zero) or 8. Whether it may.
fn write(core: &Core, k: u64, offset: u64, size: u64, value: u64) -> bool {
    let mut regs = distinct();
    regs[RT] = if size == WORD { value | 0xDEAD_BEEF << 32 } else { value };
    let before = regs;
    let fault = abort(WINDOWS[k as usize] + offset, Syndrome::WNR | size);
    let verdict = core.handle_host_stage2_fault(&fault, &mut regs, &mut Held::nothing());
    assert_eq!(regs, before, "a write changes no register");
    core.machine().check();
    match verdict {
        Verdict::Skip => true,
        Verdict::ExternalAbort => false,
        Verdict::Retry => panic!("{offset:#x} was mapped"),
    }
}

fn word(core: &Core, k: u64, offset: u64) -> u64 {
    core.machine().mmio_read(pa(WINDOWS[k as usize] + offset), Width::Word)
}

fn double(core: &Core, k: u64, offset: u64) -> u64 {
    core.machine().mmio_read(pa(WINDOWS[k as usize] + offset), Width::Double)
}

/// The write is done, and the register holds `becomes`.
#[track_caller]
fn assert_becomes(core: &Core, offset: u64, value: u64, becomes: u64) {
    assert!(write(core, 0, offset, WORD, value), "{offset:#x} := {value:#x}");
    assert_eq!(word(core, 0, offset), becomes, "{offset:#x}");
}

#[track_caller]
fn assert_refused_write(core: &Core, offset: u64, size: u64, value: u64) {
    let before = everything(core);
    assert!(!write(core, 0, offset, size, value), "{offset:#x} := {value:#x}");
    assert_eq!(everything(core), before);
}

const fn bank_register(b: u64, register: u64) -> u64 {
    0x8000 + 0x1000 * b + register
}

/// Bank 0 is the host's, bank 1 VM 2's, bank 2 free.
fn booted() -> Core {
    let core = world().boot();
    alloc(&core, k(0), bank(0), HOSTVISOR);
    alloc(&core, k(0), bank(1), vm(2));
    core
}

fn root(core: &Core, b: u64) -> u64 {
    let mut nothing = Held::nothing();
    core.acquire_lock_spt(&mut nothing).get_smmu_cfg_hw_ttbr(bank(b), k(0)).unwrap().as_u64()
}

// Tests: FH-1, IO-1, IA-2, IC-1, IX-1, IX-3, IR-1
#[test]
fn scr0_translates_all_streams_and_faults_those_that_match_nothing_or_twice() {
    let core = booted();
    let safe = Scr0::USFCFG | Scr0::SMCFCFG;
    let others = Scr0::from_bits_retain(0x0A5A_0816);
    for value in [safe, safe | others] {
        assert_becomes(&core, gr0::SCR0, value.bits(), value.bits());
    }
    for value in [
        Scr0::empty(),
        Scr0::USFCFG,
        Scr0::SMCFCFG,
        safe | Scr0::CLIENTPD,
        safe | Scr0::EXIDENABLE,
        safe | Scr0::VMID16EN,
    ] {
        assert_refused_write(&core, gr0::SCR0, WORD, value.bits());
    }
    assert_refused_write(&core, gr0::SCR0, DOUBLE, safe.bits());
}

// Tests: IX-1
#[test]
fn scr2_keeps_vmid_0_for_what_is_bypassed() {
    let core = booted();
    assert_becomes(&core, gr0::SCR2, 0, 0);
    assert_becomes(&core, gr0::SCR2, 0x100, 0x100);
    assert_refused_write(&core, gr0::SCR2, WORD, 1);
    assert_refused_write(&core, gr0::SCR2, WORD, 0x80);
}

// Tests: IX-1
#[test]
fn the_rest_of_the_global_half_is_a_list() {
    let core = booted();
    let before = word(&core, 0, gr0::SACR);
    assert!(write(&core, 0, gr0::SACR, WORD, u64::MAX));
    assert_eq!(word(&core, 0, gr0::SACR), before, "D-87: implementation-defined control");
    let through = [0x40, 0x44, 0x48, 0x4C, 0x50, 0x54, 0x58, 0x64, 0x68, 0x6C, 0x70, 0x78, 0xB8, 0x100, 0x13C, 0x180];
    for offset in through {
        assert_becomes(&core, offset, 0x8765_4321, 0x8765_4321);
    }
    for offset in [0x40, 0x100, 0x138, 0x180] {
        assert!(write(&core, 0, offset, DOUBLE, 0x1234_5678_9ABC_DEF0));
        assert_eq!(double(&core, 0, offset), 0x1234_5678_9ABC_DEF0);
    }
    // Identification, secure registers and their aliases, reserved space, implementation-defined pages, performance
    // monitors, the table of security states; registers of 4 bytes with 8.
    for offset in [
        0x04, 0x0C, 0x14, 0x20, 0x3C, 0x60, 0x74, 0x7C, 0xA0, 0xB0, 0xBC, 0x140, 0x188, 0x400, 0x408, 0x600, 0xA00,
        0xBFC, 0xE00, 0xFFC, 0x1200, 0x1400, 0x17FC, 0x1A00, 0x1FFC, 0x2000, 0x3000, 0x4000, 0x7FFC,
    ] {
        assert_refused_write(&core, offset, WORD, 0);
    }
    for offset in [0x08, 0x10, 0x48, 0x68, 0x70, 0x800, 0xC00, 0x1000, 0x1800] {
        assert_refused_write(&core, offset, DOUBLE, 0);
    }
}

/// S2CR of entry `n` routes to bank `b`, or has this type.
fn s2cr(n: u64) -> u64 {
    gr0::S2CR.start + 4 * n
}

fn smr(n: u64) -> u64 {
    gr0::SMR.start + 4 * n
}

const FAULT: u64 = 2 << 16;

// Tests: IX-1
#[test]
fn streams_go_to_banks_that_have_an_owner_or_fault() {
    // D-59
    let core = booted();
    for (value, allowed) in [
        (0, true),
        (FAULT, true),
        (0x0300_0000, true), // with other attributes
        (1, true),           // the VM's: its device
        (1 << 16, false),    // bypass
        (3 << 16, false),
        (2, false), // a free bank
        (8, false),
        (0xFF, false),
    ] {
        let core = booted();
        if allowed {
            assert_becomes(&core, s2cr(0), value, value);
        } else {
            assert_refused_write(&core, s2cr(0), WORD, value);
        }
    }
    assert_becomes(&core, s2cr(15), 0, 0);
    assert_refused_write(&core, s2cr(16), WORD, FAULT);
    assert_refused_write(&core, smr(16), WORD, 0);
}

// Tests: IX-1
#[test]
fn the_streams_of_a_vm_do_not_move() {
    let core = booted();
    // As a driver does: first where, then which.
    assert_becomes(&core, s2cr(0), 1, 1);
    let vms = SMR_VALID | 0x10;
    assert_becomes(&core, smr(0), vms, vms);
    assert_eq!(core.machine().dma(k(0), 0x10, ipa(PAGE)), None);
    map(&core, k(0), bank(1), PAGE, PAGE).unwrap();
    assert_eq!(core.machine().dma(k(0), 0x10, ipa(PAGE)), Some(PAGE));
    for value in [0, SMR_VALID | 0x11, vms | 1 << 16] {
        assert_refused_write(&core, smr(0), WORD, value);
    }
    for value in [0, FAULT] {
        assert_refused_write(&core, s2cr(0), WORD, value);
    }
    // No other entry may match it, wherever that goes.
    for value in [vms, SMR_VALID | 1 << 16 | 0x11, SMR_VALID | 0x7FFF << 16] {
        assert_refused_write(&core, smr(1), WORD, value);
    }
    assert_becomes(&core, smr(1), 0x10, 0x10); // not valid
    let hosts = SMR_VALID | 1 << 16 | 0x20;
    assert_becomes(&core, smr(1), hosts, hosts);
    assert_becomes(&core, s2cr(1), 0, 0);
    // Nor may an entry that another one meets become a VM's.
    assert_becomes(&core, smr(2), SMR_VALID | 0x21, SMR_VALID | 0x21);
    assert_refused_write(&core, s2cr(2), WORD, 1);
    assert_becomes(&core, s2cr(2), FAULT, FAULT);
    assert_becomes(&core, smr(2), 0, 0);
    assert_becomes(&core, s2cr(2), 1, 1);
    assert_refused_write(&core, smr(2), WORD, SMR_VALID | 0x21);
    assert_becomes(&core, smr(2), SMR_VALID | 0x22, SMR_VALID | 0x22);
    // When the bank is freed, all are the host's again.
    set_state(&core, vm(2), VmState::Poweroff);
    free(&core, k(0), bank(1)).unwrap();
    assert_eq!(core.machine().dma(k(0), 0x10, ipa(PAGE)), None);
    assert_becomes(&core, smr(0), 0, 0);
    assert_becomes(&core, s2cr(0), 0, 0);
}

// Tests: IX-1
#[test]
fn bits_of_a_stream_id_that_do_not_exist_do_not_tell_streams_apart() {
    let core = booted();
    let idr0 = WINDOWS[0] + gr0::IDR0;
    let bits = |n: u64| word(&core, 0, gr0::IDR0) & !(0xF << IDR0_NUMSIDB_SHIFT) | n << IDR0_NUMSIDB_SHIFT;
    core.machine().mmio_write(pa(idr0), Width::Word, bits(8));
    assert_becomes(&core, s2cr(0), 1, 1);
    assert_becomes(&core, smr(0), SMR_VALID | 0x10, SMR_VALID | 0x10);
    assert_refused_write(&core, smr(1), WORD, SMR_VALID | 0x110);
}

// Tests: IX-1
#[test]
fn without_stream_matching_entries_are_streams() {
    let core = booted();
    core.machine().mmio_write(pa(WINDOWS[0] + gr0::IDR0), Width::Word, 4 << IDR0_NUMSIDB_SHIFT);
    assert_refused_write(&core, smr(0), WORD, 0);
    assert_becomes(&core, s2cr(0), 0, 0);
    assert_becomes(&core, s2cr(0), FAULT, FAULT);
    assert_becomes(&core, s2cr(0), 1, 1);
    assert_refused_write(&core, s2cr(0), WORD, FAULT);
    assert_becomes(&core, s2cr(1), 1, 1);
}

// Tests: IX-1
#[test]
fn a_bank_is_of_stage_2_with_a_vmid_of_its_own() {
    // D-57, D-60, D-86
    let core = booted();
    let cbar = |b: u64| gr1::CBAR.start + 4 * b;
    for value in [0, 0x80, 2, 3 << 16, 1 << 16 | 0xFF, u64::from(u32::MAX)] {
        assert_becomes(&core, cbar(0), value, value & CBAR_IRPTNDX | 0x80);
    }
    for value in [2, 0xFF02] {
        assert_becomes(&core, cbar(1), value, 0x81);
    }
    for value in [0, 1, 3, 0x81, 1 << 16 | 2, 3 << 16 | 2, CBAR_IRPTNDX | 2] {
        assert_refused_write(&core, cbar(1), WORD, value);
    }
    for b in [2, 7, 8, 127] {
        assert_refused_write(&core, cbar(b), WORD, 0);
    }
    let cba2r = |b: u64| gr1::CBA2R.start + 4 * b;
    for b in [0, 1] {
        for value in [0, CBA2R_VA64, CBA2R_MONC] {
            assert_becomes(&core, cba2r(b), value, value | CBA2R_VA64);
        }
        for value in [2 << 16, 1 << 31, 1 << 2] {
            assert_refused_write(&core, cba2r(b), WORD, value); // VMID16, reserved
        }
    }
    for b in [2, 8, 127] {
        assert_refused_write(&core, cba2r(b), WORD, CBA2R_VA64);
    }
}

// Tests: IC-1, IX-2, IX-3, IR-3
#[test]
fn the_root_of_a_bank_is_corevisors_whatever_the_width() {
    // D-58, D-59
    let core = booted();
    for b in [0, 1] {
        let (low, high) = (bank_register(b, cb::TTBR0), bank_register(b, cb::TTBR0_HIGH));
        for value in [0, u64::MAX, PAGE] {
            assert!(write(&core, 0, low, WORD, value & 0xFFFF_FFFF));
            assert!(write(&core, 0, high, WORD, value & 0xFFFF_FFFF));
            assert!(write(&core, 0, low, DOUBLE, value));
            assert_eq!(double(&core, 0, low), root(&core, b));
        }
    }
    assert_refused_write(&core, bank_register(0, cb::TTBR0_HIGH), DOUBLE, 0);
    for offset in [cb::TTBR0, cb::SCTLR, cb::TCR, cb::FSR] {
        for b in [2, 7] {
            assert_refused_write(&core, bank_register(b, offset), WORD, 0); // a free bank
        }
    }
}

// Tests: IC-1, IX-2
#[test]
fn a_bank_translates_always_and_in_corevisors_format() {
    // D-59
    let core = booted();
    let all = u64::from(u32::MAX);
    let hosts = Sctlr::M | Sctlr::CFRE | Sctlr::CFIE | Sctlr::HUPCF;
    for (b, most) in [(0, hosts | Sctlr::CFCFG), (1, hosts)] {
        assert_becomes(&core, bank_register(b, cb::SCTLR), 0, Sctlr::M.bits());
        assert_becomes(&core, bank_register(b, cb::SCTLR), all, most.bits());
        for value in [0, all, 0x10] {
            assert_becomes(&core, bank_register(b, cb::TCR), value, TCR_STAGE_2);
        }
        assert!(core.machine().dma_access(k(0), bank(b), ipa(0)).is_err());
        core.machine().check();
    }
}

// Tests: IX-2
#[test]
fn the_other_registers_of_a_bank_are_a_list() {
    let core = booted();
    let at = |register| bank_register(1, register);
    assert!(write(&core, 0, at(cb::ACTLR), WORD, u64::MAX));
    assert_eq!(word(&core, 0, at(cb::ACTLR)), 0, "D-87: implementation-defined control");
    let words = [
        0x08, 0x28, 0x2C, 0x38, 0x3C, 0x50, 0x54, 0x58, 0x5C, 0x60, 0x64, 0x68, 0x6C, 0x70, 0x74, 0x600, 0x63C, 0x7F0,
        0x800, 0x81C,
    ];
    for register in words {
        assert_becomes(&core, at(register), 0x1357_9BDF, 0x1357_9BDF);
    }
    for register in [0x28, 0x50, 0x60, 0x70, 0x600, 0x638, 0x800] {
        assert!(write(&core, 0, at(register), DOUBLE, 0xFEDC_BA98_7654_3210));
        assert_eq!(double(&core, 0, at(register)), 0xFEDC_BA98_7654_3210);
    }
    for register in [0x34, 0x0C, 0x10, 0x14, 0x78, 0x640, 0x7F4, 0x8F0, 0xE00, 0xFFC] {
        assert_refused_write(&core, at(register), WORD, 0);
    }
    for register in [0x00, 0x08, 0x30, 0x38, 0x58, 0x68, 0x7F0, 0xE00] {
        assert_refused_write(&core, at(register), DOUBLE, 0);
    }
}

// Tests: IC-2, IX-4, IA-2
#[test]
fn the_host_reads_every_register() {
    let core = booted();
    for offset in [0, gr0::SGFAR, 0x3000, bank_register(1, cb::TTBR0), bank_register(2, cb::FAR), 0xFFF8] {
        let at = WINDOWS[1] + offset;
        core.machine().set_register(at, 0xFEDC_BA98_7654_3210);
        let reads = [(at, WORD, 0x7654_3210), (at + 4, WORD, 0xFEDC_BA98), (at, DOUBLE, 0xFEDC_BA98_7654_3210)];
        for (at, size, value) in reads {
            let mut regs = distinct();
            let verdict = core.handle_host_stage2_fault(&abort(at, size), &mut regs, &mut Held::nothing());
            assert_eq!(verdict, Verdict::Skip);
            let mut expected = distinct();
            expected[RT] = value;
            assert_eq!(regs, expected);
        }
    }
}

// Tests: IR-1, IX-4
#[test]
fn register_31_is_zero() {
    let core = booted();
    let at = WINDOWS[0] + bank_register(0, cb::MAIR0);
    let rt31 = 31 << 16;
    core.machine().mmio_write(pa(at), Width::Word, 7);
    let mut regs = distinct();
    let read = abort(at, WORD | rt31);
    assert_eq!(core.handle_host_stage2_fault(&read, &mut regs, &mut Held::nothing()), Verdict::Skip);
    assert_eq!(regs, distinct());
    let write = abort(at, WORD | rt31 | Syndrome::WNR);
    assert_eq!(core.handle_host_stage2_fault(&write, &mut regs, &mut Held::nothing()), Verdict::Skip);
    assert_eq!((regs, word(&core, 0, bank_register(0, cb::MAIR0))), (distinct(), 0));
}

// Tests: FH-1, IO-1, IA-2
#[test]
fn accesses_that_are_not_one_aligned_register_are_refused() {
    // D-67
    let core = booted();
    let at = WINDOWS[0] + gr0::SGFAR;
    let isv = |esr: HostAbort| HostAbort { syndrome: Syndrome(esr.syndrome.0 & !Syndrome::ISV), ..esr };
    let fetch = |esr: HostAbort| HostAbort { syndrome: Syndrome(esr.syndrome.0 & !(4 << 26)), ..esr };
    for write in [0, Syndrome::WNR] {
        for refused in [
            abort(at, write),               // 1 byte
            abort(at, write | 1 << 22),     // 2 bytes
            abort(at + 2, write | WORD),    // not aligned
            abort(at + 4, write | DOUBLE),  // not aligned
            isv(abort(at, write | DOUBLE)), // a pair
            fetch(abort(at, write | WORD)), // an instruction
            abort(at, write | WORD | Syndrome::CM),
            abort(at, write | WORD | Syndrome::FNV),
            abort(at, write | WORD | Syndrome::S1PTW),
            abort(at, write | WORD | Syndrome::SSE),
            abort(at, write | WORD | 0b1000), // a permission fault
        ] {
            let before = everything(&core);
            let mut regs = distinct();
            let verdict = core.handle_host_stage2_fault(&refused, &mut regs, &mut Held::nothing());
            assert_eq!((verdict, regs), (Verdict::ExternalAbort, distinct()), "{refused:x?}");
            assert_eq!(everything(&core), before);
        }
    }
}

// Tests: IA-1, IO-1
#[test]
fn an_smmu_is_found_by_its_window() {
    let core = world().boot();
    let found = |at: u64| core.is_smmu_range(ipa(at));
    for (number, window) in (0..).zip(WINDOWS) {
        assert_eq!(found(window - 1), None);
        assert_eq!(found(window), Some(k(number)));
        assert_eq!(found(window + 0xFFFF), Some(k(number)));
        assert_eq!(found(window + 0x1_0000), None);
    }
    let mut regs = distinct();
    let beside = WINDOWS[0] + 0x1_0000;
    let done = core.emulate_mmio(ipa(beside), &abort(beside, WORD), &mut regs, &mut Held::nothing());
    assert_eq!((done, regs), (Ok(None), distinct()));
    // The last one wins; what lies beyond its 64 KiB is nobody's.
    let overlapping = SmmuConfig::new(range(WINDOWS[0], 0x2_0000), 1);
    let core = World { smmus: vec![overlapping, world().smmus[0]], ..World::default() }.boot();
    assert_eq!(core.is_smmu_range(ipa(WINDOWS[0])), Some(k(1)));
    assert_eq!(core.is_smmu_range(ipa(beside)), Some(k(0)));
    let done = core.emulate_mmio(ipa(beside), &abort(beside, WORD), &mut regs, &mut Held::nothing());
    assert_eq!(done, Err(Refused::Register(0x1_0000)));
}

/// What the host reads, with 4 or 8 bytes.
fn read(core: &Core, offset: u64, size: u64) -> u64 {
    let mut regs = distinct();
    let verdict = core.handle_host_stage2_fault(&abort(WINDOWS[0] + offset, size), &mut regs, &mut Held::nothing());
    assert_eq!(verdict, Verdict::Skip);
    let value = core::mem::replace(&mut regs[RT], distinct()[RT]);
    assert_eq!(regs, distinct());
    value
}

// Tests: IC-2
#[test]
fn identification_registers_show_what_the_host_may_use() {
    let core = world().boot();
    let set = |offset, value| core.machine().mmio_write(pa(WINDOWS[0] + offset), Width::Word, value);
    let before = (0x20..0x40).step_by(4).map(|offset| read(&core, offset, WORD)).collect::<Vec<_>>();
    assert_eq!(
        before,
        (0x20..0x40).step_by(4).map(|offset| word(&core, 0, offset)).collect::<Vec<_>>(),
        "nothing to hide"
    );
    // All ones: no Secure state, stage 1, nesting, broadcasts, longer ids; as many banks as there are, of stage 2 only; sizes
    // of addresses and one format of tables.
    for (offset, shown) in [
        (0x20, 0x2FFF_DEFF),
        (0x24, 0xF008_0008),
        (0x28, 0x10FF),
        (0x2C, 0),
        (0x30, 0),
        (0x34, 0),
        (0x38, 0),
        (0x3C, 0xFFFF_FFFF),
    ] {
        set(offset, 0xFFFF_FFFF);
        assert_eq!((read(&core, offset, WORD), word(&core, 0, offset)), (shown, 0xFFFF_FFFF), "{offset:#x}");
    }
    let pairs = [0x20, 0x28, 0x30, 0x38].map(|offset| read(&core, offset, DOUBLE));
    assert_eq!(pairs, [0xF008_0008_2FFF_DEFF, 0x10FF, 0, 0xFFFF_FFFF_0000_0000]);
    set(0x24, 0x2000_0004);
    assert_eq!(read(&core, 0x24, WORD), 0x2004_0004, "no more than it has");
    assert!(!write(&core, 0, 0x20, WORD, 0));
}

// Tests: FH-1
#[test]
fn registers_are_never_mapped_with_their_neighbours() {
    let core = world().boot();
    let neighbour = WINDOWS[0] + 0x1_0000;
    let fault = abort(neighbour, WORD);
    assert_eq!(core.handle_host_stage2_fault(&fault, &mut distinct(), &mut Held::nothing()), Verdict::Retry);
    assert!(core.machine().access(HOSTVISOR, ipa(neighbour)).is_ok());
    for page in (WINDOWS[0]..neighbour).step_by(PAGE_SIZE as usize) {
        assert!(core.machine().walk(HOSTVISOR, ipa(page)).is_err());
    }
    // An access that only a mapping could answer.
    let line = core.machine().take_refusals();
    assert!(line.is_empty());
    assert!(!write(&core, 0, 0x20, WORD, 0));
    let line = core.machine().take_refusals().join("");
    assert!(line.starts_with("host access refused: SMMU register 0x20 can't be accessed so; ipa=0x9050000"), "{line}");
}
