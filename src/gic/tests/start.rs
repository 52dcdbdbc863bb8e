// SPDX-License-Identifier: GPL-2.0-only
//! How Corevisor finds the interrupt controllers, and takes them over.

use super::*;
use crate::gic::registers::FRAME;

/// A machine as [`World::boot`] has it, which `edit` has changed before.
fn booted(edit: impl FnOnce(&SimMachine)) -> Core {
    let (world, config) = (world(), world().config());
    sim::set_cpu(0);
    let machine = SimMachine::new(world.carve_out());
    machine.attach_gic(&config.gic);
    edit(&machine);
    sim::boot_on(machine, config, world.carve_out()).unwrap()
}

#[test]
fn an_its_that_was_on_is_off_and_empty() {
    let core = booted(|_| {});
    assert!(core.its_usable(&mut Held::nothing())[0]);
    assert_eq!(read_sized(&core, ITS, WORD), gits::QUIESCENT);
    assert_eq!(core.machine().take_its_commands(0), Vec::<[u64; 4]>::new());
}

#[test]
fn an_its_that_does_not_become_quiet_is_of_no_use_to_anybody() {
    let core = booted(|machine| machine.stick_its(0));
    assert!(!core.its_usable(&mut Held::nothing())[0]);
    let before = core.machine().gic_register(ITS);
    for register in [gits::CTLR, gits::CBASER, DEVICES] {
        assert!(write_sized(&core, ITS + register, WORD, 0xFFFF_FFFF));
        assert_eq!(read_sized(&core, ITS + register, WORD), 0);
    }
    assert_eq!(core.machine().gic_register(ITS), before);
}

#[test]
fn tables_are_flat_where_hardware_knows_no_others() {
    for (page_size, flat, devices) in [(None, true, 8192), (Some(2), false, 8192), (Some(1), false, 3 * 2048)] {
        let core = booted(|machine| machine.limit_its(0, page_size, flat));
        assert!(core.its_usable(&mut Held::nothing())[0]);
        assert!(write(&core, ITS + gits::CBASER, gits::VALID | QUEUE));
        ctlr(&core, gits::ENABLED);
        for device in [0, devices / 2, devices - 1] {
            give(&core, &[mapd(device, GIB)]);
            assert_eq!(core.machine().take_its_commands(0), [mapd(device, GIB)], "{page_size:?} {flat} {device}");
        }
        give(&core, &[mapd(devices, GIB)]);
        assert_eq!(core.machine().take_its_commands(0), Vec::<[u64; 4]>::new(), "{page_size:?} {flat}");
    }
}

#[test]
fn redistributors_are_counted_by_what_they_say() {
    let core = world().boot();
    let find = |size, stride| Redistributors::find(core.machine(), range(GICR, size), stride);
    let all = Redistributors { first: GICR, stride: STRIDE, count: 4 };
    assert_eq!(find(64 * FRAME, None), Some(all));
    assert_eq!(find(64 * FRAME, Some(STRIDE)), Some(all));
    assert_eq!(find(STRIDE * 2, None), Some(Redistributors { count: 2, ..all }));
    assert_eq!(find(FRAME, None), None);
    assert_eq!(find(64 * FRAME, Some(FRAME)), None);
    assert!(all.have_lpis(core.machine()));
}

#[test]
fn lpis_that_the_bootloader_left_on_are_turned_off() {
    let core = booted(|machine| {
        machine.set_register(GICR + gicr::PROPBASER, world().carve_out().start | 15);
        machine.set_register(GICR, gicr::ENABLE_LPIS);
    });
    core.take_over_lpis(|at| panic!("{at:#x}"));
    assert_eq!(core.machine().gic_register(GICR), 0);
}

#[test]
fn lpis_that_stay_on_need_tables_of_the_hosts() {
    let (config, pending) = (GIB + 8 * MIB, GIB + 12 * MIB);
    for (config, hosts) in [(config, true), (world().carve_out().start, false)] {
        let core = booted(|machine| {
            machine.set_register(GICR + gicr::PROPBASER, config | 15);
            machine.set_register(GICR + gicr::PENDBASER, pending);
            machine.set_register(GICR, gicr::ENABLE_LPIS);
            machine.stick_lpis(GICR);
        });
        let mut left = Vec::new();
        core.take_over_lpis(|at| left.push(at));
        assert_eq!(left, if hosts { std::vec![] } else { std::vec![GICR] });
        assert_counts(&core, pending, 2, u8::from(hosts));
        assert_refused(&core, GICR + gicr::PENDBASER, DOUBLE, pending);
    }
}

#[test]
fn hardware_that_shares_no_caches_uses_none() {
    let shared = booted(|_| {});
    let alone = booted(|machine| machine.leave_its_alone(0));
    assert!(alone.its_usable(&mut Held::nothing())[0]);
    for register in [gits::CBASER, DEVICES, COLLECTIONS] {
        let cacheability = |core: &Core| (core.machine().gic_register(ITS + register) >> 59) & 7;
        assert_eq!((cacheability(&shared), cacheability(&alone)), (7, 1));
    }
}

#[test]
fn each_its_has_pages_of_its_own() {
    let core = world().boot();
    let free = |core: &Core| core.frames().lock(&mut Held::nothing()).0.vm_pages();
    assert_eq!(free(&core), free(&World::default().boot()), "VMs have the same");
}

#[test]
fn a_machine_without_its_and_lpis_is_left_as_it_is() {
    let core = World::default().boot();
    let found = |its: &[Range]| {
        let mut gicr = crate::platform::discover::Redistributors::default();
        gicr.regions.push(range(GICR, 8 * FRAME));
        Config::find(core.machine(), its, &gicr)
    };
    let none = found(&[]).unwrap();
    assert!(none.its.is_empty() && none.redistributors.is_empty());
    assert_eq!(found(&[range(ITS, 2 * FRAME)]).unwrap().redistributors[0].stride, 2 * FRAME);
    core.machine().set_register(GICR + gicr::TYPER, gicr::PLPIS | gicr::LAST);
    let lpis = found(&[]).unwrap();
    assert_eq!(lpis.redistributors[..], [Redistributors { first: GICR, stride: 2 * FRAME, count: 1 }]);
    let mut small = crate::platform::discover::Redistributors::default();
    small.regions.push(range(GICR, FRAME));
    assert!(Config::find(core.machine(), &[], &small).is_err());
}
