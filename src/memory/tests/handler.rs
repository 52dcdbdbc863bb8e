// SPDX-License-Identifier: GPL-2.0-only
//! MemHandler: what the host asks for, bounded.

use super::touch;
use crate::addr::{COREVISOR, HOSTVISOR, PAGE_SIZE, PMD_PAGES, PMD_SIZE, Range, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::memory::{Count, HOST_GFN_OFFSET, S2Page};
use crate::mmio::{ContextBank, SmmuConfig, SmmuIndex};
use crate::npt::{Level, PAGE_S2_DEVICE, S2_RDWR};
use crate::refused::Refused;
use crate::vm::{VcpuState, VmState};
use crate::world::{Core, GIB, MIB, World, ipa, pa, range, record, set_state, snapshot, vm};
use std::vec;
use std::vec::Vec;

const BLOCK: u64 = GIB + 64 * MIB;

fn clear(core: &Core, v: Vmid, start: u64, size: u64) -> Result<u64, Refused> {
    let left = core.clear_vm_stage2_range(v, pa(start), size, &mut Held::nothing());
    core.machine().check();
    left
}

/// Calls MH-1 until it is done; what was left after each call.
fn clear_all(core: &Core, v: Vmid, start: u64, size: u64) -> Vec<u64> {
    let mut left = vec![size];
    while left[left.len() - 1] > 0 {
        let last = left[left.len() - 1];
        left.push(clear(core, v, start + size - last, last).unwrap());
        assert!(left[left.len() - 1] < last, "it goes on");
    }
    left
}

/// A VM that has run with `blocks` blocks from [`BLOCK`] on, and is off.
fn powered_off(core: &Core, blocks: u64) -> Vmid {
    let v = vm(core, 1, VmState::Verified);
    for i in 0..blocks {
        let (at, block) = (ipa(i * PMD_SIZE), pa(BLOCK + i * PMD_SIZE));
        core.prot_and_map_vm_s2pt(v, at, block, Level::L2, &mut Held::nothing()).unwrap();
        core.machine().write_page(block.frame(), &[0xA5; 4096]);
    }
    set_state(core, v, VmState::Poweroff);
    v
}

fn owned_by(core: &Core, v: Vmid) -> u64 {
    core.acquire_lock_s2page(&mut Held::nothing()).0.pages_of(v)
}

// Tests: MH-1, MO-1, MM-2
#[test]
fn a_vm_that_is_off_gives_its_pages_back_in_parts() {
    let world = World {
        ram: vec![range(GIB, 512 * MIB), range(1 << 39, 64 * MIB)],
        no_map: vec![range(GIB + 32 * MIB + 0x3000, 0x5000)],
        ..World::default()
    };
    let core = world.boot();
    let v = powered_off(&core, 3);
    assert_eq!(owned_by(&core, v), 3 * PMD_PAGES);
    let last = (1 << 39) + 0x6000;
    core.vm(v).lock(&mut Held::nothing()).0.state = VmState::Verified;
    core.prot_and_map_vm_s2pt(v, ipa(GIB), pa(last), Level::L3, &mut Held::nothing()).unwrap();
    set_state(&core, v, VmState::Poweroff);
    let end = 1 << 48;
    let calls = clear_all(&core, v, 0, end - 1);
    // 512 pages, 512 pages, 512 pages, then as many records as may be, then the rest.
    let done: Vec<_> = calls.iter().map(|left| end - 1 - left).collect();
    assert_eq!(done[..4], [0, BLOCK + PMD_SIZE, BLOCK + 2 * PMD_SIZE, BLOCK + 3 * PMD_SIZE]);
    assert!(done.len() < 8, "untracked memory is not looked at page by page: {done:x?}");
    assert_eq!(owned_by(&core, v), 0);
    assert!(core.machine().leaves(v).is_empty() && core.machine().written_pages().is_empty());
    for page in [BLOCK, BLOCK + 3 * PMD_SIZE - PAGE_SIZE, last] {
        let gfn = Some(page / PAGE_SIZE + HOST_GFN_OFFSET);
        assert_eq!(record(&core, page), S2Page::new(HOSTVISOR, Count::Shares(0), gfn));
        touch(&core, page).unwrap();
    }
}

// Tests: MH-1
#[test]
fn only_what_lies_in_the_range_is_cleared() {
    let core = World::default().boot();
    let v = powered_off(&core, 1);
    assert_eq!(clear(&core, v, BLOCK + 0x10, 2 * PAGE_SIZE + 0xFFF), Ok(0), "two pages, by number");
    assert_eq!(owned_by(&core, v), PMD_PAGES - 2);
    let before = snapshot(&core);
    for (start, size) in
        [(BLOCK, 0), (BLOCK, 0xFFF), (0, GIB), (2 * GIB, GIB), (BLOCK - MIB, MIB), ((1 << 48) - 1, 1 << 40)]
    {
        assert_eq!(clear(&core, v, start, size), Ok(0), "{start:#x}");
    }
    assert_eq!(snapshot(&core), before);
    assert_eq!(clear(&core, v, BLOCK, PMD_SIZE), Ok(0));
    assert_eq!(owned_by(&core, v), 0);
}

// Tests: MH-1
#[test]
fn a_call_looks_at_so_many_records_and_no_more() {
    let core = World::default().boot();
    let v = powered_off(&core, 0);
    let ram = World::default().ram[0];
    assert_eq!(clear(&core, v, ram.start, ram.size()), Ok(ram.size() - 65536 * PAGE_SIZE));
    assert_eq!(clear_all(&core, v, ram.start, ram.size()).len() as u64 - 1, ram.size() / PAGE_SIZE / 65536);
}

// Tests: MH-1
#[test]
fn pages_that_could_still_be_used_are_not_cleared() {
    let smmu = SmmuConfig::new(range(0x0905_0000, 0x2_0000), 8);
    let core = World { smmus: vec![smmu], ..World::default() }.boot();
    let v = powered_off(&core, 1);
    let everything = 1 << 40;
    for state in [VmState::Unused, VmState::Ready, VmState::Verified] {
        set_state(&core, v, state);
        let before = snapshot(&core);
        assert_eq!(clear(&core, v, 0, everything), Ok(0), "{state:?}: nothing happens");
        assert_eq!(snapshot(&core), before);
    }
    set_state(&core, v, VmState::Poweroff);
    // D-75: a vCPU still runs.
    core.vm(v).lock(&mut Held::nothing()).0.vcpus[7].state = VcpuState::Active;
    let before = snapshot(&core);
    assert_eq!(clear(&core, v, 0, everything), Err(Refused::State(v)));
    assert_eq!(snapshot(&core), before);
    core.vm(v).lock(&mut Held::nothing()).0.vcpus[7].state = VcpuState::Ready;
    // D-68: a device still may.
    let (k, b) = (SmmuIndex::new(0).unwrap(), ContextBank::new(3).unwrap());
    core.acquire_lock_smmu(&mut Held::nothing()).0.set_owner(k, b, Some(v));
    let before = snapshot(&core);
    assert_eq!(clear(&core, v, 0, everything), Err(Refused::Bank));
    assert_eq!(snapshot(&core), before);
    core.acquire_lock_smmu(&mut Held::nothing()).0.set_owner(k, b, None);
    // Host and Corevisor are no VMs, whatever their record says.
    for other in [HOSTVISOR, COREVISOR] {
        set_state(&core, other, VmState::Poweroff);
        let before = snapshot(&core);
        assert_eq!(clear(&core, other, 0, everything), Ok(0));
        assert_eq!(snapshot(&core), before);
    }
    assert_eq!(clear_all(&core, v, 0, everything).last(), Some(&0));
    assert_eq!(owned_by(&core, v), 0);
}

const UART: Range = Range { start: 0x0900_0000, end: 0x0900_1000 };

fn devices() -> World {
    let smmu = SmmuConfig::new(range(0x0905_0000, 0x2_0000), 8);
    World { withheld: vec![UART], smmus: vec![smmu], ..World::default() }
}

fn ioremap(core: &Core, v: Vmid, gpa: u64, device: u64, size: u64) -> Result<u64, Refused> {
    let left = core.kvm_phys_addr_ioremap(v, ipa(gpa), pa(device), size, &mut Held::nothing());
    core.machine().check();
    left
}

// Tests: MH-3, BO-13, MM-5
#[test]
fn devices_are_mapped_in_parts() {
    let core = devices().boot();
    let v = vm(&core, 1, VmState::Ready);
    let (gpa, device, size) = (0x1_0000_0800, 0x1000_0000, 1100 * PAGE_SIZE - 5);
    assert_eq!(ioremap(&core, v, gpa, device, 0), Ok(0));
    assert!(core.machine().leaves(v).is_empty());
    let mut left = vec![size];
    while left[left.len() - 1] > 0 {
        let (last, done) = (left[left.len() - 1], size - left[left.len() - 1]);
        left.push(ioremap(&core, v, gpa + done, device + done, last).unwrap());
    }
    assert_eq!(left, [size, size - PMD_SIZE, size - 2 * PMD_SIZE, 0]);
    let leaves = core.machine().leaves(v);
    assert_eq!(leaves.len(), 1100);
    for (i, leaf) in (0..).zip(leaves) {
        assert_eq!(leaf.ipa, 0x1_0000_0000 + i * PAGE_SIZE);
        assert_eq!(leaf.descriptor, (device + i * PAGE_SIZE) | PAGE_S2_DEVICE | S2_RDWR);
    }
}

// Tests: MH-3, BO-13
#[test]
fn device_ranges_that_can_not_be_are_refused_whole() {
    let core = devices().boot();
    let [v, absent] = [vm(&core, 1, VmState::Ready), Vmid::new_vm(2).unwrap()];
    let before = snapshot(&core);
    let end = 1 << 48;
    let rows = [
        (HOSTVISOR, 0, 0x1000_0000, PAGE_SIZE, Refused::Argument(1)), // D-52
        (COREVISOR, 0, 0x1000_0000, PAGE_SIZE, Refused::Argument(1)),
        (absent, 0, 0x1000_0000, PAGE_SIZE, Refused::State(absent)),
        (v, 0, 0x1000_0000, u64::MAX, Refused::Argument(4)),
        (v, end - PAGE_SIZE, 0x1000_0000, 2 * PAGE_SIZE, Refused::Argument(4)),
        (v, 0, end - PAGE_SIZE, 2 * PAGE_SIZE, Refused::Argument(4)),
        (v, (1 << 40) - PAGE_SIZE, 0x1000_0000, 2 * PAGE_SIZE, Refused::OutOfReach),
        (v, 0, (1 << 40) - PAGE_SIZE, 2 * PAGE_SIZE, Refused::OutOfReach),
        // D-83
        (v, 0, UART.start, PAGE_SIZE, Refused::OutOfReach),
        (v, 0, UART.start - 600 * PAGE_SIZE, 601 * PAGE_SIZE, Refused::OutOfReach),
        (v, 0, 0x0904_F000, PAGE_SIZE + 1, Refused::OutOfReach),
        (v, 0, 0x0906_FFFF, 1, Refused::OutOfReach),
    ];
    for (v, gpa, device, size, why) in rows {
        assert_eq!(ioremap(&core, v, gpa, device, size), Err(why), "{gpa:#x} {device:#x} {size:#x}");
        assert_eq!(snapshot(&core), before, "{gpa:#x} {device:#x} {size:#x}");
    }
    for state in [VmState::Unused, VmState::Verified, VmState::Poweroff] {
        set_state(&core, v, state);
        let before = snapshot(&core);
        assert_eq!(ioremap(&core, v, 0, 0x1000_0000, PAGE_SIZE), Err(Refused::State(v)), "{state:?}, D-08");
        let one = core.map_io(v, ipa(0), pa(0x1000_0000), &mut Held::nothing());
        assert_eq!(one, Err(Refused::State(v)), "{state:?}, D-08");
        assert_eq!(snapshot(&core), before);
    }
}

// Tests: MH-3
#[test]
fn what_stops_a_range_is_told_when_it_is_first() {
    let core = devices().boot();
    let v = vm(&core, 1, VmState::Ready);
    core.map_io(v, ipa(3 * PAGE_SIZE), pa(0x2000_0000), &mut Held::nothing()).unwrap();
    let (device, size) = (0x1000_0000, 8 * PAGE_SIZE);
    assert_eq!(ioremap(&core, v, 0, device, size), Ok(5 * PAGE_SIZE), "three pages, then one that is there");
    let before = snapshot(&core);
    let done = 3 * PAGE_SIZE;
    assert_eq!(ioremap(&core, v, done, device + done, size - done), Err(Refused::LevelConflict));
    assert_eq!(ioremap(&core, v, 0, device, size), Ok(5 * PAGE_SIZE), "again");
    assert_eq!(snapshot(&core), before);
    // RAM in the range is left out.
    assert_eq!(ioremap(&core, v, PMD_SIZE, GIB - PAGE_SIZE, 2 * PAGE_SIZE), Ok(0));
    assert_eq!(core.machine().leaves(v).len(), 5);
    assert_eq!(record(&core, GIB).owner(), Some(HOSTVISOR));
    assert!(core.machine().access(HOSTVISOR, ipa(GIB)).is_ok());
}
