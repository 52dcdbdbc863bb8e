// SPDX-License-Identifier: GPL-2.0-only
//! The SMMU's stage-2 tables: layers MmioPTAlloc, MmioPTWalk, MmioSPTWalk, MmioSPTOps (`spec/layers/04-spt.md`).
//!
//! Three levels for an io address of 40 bits: a root of two concatenated pages, a middle table, a leaf table of pages.
//! The pages come from the same allocator as those of VMs, and count against the same budget; they go back when the bank
//! is freed.

mod pt_alloc;
mod pt_walk;
mod spt_ops;
mod spt_walk;
#[cfg(test)]
mod tests;

use crate::addr::Pa;
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use crate::mmio::{BANKS_PER_SMMU, ContextBank, MAX_SMMUS, SmmuIndex};
use crate::npt::{FramesLock, Tables};

/// log2 of the io address space (`is_smmu_addr`).
pub const IOVA_BITS: u32 = 40;
/// Pages of a root, concatenated: the hardware's walk starts at level 1, whose index has ten bits here.
const ROOT_PAGES: u64 = 2;

/// The table of one context bank.
#[derive(Debug)]
struct Spt {
    root: Pa,
    /// Pages that it maps.
    mapped: u64,
}

/// The tables of all context banks; the object of lock SPT. A bank that is free has none.
#[derive(Debug)]
pub struct Spts([[Option<Spt>; BANKS_PER_SMMU]; MAX_SMMUS]);

impl Spts {
    /// No tables yet.
    pub const fn new() -> Self {
        Self([const { [const { None }; BANKS_PER_SMMU] }; MAX_SMMUS])
    }
}

impl Default for Spts {
    fn default() -> Self {
        Self::new()
    }
}

/// The critical section of SPT: all walks and updates of the SMMU's tables happen in here.
pub struct SptSection<'s, M: Machine> {
    machine: &'s M,
    frames: &'s FramesLock,
    spts: Guard<'s, Spts>,
    held: Held<'s, { rank::SPT }>,
    /// Zeroed pages for the tables that the mapping in hand misses.
    spare: Tables,
    /// The specification's `tstate`: whether a leaf was written. One leaf a section, `spec/SPEC.md` §0.8.
    leaf_written: bool,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: LK-2. Enters the critical section of the SMMU's tables.
    pub fn acquire_lock_spt<'s, const OUTER: u8>(&'s self, outer: &'s mut Held<'_, OUTER>) -> SptSection<'s, M> {
        let (spts, held) = self.spts().lock(outer);
        SptSection {
            machine: self.machine(),
            frames: self.frames(),
            spts,
            held,
            spare: Tables::new(),
            leaf_written: false,
        }
    }
}

impl<'s, M: Machine> SptSection<'s, M> {
    /// Spec: LK-8. Leaves the critical section, as the drop does.
    pub fn release_lock_spt(self) {
        drop(self);
    }

    /// For locks further down the order.
    pub(crate) fn held(&mut self) -> &mut Held<'s, { rank::SPT }> {
        &mut self.held
    }

    /// AM-36 `get_smmu_cfg_hw_ttbr`: the root of bank `b` of SMMU `k`, while it has a table.
    pub fn get_smmu_cfg_hw_ttbr(&self, b: ContextBank, k: SmmuIndex) -> Option<Pa> {
        self.spt(b, k).map(|spt| spt.root)
    }

    /// How many pages the table of a bank maps.
    pub fn mapped(&self, b: ContextBank, k: SmmuIndex) -> u64 {
        self.spt(b, k).map_or(0, |spt| spt.mapped)
    }

    fn spt(&self, b: ContextBank, k: SmmuIndex) -> Option<&Spt> {
        self.spts.0[k.index()][b.index()].as_ref()
    }

    fn slot_of(&mut self, b: ContextBank, k: SmmuIndex) -> &mut Option<Spt> {
        &mut self.spts.0[k.index()][b.index()]
    }
}
