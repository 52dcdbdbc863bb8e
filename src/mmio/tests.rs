// SPDX-License-Identifier: GPL-2.0-only
//! SMMUs: banks, what devices reach through them, and what the host may write to their registers.

mod banks;
mod dma;
mod registers;
mod take_over;

use super::{ContextBank, SmmuConfig, SmmuIndex};
use crate::addr::{HOSTVISOR, PAGE_SIZE, Pa, Vmid};
use crate::lock::Held;
use crate::memory::{Count, S2Page};
use crate::npt::DescBits;
use crate::refused::Refused;
use crate::spt::Spts;
use crate::vm::VmState;
use crate::world::{self, Core, GIB, MIB, Snapshot, World, ipa, pfn, range};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// Windows of the two SMMUs.
const WINDOWS: [u64; 2] = [0x0905_0000, 0x0A00_0000];
/// A page of the host.
const PAGE: u64 = GIB + 5 * MIB;
/// Access permissions and memory attributes that a driver gives.
const PROT: u64 = DescBits::READ.bits() | DescBits::WRITE.bits() | DescBits::NORMAL_WB.bits();
/// What is added to them (D-61).
const PTE: u64 = PROT | 0x703;

fn world() -> World {
    let config = |start, context_banks| SmmuConfig::new(range(start, 0x1_0000), context_banks);
    World { smmus: vec![config(WINDOWS[0], 8), config(WINDOWS[1], 4)], ..World::default() }
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

fn pa(address: u64) -> Pa {
    Pa::new(address).unwrap()
}

/// `v` is in `state` from now on.
fn set_state(core: &Core, v: Vmid, state: VmState) {
    core.acquire_lock_vm(v, &mut Held::nothing()).0.state = state;
}

fn set_record(core: &Core, address: u64, record: S2Page) {
    core.acquire_lock_s2page(&mut Held::nothing()).0.set_record(pfn(address), record);
}

/// Owner, count and gfn of the page at `address`.
fn record(core: &Core, address: u64) -> (Option<Vmid>, Count, Option<u64>) {
    let mut nothing = Held::nothing();
    let (s2page, _held) = core.acquire_lock_s2page(&mut nothing);
    (s2page.get_pfn_owner(pfn(address)), s2page.get_pfn_count(pfn(address)), s2page.get_pfn_map(pfn(address)))
}

fn count(core: &Core, address: u64) -> Count {
    record(core, address).1
}

/// All that a refused operation must leave alone: ours, the banks' owners, the tables, the registers, free table pages.
#[derive(PartialEq, Debug)]
struct Everything {
    ours: Snapshot,
    owners: String,
    tables: String,
    registers: Vec<(u64, u64)>,
    frames: u64,
}

fn everything(core: &Core) -> Everything {
    let mut nothing = Held::nothing();
    let ours = world::snapshot(core);
    let owners = format!("{:?}", *core.acquire_lock_smmu(&mut nothing).0);
    let tables = tables(&core.spts().lock(&mut nothing).0);
    let registers = WINDOWS.into_iter().flat_map(|w| (w..w + 0x1_0000).step_by(8));
    // Those that ask for an invalidation hold nothing.
    let registers = registers.filter(|at| !matches!(at & 0xFFF, 0x60 | 0x70) || at & 0xFFFF >= 0x1000);
    let registers = registers.map(|at| (at, core.machine().register(at))).filter(|&(_, value)| value != 0).collect();
    let frames = core.frames().lock(&mut nothing).0.vm_pages();
    Everything { ours, owners, tables, registers, frames }
}

fn tables(spts: &Spts) -> String {
    format!("{spts:?}")
}

/// `operation` is refused with `why`, and nothing has changed.
#[track_caller]
fn assert_refused<T: core::fmt::Debug + PartialEq>(
    core: &Core,
    why: Refused,
    operation: impl FnOnce(&mut Held<'_, 0>) -> Result<T, Refused>,
) {
    let before = everything(core);
    assert_eq!(operation(&mut Held::nothing()), Err(why));
    assert_eq!(everything(core), before);
}

/// Gives bank `b` of SMMU `k` to `v`, which is being built if it is a VM.
fn alloc(core: &Core, k: SmmuIndex, b: ContextBank, v: Vmid) {
    if v != HOSTVISOR {
        set_state(core, v, VmState::Ready);
    }
    core.el2_alloc_smmu_pgd(b, v, k, &mut Held::nothing()).unwrap();
}

fn map(core: &Core, k: SmmuIndex, b: ContextBank, iova: u64, address: u64) -> Result<(), Refused> {
    core.el2_arm_lpae_map(ipa(iova), pa(address), PROT, b, k, &mut Held::nothing())
}

fn clear(core: &Core, k: SmmuIndex, b: ContextBank, iova: u64) -> Result<(), Refused> {
    core.el2_arm_lpae_clear(ipa(iova), b, k, &mut Held::nothing())
}

fn free(core: &Core, k: SmmuIndex, b: ContextBank) -> Result<(), Refused> {
    core.el2_free_smmu_pgd(b, k, &mut Held::nothing())
}

/// What a device reaches at `iova` through the bank, if it reaches anything.
fn reached(core: &Core, k: SmmuIndex, b: ContextBank, iova: u64) -> Option<u64> {
    core.machine().dma_access(k, b, ipa(iova)).ok().map(|leaf| leaf.pa(ipa(iova)))
}
