// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv2s as boot finds them, and what their identification registers make of them.

use super::*;
use crate::machine::sim::SimMachine;
use crate::machine::{Machine, Width};
use crate::mmio::registers::{Scr0, cb, gr0, gr1};
use crate::mmio::{Layout, Unusable, take_over};

/// IDR0 of an SMMU with all there can be, and 16 entries for streams with ids of 15 bits.
const IDR0: u64 = 0xF800_3E10;
/// IDR1: 4 KiB pages, 8 in a half, 8 banks.
const IDR1: u64 = 0x2000_0008;
/// IDR2: 40 bits in, 44 out, all granules.
const IDR2: u64 = 0x7042;
const CLOSED: u64 = (1 << 21) | (1 << 10);
const FAULT: u64 = 2 << 16;
/// A window that no SMMU of the simulated machine has.
const ELSEWHERE: u64 = 0x0B00_0000;

fn set(machine: &SimMachine, base: u64, offset: u64, value: u64) {
    machine.mmio_write(pa(base + offset), Width::Word, value);
}

fn get(machine: &SimMachine, base: u64, offset: u64) -> u64 {
    machine.mmio_read(pa(base + offset), Width::Word)
}

/// An SMMU at `base` with these identification registers, as a bootloader may leave it: everything is open.
fn left_open(machine: &SimMachine, base: u64, ids: [u64; 3]) {
    for (register, value) in [gr0::IDR0, gr0::IDR1, gr0::IDR2].into_iter().zip(ids) {
        set(machine, base, register, value);
    }
    set(machine, base, gr0::SCR0, Scr0::CLIENTPD.bits());
    set(machine, base, gr0::SCR2, 7);
    for entry in 0..16 {
        set(machine, base, gr0::SMR.start + 4 * entry, SMR_VALID | entry);
        set(machine, base, gr0::S2CR.start + 4 * entry, 1 << 16);
    }
}

const SMR_VALID: u64 = 1 << 31;

/// What becomes of it, in a window of `size` bytes.
fn taken(ids: [u64; 3], size: u64) -> Result<SmmuConfig, Unusable> {
    let core = World::default().boot();
    left_open(core.machine(), ELSEWHERE, ids);
    let taken = take_over(core.machine(), range(ELSEWHERE, size));
    // Whatever it is, it is closed, if there is room for its registers.
    if size >= 0x8000 {
        let get = |offset| get(core.machine(), ELSEWHERE, offset);
        assert_eq!([get(gr0::SCR0), get(gr0::SCR2)], [CLOSED, 0]);
        for entry in 0..ids[0] & 0xFF {
            assert_eq!(get(gr0::S2CR.start + 4 * entry), FAULT);
        }
    }
    taken
}

#[test]
fn an_smmu_that_was_left_open_is_closed() {
    let core = world().boot();
    let machine = core.machine();
    left_open(machine, WINDOWS[0], [IDR0, IDR1, IDR2]);
    for b in 0..8 {
        set(machine, WINDOWS[0], 0x8000 + 0x1000 * b + cb::SCTLR, 1);
    }
    assert_eq!(machine.dma(k(0), 3, ipa(PAGE)), Some(PAGE), "past it");
    let config = take_over(machine, range(WINDOWS[0], 0x1_0000)).unwrap();
    assert_eq!(config, SmmuConfig::new(range(WINDOWS[0], 0x1_0000), 8));
    for stream in 0..20 {
        assert_eq!(machine.dma(k(0), stream, ipa(PAGE)), None);
    }
    for b in 0..8 {
        assert_eq!(get(machine, WINDOWS[0], 0x8000 + 0x1000 * b + cb::SCTLR), 0);
        assert_eq!(machine.register(WINDOWS[0] + 0x8000 + 0x1000 * b + cb::TTBR0), 0);
    }
    machine.check();
}

#[test]
fn one_that_does_not_answer_is_told_apart() {
    let core = world().boot();
    left_open(core.machine(), WINDOWS[0], [IDR0, IDR1, IDR2]);
    core.machine().stick_smmu(k(0), true);
    assert_eq!(take_over(core.machine(), range(WINDOWS[0], 0x1_0000)), Err(Unusable::Stuck));
    assert_eq!(core.machine().dma(k(0), 3, ipa(PAGE)), None, "closed it is");
}

