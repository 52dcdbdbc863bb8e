// SPDX-License-Identifier: GPL-2.0-only
//! MM-1 row by row, and pages that change hands.

mod handler;
mod ops;
mod random;
mod vm;

use super::{Count, HOST_GFN_OFFSET, S2Page};
use crate::abi::stat;
use crate::addr::{COREVISOR, HOSTVISOR, PAGE_SIZE, Vmid};
use crate::lock::Held;
use crate::npt::{Desc, Level, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::refused::Refused;
use crate::world::{Core, GIB, MIB, World, give, ipa, pfn, range, snapshot, stat, take};
use std::vec;

const PAGE: u64 = GIB + 5 * MIB;

/// The host's only mapping of [`PAGE`] is taken away, and the page's record becomes `record`.
fn unmapped_with(core: &Core, record: S2Page) {
    core.clear_pfn_host(pfn(PAGE), &mut Held::nothing()).unwrap();
    core.acquire_lock_s2page(&mut Held::nothing()).0.set_record(pfn(PAGE), record);
}

fn touch(core: &Core, address: u64) -> Result<(), Refused> {
    core.map_page_host(ipa(address), &mut Held::nothing())
}

// Tests: MM-1
#[test]
fn what_a_touch_of_ram_does_follows_from_owner_and_count() {
    let vm = |v| Vmid::new_vm(v).unwrap();
    let host_gfn = Some(PAGE / PAGE_SIZE + HOST_GFN_OFFSET);
    let refused = Err(Refused::NotHostPage(pfn(PAGE)));
    let rows = [
        (HOSTVISOR, Count::Shares(0), host_gfn, Ok(())),
        (HOSTVISOR, Count::Shares(1), host_gfn, Ok(())),
        (HOSTVISOR, Count::Shares(16), host_gfn, Ok(())),
        (vm(1), Count::Shares(0), Some(7), refused),
        (vm(1), Count::Shares(1), Some(7), Ok(())),
        (vm(15), Count::Shares(100), Some(7), Ok(())),
        (vm(1), Count::DmaPending, Some(7), refused), // D-01
        (vm(15), Count::Shares(0), None, refused),
        (COREVISOR, Count::Shares(0), None, refused), // D-06
        (COREVISOR, Count::Shares(0), Some(1), refused),
        (COREVISOR, Count::DmaPending, None, refused),
    ];
    for (owner, count, gfn, expected) in rows {
        let row = (owner, count, gfn);
        let core = World::default().boot();
        unmapped_with(&core, S2Page::new(owner, count, gfn));
        let before = snapshot(&core);
        assert_eq!(touch(&core, PAGE + 0xFFF), expected, "{row:?}");
        let leaf = core.machine().access(HOSTVISOR, ipa(PAGE));
        if expected.is_ok() {
            let leaf = leaf.unwrap();
            assert_eq!((leaf.ipa, leaf.size, leaf.descriptor), (PAGE, PAGE_SIZE, PAGE | PAGE_S2_KERNEL), "{row:?}");
        } else {
            assert!(leaf.is_err(), "{row:?}");
            assert_eq!(snapshot(&core), before, "{row:?}");
        }
        let record = core.s2page().lock(&mut Held::nothing()).0.records[(PAGE - GIB) as usize / 4096];
        assert_eq!(
            (record.owner(), record.count(), record.gfn()),
            (Some(owner), count, gfn),
            "a touch changes no record"
        );
        assert_eq!(stat(&core, stat::HOST_FAULT_RAM), expected.is_ok().into(), "{row:?}");
        assert_eq!(stat(&core, stat::HOST_FAULT_DEVICE), 0);
    }
}

// Tests: MM-1
#[test]
fn a_touch_of_what_is_no_ram_maps_it_as_a_device() {
    let no_map = range(GIB + 8 * MIB, 0x3000);
    let core = World { no_map: vec![no_map], ..World::default() }.boot();
    for (address, size) in [(0x0900_0000, 2 * MIB), (no_map.start + 0x1000, PAGE_SIZE), (GIB - 1, 2 * MIB)] {
        touch(&core, address).unwrap();
        let leaf = core.machine().access(HOSTVISOR, ipa(address)).unwrap();
        let block_bit = if size == PAGE_SIZE { 0 } else { 0b10 };
        let start = address & !(size - 1);
        assert_eq!((leaf.size, leaf.descriptor), (size, start | (PAGE_S2_DEVICE | S2_RDWR) & !block_bit));
    }
    assert_eq!((stat(&core, stat::HOST_FAULT_DEVICE), stat(&core, stat::HOST_FAULT_RAM)), (3, 0));
}

// Tests: MM-1
#[test]
fn a_device_beside_one_that_is_mapped_by_a_page_gets_a_page() {
    let core = World::default().boot();
    let (page, beside) = (0x0900_0000, 0x0900_1000);
    let leaf = Desc::leaf(pfn(page).base(), Level::L3, PAGE_S2_DEVICE | S2_RDWR);
    core.map_s2pt(HOSTVISOR, ipa(page), Level::L3, leaf, &mut Held::nothing()).unwrap();
    touch(&core, beside).unwrap();
    assert_eq!(core.machine().access(HOSTVISOR, ipa(beside)).unwrap().size, PAGE_SIZE);
    assert!(core.machine().access(HOSTVISOR, ipa(page + 0x2000)).is_err());
}

// Tests: MM-1
#[test]
fn every_page_of_corevisor_is_refused() {
    let world = World { image: Some(range(GIB + 4 * MIB, 0x5000)), ..World::default() };
    let core = world.boot();
    let before = snapshot(&core);
    for address in world.owned().iter().flat_map(|r| (r.start..r.end).step_by(PAGE_SIZE as usize)) {
        assert_eq!(touch(&core, address), Err(Refused::NotHostPage(pfn(address))));
        assert_eq!(take(&core, address), Err(Refused::NotHostPage(pfn(address))));
        give(&core, address);
    }
    assert_eq!(snapshot(&core), before);
    assert_eq!(stat(&core, stat::COREVISOR_PAGES), world.owned().iter().map(|r| r.size() / PAGE_SIZE).sum::<u64>());
    assert_eq!(stat(&core, stat::RAM_PAGES), GIB / PAGE_SIZE);
}

// Tests: MM-2, MM-3
#[test]
fn a_page_goes_to_a_vm_and_back() {
    let core = World::default().boot();
    take(&core, PAGE).unwrap();
    let taken = snapshot(&core);
    assert_eq!(touch(&core, PAGE), Err(Refused::NotHostPage(pfn(PAGE))));
    assert_eq!(take(&core, PAGE), Ok(()), "it is there already");
    assert_eq!(snapshot(&core), taken);
    give(&core, PAGE);
    let given = snapshot(&core);
    assert_ne!(given, taken);
    give(&core, PAGE);
    assert_eq!(snapshot(&core), given);
    touch(&core, PAGE).unwrap();
    assert_eq!(stat(&core, stat::HOST_FAULT_RAM), 1);
    take(&core, PAGE).unwrap();
    assert_eq!(snapshot(&core), taken);
}

// Tests: MM-2, MM-3
#[test]
fn a_page_in_use_or_of_another_vm_or_no_ram_is_not_taken() {
    let core = World::default().boot();
    let vm = Vmid::new_vm(3).unwrap();
    let gfn = Some(PAGE / PAGE_SIZE + HOST_GFN_OFFSET);
    let rows = [
        (S2Page::new(HOSTVISOR, Count::Shares(1), gfn), Refused::Busy(pfn(PAGE))),
        (S2Page::new(HOSTVISOR, Count::Shares(16), gfn), Refused::Busy(pfn(PAGE))),
        (S2Page::new(vm, Count::Shares(0), Some(1)), Refused::NotHostPage(pfn(PAGE))),
        (S2Page::new(vm, Count::Shares(2), Some(1)), Refused::NotHostPage(pfn(PAGE))),
        (S2Page::new(vm, Count::DmaPending, Some(1)), Refused::NotHostPage(pfn(PAGE))),
    ];
    for (record, why) in rows {
        core.acquire_lock_s2page(&mut Held::nothing()).0.set_record(pfn(PAGE), record);
        let before = snapshot(&core);
        assert_eq!(take(&core, PAGE), Err(why));
        give(&core, PAGE);
        assert_eq!(snapshot(&core), before);
    }
    for address in [0, GIB - PAGE_SIZE, 2 * GIB, (1 << 48) - PAGE_SIZE] {
        assert_eq!(take(&core, address), Err(Refused::NotHostPage(pfn(address))));
        give(&core, address);
    }
}

// Tests: PI-1, PM-1, PM-3, PM-5, LK-3
#[test]
fn the_record_of_every_page_is_right_at_boot() {
    let world = World {
        ram: vec![range(GIB + 0x3000, 16 * MIB), range(GIB / 2, 4 * MIB), range(3 * GIB, 8 * MIB)],
        no_map: vec![range(GIB + 0x3000, 0x2000), range(GIB / 2 + MIB, 0x4000)],
        image: Some(range(GIB + 2 * MIB, 0x9000)),
        ..World::default()
    };
    let core = world.boot();
    let mut nothing = Held::nothing();
    let (section, _held) = core.acquire_lock_s2page(&mut nothing);
    let within = |ranges: &[crate::addr::Range], address| ranges.iter().any(|r| r.contains(address));
    for ram in &world.ram {
        for address in (ram.start - PAGE_SIZE..ram.end + PAGE_SIZE).step_by(PAGE_SIZE as usize) {
            let number = address / PAGE_SIZE;
            let got = (section.get_pfn_owner(pfn(address)), section.get_pfn_map(pfn(address)));
            let expected = match () {
                () if within(&world.no_map, address) || !within(&world.ram, address) => (None, None),
                () if within(&world.owned(), address) => (Some(COREVISOR), Some(number)),
                () => (Some(HOSTVISOR), Some(number + HOST_GFN_OFFSET)),
            };
            assert_eq!(got, expected, "{address:#x}");
            let count = if got.0.is_none() { Count::DmaPending } else { Count::Shares(0) };
            assert_eq!(section.get_pfn_count(pfn(address)), count, "{address:#x}");
        }
    }
}

// Tests: PM-1, PM-2, PM-4, PM-6
#[test]
fn setters_ignore_what_is_no_ram() {
    let core = World::default().boot();
    let before = snapshot(&core);
    {
        let mut nothing = Held::nothing();
        let (mut section, _held) = core.acquire_lock_s2page(&mut nothing);
        for address in [0, GIB - PAGE_SIZE, 2 * GIB] {
            section.set_pfn_owner(pfn(address), COREVISOR);
            section.set_pfn_count(pfn(address), Count::Shares(1));
            section.set_pfn_map(pfn(address), None);
            assert_eq!(section.get_pfn_owner(pfn(address)), None);
        }
    }
    assert_eq!(snapshot(&core), before);
}
