// SPDX-License-Identifier: GPL-2.0-only
//! SMMUs, their context banks, and who owns those (`spec/SPEC.md` §0.3).

use super::registers::{BANK_SHIFT, BANKS};
use crate::addr::{Pa, Range, Vmid};
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
    /// Where in the window registers lie.
    pub layout: Layout,
}

impl SmmuConfig {
    /// One with the specification's layout.
    pub const fn new(window: Range, context_banks: u8) -> Self {
        Self { window, context_banks, layout: Layout::SPECIFIED }
    }

    /// The address `offset` bytes into the window.
    pub fn at(&self, offset: u64) -> Pa {
        Pa::low_48(self.window.start + offset)
    }
}

/// How an SMMU's registers are laid out (IDR1.PAGESIZE, IDR1.NUMPAGENDXB): each group of registers has a page, in which it
/// takes 4 KiB at most. Global ones are in the first half of the window, and each context bank's in a page of the second. The
/// specification knows one layout, and its numbers of registers are offsets in that ([`super::registers`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// log2 of the bytes in a page: 12 or 16.
    pub page_shift: u32,
    /// Pages in one half, 2 to 256.
    pub pages: u64,
}

impl Layout {
    /// The specification's: 4 KiB, and 8 pages.
    pub const SPECIFIED: Self = Self { page_shift: BANK_SHIFT, pages: BANKS >> BANK_SHIFT };

    /// Bytes of the window.
    pub const fn size(self) -> u64 {
        (2 * self.pages) << self.page_shift
    }

    /// Where the page of context bank `bank` starts.
    pub const fn bank(self, bank: u64) -> u64 {
        (self.pages + bank) << self.page_shift
    }

    /// Where the register is that the specification's layout has at `register`.
    pub const fn offset(self, register: u64) -> u64 {
        let inner = register & ((1 << BANK_SHIFT) - 1);
        match register.checked_sub(BANKS) {
            Some(banks) => self.bank(banks >> BANK_SHIFT) + inner,
            None => ((register >> BANK_SHIFT) << self.page_shift) + inner,
        }
    }

    /// Where the specification's layout has the register at `offset` of the window; `None` if it knows none there.
    pub const fn register(self, offset: u64) -> Option<u64> {
        let (page, inner) = (offset >> self.page_shift, offset & ((1 << self.page_shift) - 1));
        let page = match page.checked_sub(self.pages) {
            Some(bank) if bank < BANKS_PER_SMMU as u64 => (BANKS >> BANK_SHIFT) + bank,
            None if page < BANKS >> BANK_SHIFT => page,
            _ => return None,
        };
        if inner >> BANK_SHIFT == 0 { Some((page << BANK_SHIFT) | inner) } else { None }
    }
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
