// SPDX-License-Identifier: GPL-2.0-only
//! Registers of an ITS.

use super::*;

#[test]
fn a_table_is_the_hosts_memory_and_stays_so_while_it_is_named() {
    let core = world().boot();
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE | 3));
    assert_counts(&core, TABLE, 4, 1);
    assert_counts(&core, TABLE + 4 * PAGE_SIZE, 1, 0);
    for page in 0..4 {
        assert_eq!(take(&core, TABLE + page * PAGE_SIZE), Err(Refused::Busy(pfn(TABLE + page * PAGE_SIZE))));
    }
    // The same again, another one that overlaps it, none.
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE | 3));
    assert_counts(&core, TABLE, 4, 1);
    assert!(write(&core, ITS + DEVICES, gits::VALID | (TABLE + 2 * PAGE_SIZE) | 3));
    assert_counts(&core, TABLE, 2, 0);
    assert_counts(&core, TABLE + 2 * PAGE_SIZE, 4, 1);
    assert!(write(&core, ITS + DEVICES, 0));
    assert_counts(&core, TABLE, 8, 0);
    take(&core, TABLE).unwrap();
}

#[test]
fn a_table_in_memory_that_is_not_the_hosts_is_refused() {
    let core = world().boot();
    with_a_vms_page(&core);
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE));
    let carve_out = world().carve_out().start;
    for register in [DEVICES, COLLECTIONS, gits::CBASER] {
        // A VM's page, as the first, as the last; Corevisor's; what is no RAM; beyond all memory, and all addresses.
        for (start, pages) in [
            (VMS, 1),
            (VMS - 3 * PAGE_SIZE, 4),
            (carve_out, 1),
            (carve_out - PAGE_SIZE, 2),
            (ITS, 1),
            (2 * GIB - PAGE_SIZE, 2),
            (1 << 46, 1),
            ((1 << 48) - PAGE_SIZE, 2),
            (0, 1),
        ] {
            assert_refused(&core, ITS + register, DOUBLE, gits::VALID | start | (pages - 1));
        }
        // Not valid, it is nothing but a number.
        if register != DEVICES {
            assert!(write(&core, ITS + register, VMS));
        }
    }
    assert_counts(&core, TABLE, 1, 1);
}

#[test]
fn a_page_that_is_in_use_as_often_as_can_be_is_refused() {
    let core = world().boot();
    let full = crate::memory::S2Page::new(HOSTVISOR, Count::Shares(MAX_DMA_MAPS), record(&core, TABLE).gfn());
    set_record(&core, TABLE + PAGE_SIZE, full);
    assert_refused(&core, ITS + DEVICES, DOUBLE, gits::VALID | TABLE | 1);
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE));
}

#[test]
fn the_size_of_a_table_follows_from_its_pages() {
    for (size, bytes) in [(0, 0x1000u64), (1, 0x4000), (2, 0x1_0000), (3, 0x1_0000)] {
        let core = world().boot();
        let baser = gits::VALID | TABLE | size << gits::PAGE_SIZE_SHIFT | 2;
        assert!(write(&core, ITS + DEVICES, baser));
        let pages = (3 * bytes / PAGE_SIZE) as usize;
        assert_counts(&core, TABLE, pages, 1);
        assert_counts(&core, TABLE + 3 * bytes, 1, 0);
        assert!(write(&core, ITS + DEVICES, 0));
        assert_counts(&core, TABLE, pages, 0);
    }
    let core = world().boot();
    // Address bits 51:48 of a table with pages of 64 KiB.
    assert_refused(&core, ITS + DEVICES, DOUBLE, gits::VALID | TABLE | 2 << gits::PAGE_SIZE_SHIFT | 1 << 12);
}

