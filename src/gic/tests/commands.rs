// SPDX-License-Identifier: GPL-2.0-only
//! Commands of the host to an ITS.

use super::*;

const ITT: u64 = GIB + 24 * MIB;

#[test]
fn commands_arrive_as_they_were_given() {
    let core = running();
    let commands = [
        [command::MAPC, 0, 3 | command::VALID, 0],
        mapd(0x10, ITT),
        mapti(0x10, 3),
        [command::INV | 0x10 << 32, 3, 0, 0],
        [command::INT | 0x10 << 32, 3, 0, 0],
        [command::CLEAR | 0x10 << 32, 3, 0, 0],
        [command::MOVI | 0x10 << 32, 3, 1, 0],
        [command::MAPI | 0x10 << 32, 9, 1, 0],
        [command::INVALL, 0, 3, 0],
        [command::MOVALL, 0, 0x1_0000, 0x2_0000],
        [command::SYNC, 0, 0x1_0000, 0],
        [command::DISCARD | 0x10 << 32, 3, 0, 0],
        unmapd(0x10),
    ];
    give(&core, &commands);
    assert_eq!(core.machine().take_its_commands(0), commands);
    assert!(is_done(&core));
}

#[test]
fn an_itt_is_the_hosts_memory_and_stays_so_until_its_device_has_none() {
    let core = running();
    give(&core, &[mapd(0x10, ITT), mapti(0x10, 31)]);
    // 32 events of 12 bytes.
    assert_counts(&core, ITT, 1, 1);
    assert_counts(&core, ITT + PAGE_SIZE, 1, 0);
    assert_eq!(core.machine().take_its_writes(0), [ITT + 31 * sim::ITT_ENTRY]);
    assert_eq!(take(&core, ITT), Err(Refused::Busy(pfn(ITT))));
    // Another one in the same page, and one that goes over its end.
    give(&core, &[mapd(0x11, ITT + 0x400), mapd(0x12, ITT + 0xF00)]);
    assert_counts(&core, ITT, 2, 1);
    give(&core, &[unmapd(0x10), unmapd(0x11)]);
    assert!(is_done(&core));
    assert_counts(&core, ITT, 2, 1);
    // Another ITT for the device.
    give(&core, &[mapd(0x12, ITT + 0x1000)]);
    assert!(is_done(&core));
    assert_counts(&core, ITT, 1, 0);
    assert_counts(&core, ITT + PAGE_SIZE, 1, 1);
    give(&core, &[unmapd(0x12)]);
    assert!(is_done(&core));
    assert_counts(&core, ITT, 2, 0);
    take(&core, ITT).unwrap();
}

#[test]
fn an_itt_is_held_until_hardware_has_done_the_command_that_ends_it() {
    let core = running();
    give(&core, &[mapd(0x10, ITT)]);
    core.machine().slow_its(0, true);
    give(&core, &[unmapd(0x10), mapd(0x10, ITT + PAGE_SIZE)]);
    assert!(!is_done(&core));
    assert_counts(&core, ITT, 2, 1);
    core.machine().run_its(0, 1);
    assert!(!is_done(&core));
    assert_counts(&core, ITT, 1, 0);
    assert_counts(&core, ITT + PAGE_SIZE, 1, 1);
    core.machine().slow_its(0, false);
    assert!(is_done(&core));
}

