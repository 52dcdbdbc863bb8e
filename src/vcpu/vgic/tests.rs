// SPDX-License-Identifier: GPL-2.0-only
//! What the host may ask for, word by word.

use super::{Control, Ids, Interface, VgicEntry, v2};
use crate::refused::Refused;
use core::cell::RefCell;
use std::vec::Vec;

const V3: Interface = Interface { list_registers: 4, ids: Ids::V3 { end: 1 << 16 } };
const V2: Interface = Interface { list_registers: 4, ids: Ids::V2 };

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HW: u64 = 1 << 61;
const GROUP_1: u64 = 1 << 60;
const EOI: u64 = 1 << 41;

fn physical(id: u64) -> u64 {
    HW | id << 32
}

/// Asks for `list`, in list registers from 0 on.
fn ask(interface: Interface, list: &[u64]) -> Result<VgicEntry, Refused> {
    let mut entry = VgicEntry::default();
    entry.fill(interface, |n| n.checked_sub(1).and_then(|n| list.get(n)).copied().unwrap_or(0)).map(|()| entry)
}

// Tests: CS-4
#[test]
fn what_hardware_can_hold_is_accepted_as_it_is() {
    let everything = 0xFF << 48 | GROUP_1;
    let v3 = [
        [0, 0, 0, 0],
        [PENDING, PENDING | 1 | EOI, ACTIVE | 15 | everything, PENDING | ACTIVE | 16],
        [PENDING | 27 | physical(27), ACTIVE | 1019 | physical(16), PENDING | 32 | physical(1019), PENDING | 33],
        [PENDING | 8192, PENDING | 65535, PENDING | 8193 | EOI, 8194],
        // Nothing is in these: their numbers do not count.
        [5, 5, 1020 | EOI, 1 << 31 | physical(27)],
        [PENDING | 5, 5, 0, PENDING | 6],
    ];
    let v2 = [
        [PENDING | 3, PENDING | 4 | 7 << 10, ACTIVE | 15 | 1 << 10 | EOI, 0],
        [PENDING | 27 | physical(27), PENDING | 1019, ACTIVE | 16, 0],
    ];
    let all = v3.iter().map(|list| (V3, list)).chain(v2.iter().map(|list| (V2, list)));
    for (interface, list) in all {
        let entry = ask(interface, list).unwrap_or_else(|why| panic!("{list:x?}: {why}"));
        assert_eq!((entry.list(), entry.control()), (list.as_ref(), Control::empty()));
        let (used, rest) = list.split_at(entry.used().len());
        assert!(entry.used() == used && used.last() != Some(&0) && rest.iter().all(|&word| word == 0), "{list:x?}");
    }
}

// Tests: CS-4
#[test]
fn what_hardware_can_not_hold_is_refused_by_its_number() {
    let malformed = [
        PENDING | 1020,
        PENDING | 1023,
        ACTIVE | 1024, // with a GICv2, SGI 0 of CPU 1
        PENDING | 8191,
        PENDING | 65536,
        PENDING | 0xFFFF_FFFF,
        ACTIVE | 8192,
        PENDING | ACTIVE | 8192,
        PENDING | 8192 | physical(32),
        PENDING | 7 | physical(32), // an SGI
        PENDING | 32 | physical(0),
        PENDING | 32 | physical(15),
        PENDING | 32 | physical(1020),
        PENDING | 32 | physical(1023),
        PENDING | 32 | physical(4096), // an extended SPI
        PENDING | ACTIVE | 32 | physical(32),
        32 | physical(15), // holds nothing, but would if it were to
        PENDING | 32 | 1 << 59,
    ];
    let reserved = [45, 46, 47, 56, 57, 58, 59].map(|bit| 1 << bit);
    let source = [32, 33, 34, 35, 36, 37, 38, 39, 40, 42, 43, 44].map(|bit| PENDING | 32 | 1 << bit);
    for word in malformed.into_iter().chain(reserved).chain(source) {
        assert_eq!(ask(V3, &[word]), Err(Refused::Interrupts(1)), "{word:#x}");
        assert_eq!(ask(V3, &[PENDING | 40, 0, 0, word]), Err(Refused::Interrupts(4)), "{word:#x}");
        if !(1024..=8192).contains(&(word & 0xFFFF_FFFF)) {
            assert_eq!(ask(V2, &[word]), Err(Refused::Interrupts(1)), "{word:#x}");
        }
    }
    for word in [PENDING | 8192, PENDING | 16 | 1 << 10, PENDING | 1 << 13, PENDING | 3 | 1 << 10 | physical(32)] {
        assert_eq!(ask(V2, &[word]), Err(Refused::Interrupts(1)), "{word:#x}");
    }
    assert_eq!(ask(V3, &[PENDING | 3 | 1 << 10]), Err(Refused::Interrupts(1)), "GICv3 has no source here");
}

