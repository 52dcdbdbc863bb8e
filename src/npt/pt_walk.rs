// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PTWalk (`spec/layers/03-npt.md` §3.2).

use super::{Desc, Level, PtSection};
use crate::addr::{Ipa, Pa};
use crate::machine::Machine;
use crate::refused::Refused;

/// Whether a walk creates the tables that it misses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alloc {
    /// Only look.
    No,
    /// Create.
    Yes,
}

/// Where the entry for `ipa` lies in `table`, a table of `level`: `PP(table) | index*8`.
pub(super) fn slot(table: Pa, ipa: Ipa, level: Level) -> Pa {
    let index = (ipa.as_u64() >> level.shift()) & 0x1FF;
    Pa::low_48(table.as_u64() | (index * 8))
}

impl<M: Machine> PtSection<'_, M> {
    /// Spec: PW-1. The level-0 entry for `ipa`.
    pub(super) fn walk_pgd(&mut self, ipa: Ipa, alloc: Alloc) -> Result<Desc, Refused> {
        let at = slot(self.npt.root, ipa, Level::L0);
        self.entry_or_new(at, alloc, Self::alloc_pgd_page)
    }

    /// Spec: PW-2. The level-1 entry for `ipa` under the level-0 entry `pgd`; none under none.
    pub(super) fn walk_pud(&mut self, pgd: Desc, ipa: Ipa, alloc: Alloc) -> Result<Desc, Refused> {
        if !pgd.is_table() {
            return Ok(Desc::NONE);
        }
        self.entry_or_new(slot(pgd.pp(), ipa, Level::L1), alloc, Self::alloc_pud_page)
    }

    /// Spec: PW-3. The level-2 entry for `ipa` under the level-1 entry `pud`; none under none or a block.
    pub(super) fn walk_pmd(&mut self, pud: Desc, ipa: Ipa, alloc: Alloc) -> Result<Desc, Refused> {
        if !pud.is_table() {
            return Ok(Desc::NONE);
        }
        self.entry_or_new(slot(pud.pp(), ipa, Level::L2), alloc, Self::alloc_pmd_page)
    }

    /// Spec: PW-4. The level-3 entry for `ipa` under the level-2 entry `pmd`; none under none or a block.
    pub(super) fn walk_pte(&self, pmd: Desc, ipa: Ipa) -> Desc {
        if !pmd.is_table() {
            return Desc::NONE;
        }
        Desc::from_u64(self.machine.pt_load(slot(pmd.pp(), ipa, Level::L3)))
    }

    /// Spec: PW-5. Writes a level-2 block entry. The old entry must be invalid.
    pub(super) fn set_pmd(&mut self, pud: Desc, ipa: Ipa, block: Desc) {
        debug_assert!(!block.is_table(), "PW-5 stores blocks only");
        self.set_leaf(slot(pud.pp(), ipa, Level::L2), block);
    }

    /// Spec: PW-6. Writes a level-3 entry. Where it replaces a valid one it must be invalid itself.
    pub(super) fn set_pte(&mut self, pmd: Desc, ipa: Ipa, page: Desc) {
        self.set_leaf(slot(pmd.pp(), ipa, Level::L3), page);
    }

    /// A leaf store: at most one in a section (`spec/SPEC.md` §0.8).
    pub(super) fn set_leaf(&mut self, at: Pa, leaf: Desc) {
        debug_assert!(!self.leaf_written, "a second leaf in one PT section");
        self.leaf_written = true;
        self.machine.pt_store(at, leaf.as_u64());
        self.machine.publish_tables();
    }

    /// The entry at `at`, or, if there is none and one is wanted, a pointer to a fresh table put there.
    fn entry_or_new(
        &mut self,
        at: Pa,
        alloc: Alloc,
        new: fn(&mut Self) -> Result<Pa, Refused>,
    ) -> Result<Desc, Refused> {
        let entry = Desc::from_u64(self.machine.pt_load(at));
        if !entry.is_none() || alloc == Alloc::No {
            return Ok(entry);
        }
        let table = Desc::table(new(self)?);
        // The new table's zeroes become visible before the pointer to it.
        self.machine.publish_tables();
        self.machine.pt_store(at, table.as_u64());
        Ok(table)
    }
}