#[test]
fn a_command_that_names_memory_of_others_is_left_out_and_looks_done() {
    let core = running();
    with_a_vms_page(&core);
    let carve_out = world().carve_out().start;
    let bad = [
        mapd(0x10, VMS),
        mapd(0x10, VMS - 0x100),
        mapd(0x10, carve_out),
        mapd(0x10, carve_out - 0x100),
        mapd(0x10, ITS),
        mapd(0x10, 0),
        mapd(0x10, 1 << 50),
        // More events than there are, or than there can be; a device that can't be.
        [command::MAPD | 0x10 << 32, 16, ITT | command::VALID, 0],
        [command::MAPD | 0x10 << 32, 12, ITT | command::VALID, 0],
        mapd(1 << 16, ITT),
        // vPEs, and what is no command.
        [0x21, 0, 0, 0],
        [0x22, 0, 0, 0],
        [0x23, 0, 0, 0],
        [0x25, 0, 0, 0],
        [0x29, 0, command::VALID, VMS],
        [0x2A, 0, 0, 0],
        [0x2B, 0, 0, 0],
        [0x2D, 0, 0, 0],
        [0x2E, 0, 0, 0],
        [0, 0, 0, 0],
        [0xFF, 0, 0, 0],
    ];
    let before = world::snapshot(&core);
    for words in bad {
        let refused = stat(&core, stat::REFUSED_ACCESS);
        give(&core, &[words]);
        assert!(is_done(&core), "{words:#x?}");
        assert_eq!(stat(&core, stat::REFUSED_ACCESS), refused + 1, "{words:#x?}");
        assert_eq!(core.machine().take_its_commands(0), Vec::<[u64; 4]>::new(), "{words:#x?}");
        put(&core, 0, &std::vec![[0; 4]; 128]);
        assert_eq!(world::snapshot(&core), before);
    }
    // A device keeps the ITT that it has.
    give(&core, &[mapd(0x10, ITT), mapd(0x10, VMS), mapti(0x10, 0)]);
    assert_counts(&core, ITT, 1, 1);
    assert_eq!(core.machine().take_its_writes(0), [ITT]);
}

#[test]
fn each_word_of_the_queue_is_read_once() {
    // A host that swaps the address behind the check.
    use std::sync::atomic::{AtomicU64, Ordering};
    let core = running();
    with_a_vms_page(&core);
    put(&core, 0, &[mapd(0x10, ITT)]);
    let reads = std::sync::Arc::new(AtomicU64::new(0));
    let seen = reads.clone();
    core.machine().on_shared_load(move |at| {
        (at == pa(QUEUE + 16) && seen.fetch_add(1, Ordering::Relaxed) > 0).then_some(VMS | command::VALID)
    });
    assert!(write(&core, ITS + gits::CWRITER, COMMAND));
    assert_eq!(core.machine().take_its_commands(0), [mapd(0x10, ITT)]);
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[test]
fn the_hosts_queue_goes_round_and_may_be_longer_than_ours() {
    let core = world().boot();
    assert!(write(&core, ITS + gits::CBASER, gits::VALID | QUEUE | 3));
    ctlr(&core, gits::ENABLED);
    let command = |n: u64| [command::INV | n << 32, n, 0, 0];
    let (mut writer, mut number) = (0, 0);
    for _ in 0..10 {
        // More than ours holds, in one go.
        let first = number;
        for _ in 0..300 {
            core.machine().shared_store_words(pa(QUEUE + writer), &command(number));
            writer = (writer + COMMAND) % (4 * PAGE_SIZE);
            number += 1;
        }
        assert!(write(&core, ITS + gits::CWRITER, writer));
        let mut looks = 0;
        while !is_done(&core) {
            looks += 1;
        }
        assert!((1..20).contains(&looks), "{looks}");
        let expected: Vec<_> = (first..number).map(command).collect();
        assert_eq!(core.machine().take_its_commands(0), expected);
    }
    // Beyond its end.
    assert_refused(&core, ITS + gits::CWRITER, DOUBLE, 4 * PAGE_SIZE);
}

#[test]
fn the_host_sees_how_far_hardware_is() {
    let core = running();
    core.machine().slow_its(0, true);
    let bad = [0x29, 0, 0, 0];
    give(&core, &[mapd(1, ITT), bad, bad, mapti(1, 0), bad]);
    assert_eq!(read(&core, ITS + gits::CREADR), 0);
    core.machine().run_its(0, 1);
    assert_eq!(read(&core, ITS + gits::CREADR), 3 * COMMAND);
    core.machine().run_its(0, 1);
    assert_eq!(read(&core, ITS + gits::CREADR), 5 * COMMAND);
    assert!(is_done(&core));
    // One that says nonsense stays where it was.
    give(&core, &[mapti(1, 1)]);
    core.machine().set_register(ITS + gits::CREADR, 0xFFFF_FFFF);
    assert_eq!(read(&core, ITS + gits::CREADR) & !gits::STALLED, 5 * COMMAND);
}

#[test]
fn commands_wait_for_an_its_that_is_off() {
    let core = running();
    ctlr(&core, 0);
    give(&core, &[mapd(1, ITT)]);
    assert!(!is_done(&core));
    assert_counts(&core, ITT, 1, 0);
    ctlr(&core, gits::ENABLED);
    assert!(is_done(&core));
    assert_counts(&core, ITT, 1, 1);
}

#[test]
fn a_host_that_starts_anew_finds_empty_tables_and_its_memory_free() {
    let core = running();
    give(&core, &[mapd(1, ITT), mapd(2, ITT + PAGE_SIZE)]);
    core.machine().slow_its(0, true);
    give(&core, &[unmapd(1)]);
    ctlr(&core, 0);
    // As it goes on after a sleep: nothing is lost.
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE | 1));
    assert_counts(&core, ITT, 2, 1);
    // As the next kernel starts.
    assert!(write(&core, ITS + DEVICES, gits::VALID | (TABLE + MIB / 2)));
    assert_counts(&core, ITT, 2, 0);
    assert_counts(&core, TABLE, 2, 0);
    core.machine().slow_its(0, false);
    assert!(write(&core, ITS + gits::CBASER, gits::VALID | QUEUE));
    assert_eq!(read(&core, ITS + gits::CWRITER), 0);
    ctlr(&core, gits::ENABLED);
    core.machine().take_its_commands(0);
    give(&core, &[mapd(1, ITT)]);
    assert!(is_done(&core));
    assert_eq!(core.machine().take_its_commands(0), [mapd(1, ITT)]);
}