#[test]
fn the_host_reads_what_it_has_written_and_what_hardware_says() {
    let core = world().boot();
    let value = gits::VALID | 0b101 << 59 | 0b010 << 53 | TABLE | 1 << 10 | 7;
    assert!(write(&core, ITS + DEVICES, value | gits::INDIRECT | 0b111 << 56 | 0x1F << 48));
    assert_eq!(read(&core, ITS + DEVICES), value | gits::DEVICES << 56 | 7 << 48, "type, size, no table of tables");
    // By halves.
    assert!(write(&core, ITS + DEVICES, 0));
    assert!(write_sized(&core, ITS + DEVICES, WORD, value & 0xFFFF_FFFF | 0xBAD << 32));
    assert_counts(&core, TABLE, 8, 0);
    assert!(write_sized(&core, ITS + DEVICES + 4, WORD, value >> 32));
    assert_counts(&core, TABLE, 8, 1);
    assert_eq!(read_sized(&core, ITS + DEVICES + 4, WORD), (value | gits::DEVICES << 56 | 7 << 48) >> 32);
    // No vPEs, and no table where there is none.
    for register in [0x108, 0x118, 0x138] {
        assert!(write(&core, ITS + register, gits::VALID | VMS));
        assert_eq!(read(&core, ITS + register), 0);
    }
    assert_eq!(core.machine().gic_register(ITS + 0x108) & gits::VALID, 0);
    assert_eq!(read(&core, ITS + gits::TYPER), sim::ITS_TYPER & !gits::TYPER_V4);
    assert_eq!(read(&core, ITS + gits::CBASER), 0);
    let queue = gits::VALID | 0b111 << 59 | QUEUE | 15;
    assert!(write(&core, ITS + gits::CBASER, queue));
    assert_eq!(read(&core, ITS + gits::CBASER), queue);
    assert_counts(&core, QUEUE, 16, 1);
    assert!(write(&core, ITS + gits::CBASER, 0));
    assert_counts(&core, QUEUE, 16, 0);
}

#[test]
fn hardware_has_memory_of_corevisors_and_no_other() {
    let core = running();
    let carve_out = world().carve_out();
    for register in [gits::CBASER, DEVICES, COLLECTIONS] {
        let value = core.machine().gic_register(ITS + register);
        assert_ne!(value & gits::VALID, 0);
        assert!(carve_out.contains(value & 0xFFFF_FFFF_F000), "{register:#x}: {value:#x}");
    }
}

#[test]
fn nothing_is_named_anew_while_the_its_is_on() {
    let core = running();
    for register in [DEVICES, COLLECTIONS, gits::CBASER] {
        assert_refused(&core, ITS + register, DOUBLE, gits::VALID | (TABLE + 2 * MIB));
        assert_refused(&core, ITS + register, DOUBLE, 0);
    }
    ctlr(&core, 0);
    for register in [DEVICES, COLLECTIONS, gits::CBASER] {
        assert!(write(&core, ITS + register, 0));
    }
    assert_counts(&core, TABLE, 2, 0);
    assert_counts(&core, QUEUE, 1, 0);
}

#[test]
fn registers_that_are_in_no_row_are_refused() {
    let core = running();
    for register in [0x04, 0x0C, 0x10, 0x20, 0x28, 0x44, 0x48, 0x60, 0x98, 0x140, 0x800, 0xFFC] {
        assert_refused(&core, ITS + register, WORD, 0);
    }
    for register in [0, 8, 0x40, 0x90, 0xF0, 0x148, 0xFF8] {
        assert_refused(&core, ITS + register, DOUBLE, 0);
    }
    // Of 1 and 2 bytes, not aligned, a pair of registers.
    for (register, iss) in [(gits::CBASER, 0), (gits::CBASER, 1 << 22), (gits::CBASER + 4, DOUBLE), (0x82, WORD)] {
        assert_refused(&core, ITS + register, iss, 0);
        assert_eq!(access(&core, ITS + register, iss, 0).0, Verdict::ExternalAbort);
    }
    assert_eq!(access(&core, ITS, DOUBLE, 0).0, Verdict::ExternalAbort);
    assert_eq!(access(&core, ITS + gits::CBASER, DOUBLE | Syndrome::SSE, 0).0, Verdict::ExternalAbort);
    // The rest of the frame, but for what it is.
    assert_eq!(access(&core, ITS + PAGE_SIZE, WORD, 0).0, Verdict::ExternalAbort);
    assert_eq!(access(&core, ITS + 0xC000, WORD, 0).0, Verdict::ExternalAbort);
    assert_eq!(access(&core, ITS + 0xFFE8, WORD, 0).0, Verdict::Retry);
    // GITS_TRANSLATER.
    assert_eq!(access(&core, ITS + 0x1_0040, WORD, 0).0, Verdict::Retry);
    assert_eq!(take(&core, ITS), Err(Refused::NotHostPage(pfn(ITS))));
}
