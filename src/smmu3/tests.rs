// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv3s: how they are taken over, what their streams reach, and what they tell.

mod banks;
mod events;
mod host;
mod open;
mod streams;

use super::registers::WINDOW;
use super::{MAX_BANK_STREAMS, Trouble, opcode};
use crate::addr::{HOSTVISOR, PAGE_SIZE, PMD_SIZE, Range, Vmid};
use crate::lock::Held;
use crate::machine::sim::{Faults, SimMachine};
use crate::mmio::{ContextBank, SmmuIndex};
use crate::npt::{DescBits, HostDma};
use crate::platform::smmus::StreamRange;
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{self, Core, GIB, MIB, World, ipa, pa, pfn, range};
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Registers of the SMMUv3, and of a second one.
const BASE: u64 = 0x0905_0000;
const SECOND: u64 = 0x0A00_0000;
/// A page of the host.
const PAGE: u64 = GIB + 5 * MIB;
/// A stream of a PCI device.
const STREAM: u32 = 0x0108;
/// Attributes that a driver gives.
const PROT: u64 = DescBits::READ.bits() | DescBits::WRITE.bits() | DescBits::NORMAL_WB.bits();

fn streams(first: u32, count: u32) -> StreamRange {
    StreamRange::new(first, count).unwrap()
}

/// A PCI host's streams, and two of other devices.
fn world() -> World {
    let host_dma = Some(HostDma { ipa_bits: 40, blocks: true, doorbells: Default::default() });
    let all = vec![streams(0, 0x1_0000), streams(0x1_0007, 1), streams(0x1_0020, 3)];
    World { smmu3s: vec![(BASE, all)], host_dma, ..World::default() }
}

/// With identification registers that differ in these bits from the usual ones.
fn boot_without(register: u64, bits: u64) -> Core {
    world().boot_with(|machine| {
        machine.name_smmu3(BASE);
        let at = BASE + register;
        machine.set_register(at & !7, machine.register(at & !7) & !(bits << (8 * (at & 4))));
    })
}

fn k(index: u64) -> SmmuIndex {
    SmmuIndex::new(index).unwrap()
}

fn bank(number: u64) -> ContextBank {
    ContextBank::new(number).unwrap()
}

fn vm(id: u64) -> Vmid {
    Vmid::new_vm(id).unwrap()
}

/// What `stream` reaches at `address`.
fn reached(core: &Core, stream: u32, address: u64) -> Option<u64> {
    core.machine().dma3(0, stream, ipa(address))
}

fn set_faults(core: &Core, faults: Faults) {
    core.machine().set_smmu3_faults(BASE, faults);
}

fn attach(core: &Core, stream: u32, b: Option<u64>) -> Result<(), Refused> {
    core.attach_stream(stream, b.map(bank), k(0), &mut Held::nothing())
}

fn detach(core: &Core, stream: u32) -> Result<(), Refused> {
    core.detach_stream(stream, k(0), &mut Held::nothing())
}

/// Gives bank `b` to `v`, which is being built if it is a VM.
fn alloc(core: &Core, b: u64, v: Vmid) {
    if v.is_vm() {
        world::set_state(core, v, VmState::Ready);
    }
    core.el2_alloc_smmu_pgd(bank(b), v, k(0), &mut Held::nothing()).unwrap();
}

fn map(core: &Core, b: u64, iova: u64, address: u64) -> Result<(), Refused> {
    core.el2_arm_lpae_map(ipa(iova), pa(address), PROT, bank(b), k(0), &mut Held::nothing())
}

fn clear(core: &Core, b: u64, iova: u64) -> Result<(), Refused> {
    core.el2_arm_lpae_clear(ipa(iova), bank(b), k(0), &mut Held::nothing())
}

fn free(core: &Core, b: u64) -> Result<(), Refused> {
    core.el2_free_smmu_pgd(bank(b), k(0), &mut Held::nothing())
}

/// `operation` is refused with `why`, and nothing that can be seen has changed.
#[track_caller]
fn assert_refused(core: &Core, why: Refused, operation: impl FnOnce() -> Result<(), Refused>) {
    let before = world::snapshot(core);
    assert_eq!(operation(), Err(why));
    assert_eq!(world::snapshot(core), before);
}