#[test]
fn a_queue_that_is_left_with_commands_to_do_takes_the_itts_with_it() {
    let core = running();
    give(&core, &[mapd(1, ITT)]);
    core.machine().slow_its(0, true);
    give(&core, &[unmapd(1), mapd(2, ITT + PAGE_SIZE)]);
    ctlr(&core, 0);
    assert_counts(&core, ITT, 2, 1);
    assert!(write(&core, ITS + gits::CBASER, gits::VALID | (QUEUE + PAGE_SIZE)));
    assert_counts(&core, ITT, 2, 0);
    assert_counts(&core, QUEUE, 1, 0);
}

#[test]
fn there_is_room_for_so_many_devices() {
    let core = running();
    // One each 512 devices: the parts of the table.
    let mut refused = None;
    for n in 0..20 {
        give(&core, &[mapd(512 * n, ITT + n * PAGE_SIZE)]);
        assert!(is_done(&core));
        if stat(&core, stat::REFUSED_ACCESS) > 0 {
            refused = refused.or(Some(n));
        }
    }
    assert_eq!(refused, Some(15), "the 16 pages but the first");
    for n in 0..15 {
        give(&core, &[unmapd(512 * n)]);
        assert!(is_done(&core));
    }
    // ITTs that can be held, 16 in each page.
    let before = stat(&core, stat::REFUSED_ACCESS);
    let mut mapped = 0;
    while stat(&core, stat::REFUSED_ACCESS) == before {
        give(&core, &[[command::MAPD | mapped << 32, 0, (ITT + mapped * 0x100) | command::VALID, 0]]);
        assert!(is_done(&core));
        mapped += 1;
    }
    assert!(mapped > 256, "{mapped}");
    assert_counts(&core, ITT, mapped as usize / 16, 1);
}

#[test]
fn a_target_by_address_is_a_redistributor() {
    let core = running();
    let at = ITS + gits::TYPER;
    core.machine().set_register(at, sim::ITS_TYPER);
    // The simulated one has numbers; so ask for the rule itself.
    let mut nothing = Held::nothing();
    let (mut gic, _) = core.gic().lock(&mut nothing);
    gic.its[0].typer |= gits::PTA;
    drop(gic);
    for (target, may) in [(GICR, true), (GICR + 3 * STRIDE, true), (GICR + 4 * STRIDE, false), (VMS, false), (0, false)]
    {
        for words in [
            [command::MAPC, 0, target | command::VALID, 0],
            [command::SYNC, 0, target, 0],
            [command::MOVALL, 0, GICR, target],
            [command::MOVALL, 0, target, GICR],
        ] {
            give(&core, &[words]);
            assert!(is_done(&core));
            assert_eq!(core.machine().take_its_commands(0).len(), usize::from(may), "{words:#x?}");
        }
    }
    give(&core, &[[command::MAPC, 0, VMS, 0]]);
    assert_eq!(core.machine().take_its_commands(0).len(), 1, "a collection that is none");
}
