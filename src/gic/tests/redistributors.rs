// SPDX-License-Identifier: GPL-2.0-only
//! Tables of LPIs.

use super::*;

const CONFIG: u64 = GIB + 8 * MIB;
const PENDING: u64 = GIB + 12 * MIB;
/// IDbits of 16 bits: 64 KiB and 8 KiB.
const ID_BITS: u64 = 15;

fn lpis_on(core: &Core, cpu: u64) -> bool {
    write_sized(core, GICR + cpu * STRIDE, WORD, gicr::ENABLE_LPIS)
}

fn name(core: &Core, cpu: u64, config: u64, pending: u64) {
    let at = GICR + cpu * STRIDE;
    assert!(write(core, at + gicr::PROPBASER, config | ID_BITS));
    assert!(write(core, at + gicr::PENDBASER, pending));
}

#[test]
fn tables_are_held_while_lpis_are_on() {
    let core = world().boot();
    for cpu in 0..4 {
        name(&core, cpu, CONFIG, PENDING + cpu * 0x1_0000);
    }
    assert_counts(&core, CONFIG, 16, 0);
    for cpu in 0..4 {
        assert!(lpis_on(&core, cpu));
        assert!(lpis_on(&core, cpu), "once more");
        assert_counts(&core, PENDING + cpu * 0x1_0000, 2, 1);
        assert_counts(&core, PENDING + cpu * 0x1_0000 + 2 * PAGE_SIZE, 1, 0);
    }
    // One table for all.
    assert_counts(&core, CONFIG, 16, 1);
    assert_counts(&core, CONFIG + 16 * PAGE_SIZE, 1, 0);
    assert_eq!(take(&core, CONFIG), Err(Refused::Busy(pfn(CONFIG))));
    assert_eq!(take(&core, PENDING), Err(Refused::Busy(pfn(PENDING))));
    for cpu in 0..4 {
        assert_counts(&core, CONFIG, 16, 1);
        assert!(write_sized(&core, GICR + cpu * STRIDE, WORD, 0));
        assert_counts(&core, PENDING + cpu * 0x1_0000, 2, 0);
    }
    assert_counts(&core, CONFIG, 16, 0);
    take(&core, PENDING).unwrap();
}

#[test]
fn tables_are_held_until_lpis_are_really_off() {
    let core = world().boot();
    name(&core, 0, CONFIG, PENDING);
    assert!(lpis_on(&core, 0));
    // Hardware that lets nobody turn them off, and then one that takes its time.
    for stays in [gicr::ENABLE_LPIS, gicr::RWP] {
        assert!(write_sized(&core, GICR, WORD, stays));
        assert_counts(&core, PENDING, 2, 1);
        assert_refused(&core, GICR + gicr::PENDBASER, DOUBLE, PENDING + MIB);
    }
    core.machine().set_register(GICR, 0);
    assert_eq!(read_sized(&core, GICR, WORD), 0);
    assert_counts(&core, PENDING, 2, 0);
}

#[test]
fn tables_that_are_not_the_hosts_are_refused() {
    let core = world().boot();
    with_a_vms_page(&core);
    let carve_out = world().carve_out().start;
    for address in [VMS & !0xFFFF, carve_out, GICR, 1 << 46] {
        assert_refused(&core, GICR + gicr::PROPBASER, DOUBLE, address | ID_BITS);
        name(&core, 0, CONFIG, PENDING);
        assert_refused(&core, GICR + gicr::PENDBASER, DOUBLE, address);
    }
    // The size counts: a VM's page is the last one.
    assert_refused(&core, GICR + gicr::PROPBASER, DOUBLE, (VMS - 15 * PAGE_SIZE) | ID_BITS);
    // More LPIs than a table may have.
    assert_refused(&core, GICR + gicr::PROPBASER, DOUBLE, CONFIG | 24);
    // Who names nothing yet may say so.
    assert!(write(&core, GICR + gicr::PROPBASER, 0));
    assert!(write(&core, GICR + gicr::PENDBASER, 1 << 62));
    assert_refused(&core, GICR, WORD, gicr::ENABLE_LPIS);
}

#[test]
fn what_counts_is_whose_the_tables_are_when_lpis_are_turned_on() {
    let core = world().boot();
    name(&core, 1, CONFIG, PENDING);
    take(&core, PENDING + PAGE_SIZE).unwrap();
    assert_refused(&core, GICR + STRIDE, WORD, gicr::ENABLE_LPIS);
    assert_counts(&core, CONFIG, 16, 0);
    world::give(&core, PENDING + PAGE_SIZE);
    assert!(lpis_on(&core, 1));
    assert_counts(&core, CONFIG, 16, 1);
}

#[test]
fn the_other_registers_of_a_redistributor() {
    let core = world().boot();
    let typer = read(&core, GICR + gicr::TYPER);
    assert_eq!(typer & (gicr::TYPER_V4 | gicr::VLPIS | gicr::PLPIS), gicr::VLPIS | gicr::PLPIS);
    assert_eq!(read_sized(&core, GICR + gicr::TYPER, WORD), typer & 0xFFFF_FFFF);
    for (register, size) in
        [(gicr::WAKER, WORD), (gicr::STATUSR, WORD), (gicr::SETLPIR, DOUBLE), (gicr::INVALLR, DOUBLE)]
    {
        assert!(write_sized(&core, GICR + register, size, 0x2005));
        assert_eq!(core.machine().gic_register(GICR + (register & !7)) >> (8 * (register & 4)) & 0xFFFF, 0x2005);
    }
    for register in [gicr::INVLPIR, gicr::INVALLR] {
        assert_refused(&core, GICR + register, DOUBLE, gicr::VIRTUAL | 0x2005);
        assert_refused(&core, GICR + register + 4, WORD, gicr::VIRTUAL >> 32);
    }
    for register in [0x04, 0x08, 0x18, 0x20, 0x80, 0xC0, 0x100, 0x180, 0xFFC] {
        assert_refused(&core, GICR + register, WORD, 0);
    }
    assert_eq!(access(&core, GICR, DOUBLE, 0).0, Verdict::ExternalAbort);
    // There are no vPEs: their registers are zero.
    for register in [0x70, 0x78] {
        assert!(write(&core, GICR + gicr::VLPI_FRAME + register, u64::MAX));
        assert_eq!(read(&core, GICR + gicr::VLPI_FRAME + register), 0);
        assert_eq!(core.machine().gic_register(GICR + gicr::VLPI_FRAME + register), 0);
    }
    // The host's own: SGIs and PPIs, the distributor, what is behind the last one.
    for at in [GICR + 0x1_0000, GICR + 0xF000, GICR + 4 * STRIDE, 0x0800_0000] {
        assert_eq!(access(&core, at, WORD, 0).0, Verdict::Retry, "{at:#x}");
    }
}