// Tests: CS-4
#[test]
fn no_interrupt_is_in_two_list_registers() {
    for (first, second) in [(PENDING, PENDING), (PENDING, ACTIVE), (ACTIVE, PENDING | ACTIVE)] {
        assert_eq!(ask(V3, &[first | 40, PENDING | 41, second | 40]), Err(Refused::Interrupts(3)));
    }
    assert_eq!(ask(V2, &[PENDING | 3 | 1 << 10, PENDING | 3 | 2 << 10]), Err(Refused::Interrupts(2)), "one SGI");
}

// Tests: CS-4
#[test]
fn list_registers_that_are_not_there_are_not_looked_at() {
    for (interface, words) in [(Interface::NONE, 0), (V3, 5), (Interface { list_registers: 16, ..V3 }, 17)] {
        let (mut entry, asked) = (VgicEntry::default(), RefCell::new(Vec::new()));
        let load = |n| {
            asked.borrow_mut().push(n);
            0
        };
        assert_eq!(entry.fill(interface, load), Ok(()));
        assert_eq!(asked.into_inner(), (0..words).collect::<Vec<_>>(), "each once");
        assert_eq!((entry.list().len(), entry.used().len()), (interface.list_registers, 0));
    }
    let all = Interface { list_registers: 16, ..V3 };
    let list: [u64; 16] = core::array::from_fn(|i| PENDING | (32 + i as u64));
    assert_eq!(ask(all, &list).unwrap().list(), list);
    assert!(ask(Interface { ids: Ids::V3 { end: 1 << 24 }, ..V3 }, &[PENDING | 65536]).is_ok());
}

// Tests: CS-4
#[test]
fn of_ich_hcr_the_host_has_the_conditions_of_the_maintenance_interrupt() {
    let ask = |interface, control| {
        let mut entry = VgicEntry::default();
        entry.fill(interface, |n| if n == 0 { control } else { 0 }).map(|()| entry.control().bits())
    };
    for bit in 0..64 {
        let (control, allowed) = (1 << bit, (1..=7).contains(&bit));
        assert_eq!(ask(V3, control), if allowed { Ok(control) } else { Err(Refused::Interrupts(0)) });
    }
    assert_eq!(ask(V3, 0xFE), Ok(0xFE));
}

#[test]
fn a_gicv2_has_the_same_in_other_places() {
    let pairs = [
        (0, 0),
        (PENDING | 27 | physical(27) | GROUP_1 | 0xA0 << 48, 0b1101 << 28 | 0x14 << 23 | 27 << 10 | 27),
        (ACTIVE | 5 | 3 << 10 | EOI, 0b0010 << 28 | 1 << 19 | 3 << 10 | 5),
        (PENDING | ACTIVE | 1019 | 0xF8 << 48, 0b0011 << 28 | 0x1F << 23 | 1019),
    ];
    for (v3, v2) in pairs {
        assert_eq!((v2::to_v2(v3), v2::from_v2(v2)), (v2, v3), "{v3:#x}");
    }
    assert_eq!(v2::to_v2(0x07 << 48), 0, "priorities have five bits");
    for bit in 0..32 {
        let ours = v2::from_v2(1 << bit);
        let known = !(13..19).contains(&bit) && !(20..23).contains(&bit);
        assert_eq!(v2::to_v2(ours), if known { 1 << bit } else { 0 }, "bit {bit}");
    }
}