#[test]
fn what_is_missing_is_named() {
    const BTM: u64 = 1 << 13;
    let with = |ids| taken(ids, 0x1_0000).map(|config| (config.context_banks, config.layout));
    assert_eq!(with([IDR0, IDR1, IDR2]), Ok((8, Layout::SPECIFIED)));
    assert_eq!(with([IDR0 & !BTM & !(1 << 30), IDR1, IDR2]), Ok((8, Layout::SPECIFIED)), "stage 2 is enough");
    assert_eq!(with([IDR0 & !(1 << 29), IDR1, IDR2]), Err(Unusable::NoStage2));
    assert_eq!(with([0, 0, 0]), Err(Unusable::NoStage2), "nothing there");
    assert_eq!(with([IDR0, IDR1, IDR2 & !(1 << 12)]), Err(Unusable::NoTables));
    assert_eq!(with([IDR0, IDR1, 0]), Err(Unusable::NoTables), "an SMMUv1");
    assert_eq!(with([IDR0, IDR1, IDR2 & !0xF | 1]), Err(Unusable::ShortAddresses));
    assert_eq!(with([IDR0, IDR1 & !0xFF, IDR2]), Err(Unusable::Banks(0)));
    assert_eq!(with([IDR0, IDR1 & !0xFF | 9, IDR2]), Err(Unusable::Banks(9)));
    assert_eq!(with([IDR0, IDR1 & !0xFF | 2, IDR2]), Ok((2, Layout::SPECIFIED)));
    // Streams that are not matched have an entry each.
    const SMS: u64 = 1 << 27;
    assert_eq!(with([IDR0 & !SMS, IDR1, IDR2]), Err(Unusable::Streams));
    assert_eq!(with([IDR0 & !SMS & !(0xF << 9) | 4 << 9, IDR1, IDR2]), Ok((8, Layout::SPECIFIED)));
    for why in [
        Unusable::NoStage2,
        Unusable::NoTables,
        Unusable::ShortAddresses,
        Unusable::Window(1),
        Unusable::Banks(0),
        Unusable::Streams,
        Unusable::Open,
        Unusable::Stuck,
        Unusable::OneTooMany,
    ] {
        let line = format!("{why}");
        assert!(line.len() > 10 && !line.contains('\n'), "{line}");
    }
}

#[test]
fn layouts_are_those_of_the_identification_registers() {
    let with =
        |idr1, size| taken([IDR0, idr1, IDR2], size).map(|c| (c.context_banks, c.layout.page_shift, c.layout.pages));
    assert_eq!(with(IDR1, 0xFFFF), Err(Unusable::Window(0x1_0000)));
    assert_eq!(with(IDR1, 0x1000), Err(Unusable::Window(0x1_0000)));
    assert_eq!(with(IDR1, 0x2_0000), Ok((8, 12, 8)), "a window may be larger");
    assert_eq!(with(0x6000_0080, 0x10_0000), Ok((8, 12, 128)), "an MMU-500 with 128 banks");
    assert_eq!(with(0x6000_0080, 0xF_F000), Err(Unusable::Window(0x10_0000)));
    assert_eq!(with(0xA000_0004, 0x10_0000), Ok((4, 16, 8)));
    assert_eq!(with(0xA000_0004, 0x1_0000), Err(Unusable::Window(0x10_0000)));
    assert_eq!(with(0x8000_0001, 0x4_0000), Ok((1, 16, 2)));
    let specified = Layout::SPECIFIED;
    for register in (0..0x1_0000).step_by(4) {
        assert_eq!((specified.offset(register), specified.register(register)), (register, Some(register)));
    }
    assert_eq!([0x1_0000, u64::MAX].map(|offset| specified.register(offset)), [None; 2]);
    for layout in [Layout { page_shift: 16, pages: 8 }, Layout { page_shift: 12, pages: 128 }] {
        let mut known = 0;
        for offset in (0..layout.size() + 0x1000).step_by(0x800) {
            if let Some(register) = layout.register(offset) {
                assert_eq!(layout.offset(register), offset);
                known += 1;
            }
        }
        assert_eq!(known, 32, "16 groups of 4 KiB");
    }
    let large = Layout { page_shift: 16, pages: 8 };
    assert_eq!(large.offset(gr1::CBAR.start + 4), 0x1_0004);
    assert_eq!(large.offset(0x9000 + cb::TTBR0), 0x9_0020);
    assert_eq!(large.register(0x9_0020), Some(0x9020));
    assert_eq!([0x1000, 0x9_1020, 0x10_0000].map(|offset| large.register(offset)), [None; 3]);
}

// Tests: IA-2, IX-1
#[test]
fn rules_hold_in_each_layout() {
    let window = range(ELSEWHERE, 0x10_0000);
    let layout = Layout { page_shift: 16, pages: 8 };
    let smmu = SmmuConfig { window, context_banks: 4, layout };
    let core = World { smmus: vec![world().smmus[0], smmu], ..World::default() }.boot();
    let machine = core.machine();
    left_open(machine, ELSEWHERE, [IDR0, 0xA000_0004, IDR2]);
    alloc(&core, k(1), bank(1), HOSTVISOR);
    let root = machine.register(ELSEWHERE + 0x9_0020);
    assert!(root != 0 && get(machine, ELSEWHERE, 0x1_0004) == 0x81 && get(machine, ELSEWHERE, 0x1_0804) == 1);
    free(&core, k(1), bank(1)).unwrap();
    assert_eq!(machine.register(ELSEWHERE + 0x9_0020), 0);
}
