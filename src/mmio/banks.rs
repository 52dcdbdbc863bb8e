// SPDX-License-Identifier: GPL-2.0-only
//! SMMUs, their context banks, and who owns those (`spec/SPEC.md` §0.3).

use crate::addr::{Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;

/// SMMUs that are supported (specification: `SMMU_NUM`).
pub const MAX_SMMUS: usize = 2;
/// Context banks of one SMMU, at most (specification: `SMMU_NUM_CTXT_BANKS`).
pub const BANKS_PER_SMMU: usize = 8;

/// Number of an SMMU (`is_smmu`). That it exists is for [`Corevisor::smmus`] to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SmmuIndex(u8);

impl SmmuIndex {
    /// The SMMU with this number, below [`MAX_SMMUS`].
    pub const fn new(index: u64) -> Option<Self> {
        if index < MAX_SMMUS as u64 { Some(Self(index as u8)) } else { None }
    }

    /// The plain number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of a context bank of an SMMU (`is_smmu_cfg`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ContextBank(u8);

impl ContextBank {
    /// The bank with this number, below [`BANKS_PER_SMMU`].
    pub const fn new(bank: u64) -> Option<Self> {
        if bank < BANKS_PER_SMMU as u64 { Some(Self(bank as u8)) } else { None }
    }

    /// The plain number.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What there is to know of an SMMU; constant after boot (AM-117 to AM-121).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SmmuConfig {
    /// Its registers.
    pub window: Range,
    /// Context banks that it has, at most [`BANKS_PER_SMMU`].
    pub context_banks: u8,
}

/// Who owns which context bank; the object of lock SMMU. `None`: the bank is free.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SmmuBanks([[Option<Vmid>; BANKS_PER_SMMU]; MAX_SMMUS]);

impl SmmuBanks {
    /// All free.
    pub const fn new() -> Self {
        Self([[None; BANKS_PER_SMMU]; MAX_SMMUS])
    }

    /// AM-115 `get_smmu_cfg_vmid`.
    pub const fn owner(&self, k: SmmuIndex, b: ContextBank) -> Option<Vmid> {
        self.0[k.index()][b.index()]
    }

    /// Whether a bank is `v`'s.
    pub fn has(&self, v: Vmid) -> bool {
        self.0.as_flattened().contains(&Some(v))
    }

    /// AM-116 `set_smmu_cfg_vmid`.
    pub const fn set_owner(&mut self, k: SmmuIndex, b: ContextBank, owner: Option<Vmid>) {
        self.0[k.index()][b.index()] = owner;
    }
}

impl Default for SmmuBanks {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: Machine> Corevisor<M> {
    /// Spec: LK-6. Takes the lock of the owners of context banks.
    pub fn acquire_lock_smmu<'s, const OUTER: u8>(
        &'s self,
        outer: &'s mut Held<'_, OUTER>,
    ) -> (Guard<'s, SmmuBanks>, Held<'s, { rank::SMMU }>) {
        self.smmu_banks().lock(outer)
    }

    /// Spec: LK-12. Gives the lock back, as the drop does.
    pub fn release_lock_smmu(&self, banks: Guard<'_, SmmuBanks>) {
        drop(banks);
    }
}
