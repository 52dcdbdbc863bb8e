// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioPTWalk (`spec/layers/04-spt.md` §4.2).

use super::{IOVA_BITS, SptSection};
use crate::addr::{Ipa, Pa};
use crate::machine::Machine;
use crate::npt::{Alloc, Desc, Level};
use crate::refused::Refused;

/// Where the entry for `iova` lies in `table`, of `level`. The root is two pages long, so its index has ten bits.
fn slot(table: Pa, iova: Ipa, level: Level) -> Pa {
    let entries = if level == Level::L1 { 1 << (IOVA_BITS - Level::L1.shift()) } else { 512 };
    let index = (iova.as_u64() >> level.shift()) & (entries - 1);
    Pa::low_48(table.as_u64() | (index * 8))
}

impl<M: Machine> SptSection<'_, M> {
    /// Spec: SW-1. The root's entry for `iova`.
    pub(super) fn walk_smmu_pgd(&mut self, ttbr: Pa, iova: Ipa, alloc: Alloc) -> Result<Desc, Refused> {
        self.entry_or_new(slot(ttbr, iova, Level::L1), alloc, Self::alloc_smmu_pgd_page)
    }

    /// Spec: SW-2. The middle table's entry for `iova` under the root's entry `pgd`; none under none.
    pub(super) fn walk_smmu_pmd(&mut self, pgd: Desc, iova: Ipa, alloc: Alloc) -> Result<Desc, Refused> {
        if !pgd.is_table() {
            return Ok(Desc::NONE);
        }
        self.entry_or_new(slot(pgd.pp(), iova, Level::L2), alloc, Self::alloc_smmu_pmd_page)
    }

    /// Spec: SW-3. The leaf for `iova` under the middle table's entry `pmd`; none under none.
    pub(super) fn walk_smmu_pte(&self, pmd: Desc, iova: Ipa) -> Desc {
        if !pmd.is_table() {
            return Desc::NONE;
        }
        Desc::from_u64(self.machine.pt_load(slot(pmd.pp(), iova, Level::L3)))
    }

    /// Spec: SW-4. Writes the leaf for `iova`: one in a section, valid over none or none over valid.
    pub(super) fn set_smmu_pte(&mut self, pmd: Desc, iova: Ipa, pte: Desc) {
        debug_assert!(!self.leaf_written, "a second leaf in one SPT section");
        self.leaf_written = true;
        self.store_leaf(pmd, iova, pte);
    }

    pub(super) fn store_leaf(&self, pmd: Desc, iova: Ipa, pte: Desc) {
        self.machine.pt_store(slot(pmd.pp(), iova, Level::L3), pte.as_u64());
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
        self.machine.pt_store(at, table.as_u64());
        self.machine.publish_tables();
        Ok(table)
    }
}
