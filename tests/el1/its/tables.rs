// SPDX-License-Identifier: GPL-2.0-only
//! Registers that name tables.

use super::hardware::{
    CONFIG, SPARE, VALID, assert_free, assert_refused, gicr, gits, its, memory_of_others, read, read32, take,
    try_write32, with_a_vms_page, write, write32,
};
use crate::rt::PAGE;
use crate::rt::call::{log_read, stat};
use crate::rt::fault::{self, Access, access};
use corevisor::abi::{BUSY, stat as id};

/// BASERs that are tables: their offsets.
fn tables() -> impl Iterator<Item = u64> {
    let table = |register: &u64| matches!((read(its() + register) >> 56) & 7, 1 | 4);
    (0..8).map(|n| gits::BASER + 8 * n).filter(table)
}

pub fn an_its_of_the_tree_is_checked() {
    assert_eq!(read32(its() + gits::CTLR) & (gits::QUIESCENT | 1), gits::QUIESCENT, "off");
    assert_eq!(tables().count(), 2, "devices and collections");
    let mut position = 0;
    let mut said = false;
    loop {
        let (first, bytes, length) = log_read(position);
        let wanted = b"GICv3 ITS at 0x8080000: tables checked";
        said |= bytes[..length].windows(wanted.len()).any(|part| part == wanted);
        if length == 0 {
            break;
        }
        // Lines may lie across two parts: the next one starts within this one.
        position = first + (length as u64).min(64);
    }
    assert!(said, "no such line in the log");
}

pub fn tables_in_memory_of_others() {
    with_a_vms_page(|vms| {
        let before = stat(id::REFUSED_ACCESS);
        let mut count = 0;
        for register in tables().chain([gits::CBASER]) {
            for address in memory_of_others(vms) {
                assert_refused(its() + register, VALID | address);
                count += 1;
            }
            // As the second page of two.
            assert_refused(its() + register, VALID | (vms - PAGE) | 1);
            count += 1;
        }
        assert_eq!(stat(id::REFUSED_ACCESS), before + count);
    });
}

pub fn tables_that_are_named_stay_the_hosts() {
    let page = SPARE.at() + PAGE;
    for register in tables().chain([gits::CBASER]) {
        write(its() + register, VALID | gits::INDIRECT | page | 1);
        assert_eq!(read(its() + register) & VALID, VALID);
        assert_eq!([take(page), take(page + PAGE)], [BUSY, BUSY], "{register:#x}");
        if register != gits::CBASER {
            assert_eq!(read(its() + register) & gits::INDIRECT, 0, "no tables of tables");
        }
        write(its() + register, 0);
        assert_free(page);
        assert_free(page + PAGE);
    }
}

pub fn lpi_tables_in_memory_of_others() {
    const ID_BITS: u64 = 13;
    let (config, pending) = (gicr() + gicr::PROPBASER, gicr() + gicr::PENDBASER);
    with_a_vms_page(|vms| {
        for address in memory_of_others(vms) {
            assert_refused(config, address | ID_BITS);
            write(config, CONFIG.at() | ID_BITS);
            assert_refused(pending, address & !0xFFFF);
        }
    });
    // They are asked for again when LPIs are turned on.
    write(config, CONFIG.at() | ID_BITS);
    write(pending, SPARE.at());
    with_a_vms_page(|_| assert!(!try_write32(gicr() + gicr::CTLR, 1)));
    assert_eq!(read32(gicr() + gicr::CTLR) & 1, 0);
    assert_free(CONFIG.at());
}

pub fn accesses_that_are_no_register() {
    let (ctlr, baser, typer) = (its() + gits::CTLR, its() + gits::BASER, its() + gits::TYPER);
    for (kind, address) in [
        (Access::Read, ctlr),
        (Access::Write, ctlr),
        (Access::Read8, typer),
        (Access::Read16, typer),
        (Access::ReadPair, baser),
        (Access::ReadPost, baser),
        (Access::Write8, baser),
        (Access::WritePair, baser),
        (Access::Write32, typer),
        (Access::Write, typer),
        (Access::Write32, its() + 0xF00),
        (Access::Write, gicr() + gicr::TYPER),
        (Access::Write32, gicr() + 0xF00),
        // The rest of the control frame, but for what it is.
        (Access::Read32, its() + PAGE),
        (Access::Read32, its() + 0xC000),
    ] {
        fault::assert_refused(kind, address);
    }
}

pub fn the_rest_of_the_registers() {
    const PIDR2: u64 = 0xFFE8;
    const V4: u64 = 1 << 1 | 1 << 37 | 0b1_1111 << 39;
    assert_eq!(read(its() + gits::TYPER) & V4, 0, "no GICv4");
    assert_ne!(read(its() + gits::TYPER) & 1, 0);
    assert!(matches!(read32(its() + PIDR2) >> 4 & 0xF, 3 | 4), "GICv3 or GICv4");
    assert!(matches!(read32(gicr() + PIDR2) >> 4 & 0xF, 3 | 4));
    let typer = read(gicr() + gicr::TYPER);
    assert_ne!(typer & 1, 0, "physical LPIs");
    if typer & 2 != 0 {
        // Registers for VLPIs are none.
        for register in [0x70, 0x78] {
            write(gicr() + 0x2_0000 + register, u64::MAX);
            assert_eq!(read(gicr() + 0x2_0000 + register), 0);
        }
    }
    let waker = read32(gicr() + gicr::WAKER);
    write32(gicr() + gicr::WAKER, waker);
    // Halves of a register of 8 bytes.
    let low = access(Access::Write32, its() + gits::CBASER, SPARE.at());
    assert!(low.is_ok());
    assert_eq!(read32(its() + gits::CBASER), SPARE.at() & 0xFFFF_FFFF);
    assert_eq!(read32(its() + gits::CBASER + 4), 0);
    write(its() + gits::CBASER, 0);
}
