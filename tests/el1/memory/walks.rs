// SPDX-License-Identifier: GPL-2.0-only
//! A page of the host's own translation tables that it has lost.

use super::hand_over::{give, take};
use super::ram::{BLOCK, free_block};
use crate::rt::call::stat;
use crate::rt::fault::{Access, IL, Outcome, Vector, access, read, write};
use crate::rt::machine::{forget_translations, set_window};
use crate::rt::{PAGE, WINDOW};
use corevisor::abi::stat as id;

/// An external abort on a walk, at whatever level: EL2 can't know without a walk of its own.
fn assert_walk_refused(result: Outcome, class: u64, pc: Option<u64>) {
    let Err(fault) = result else { panic!("{result:x?}") };
    assert_eq!(fault.class(), class, "{fault:x?}");
    assert_eq!(fault.esr & 0x3C, 0x14, "{fault:x?}");
    assert_eq!(fault.esr & IL, IL, "{fault:x?}");
    assert_eq!(fault.far, WINDOW + 8, "{fault:x?}");
    assert_eq!(fault.elr, pc.unwrap_or(fault.expected_pc), "{fault:x?}");
    assert_eq!((fault.vector, fault.spsr), (Vector::El1h, fault.before), "{fault:x?}");
}

pub fn page_table_page_taken() {
    const TABLE: u64 = 0b11;
    /// A block of normal memory: access flag, inner shareable, EL1 only.
    const MEMORY: u64 = (1 << 10) | (0b11 << 8) | (1 << 2) | 1;
    let block = free_block(7);
    let table = free_block(8) + 33 * PAGE;
    for entry in 0..512 {
        let descriptor = if entry == 0 { block | MEMORY } else { 0 };
        assert!(write(table + entry * 8, descriptor).is_ok());
    }
    set_window(table | TABLE);
    assert!(write(block + 8, 0xD65F_03C0).is_ok()); // ret
    assert_eq!(read(WINDOW + 8), Ok(0xD65F_03C0));
    assert_eq!(read(WINDOW + BLOCK).map_err(|fault| fault.esr & 0x3F), Err(0x06), "stage 1's own fault");

    assert_eq!(take(table), 0);
    forget_translations();
    let before = stat(id::REFUSED_ACCESS);
    assert_walk_refused(read(WINDOW + 8), 0x25, None);
    assert_walk_refused(write(WINDOW + 8, 0), 0x25, None);
    assert_walk_refused(access(Access::Branch, WINDOW + 8, 0), 0x21, Some(WINDOW + 8));
    assert_eq!(stat(id::REFUSED_ACCESS), before + 3);

    assert_eq!(give(table), 0);
    let faults = stat(id::HOST_FAULT_RAM);
    assert_eq!(read(WINDOW + 8).map_err(|fault| fault.esr & 0x3F), Err(0x06), "a walk maps it, too; it is empty");
    assert_eq!(stat(id::HOST_FAULT_RAM), faults + 1);
    assert!(write(table, block | MEMORY).is_ok());
    forget_translations();
    assert_eq!(read(WINDOW + 8), Ok(0xD65F_03C0));
    set_window(0);
    assert_eq!(read(WINDOW + 8).map_err(|fault| fault.esr & 0x3F), Err(0x05));
}
