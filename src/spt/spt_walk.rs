// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioSPTWalk (`spec/layers/04-spt.md` §4.3). SS-4 and SS-5 are what devices do: the simulated machine has them.

use super::{IOVA_BITS, ROOT_PAGES, Spt, SptSection};
use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::machine::Machine;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::npt::{Alloc, Desc};
use crate::refused::Refused;

impl<M: Machine> SptSection<'_, M> {
    /// Spec: SS-1. The table of bank `b` of SMMU `k` becomes empty, all of it (D-64): it gets a fresh root (AM-39
    /// `smmu_pt_clear`). A table that maps pages is refused, for the pages' counts would go wrong: it goes with the
    /// bank, by [`Self::free_smmu_pt`].
    pub(super) fn clear_smmu_pt(&mut self, b: ContextBank, k: SmmuIndex) -> Result<(), Refused> {
        match self.spt(b, k) {
            Some(Spt { mapped: 0, .. }) => Ok(()),
            Some(_) => Err(Refused::Bank),
            None => {
                let root = self.allocate_root()?;
                *self.slot_of(b, k) = Some(Spt { root, mapped: 0 });
                Ok(())
            }
        }
    }

    /// Gives all tables of a bank back (D-68). The hardware walks them no more, and has forgotten what it found there.
    pub(crate) fn free_smmu_pt(&mut self, b: ContextBank, k: SmmuIndex) {
        let Some(Spt { root, .. }) = self.slot_of(b, k).take() else { return };
        for middle in entries(root, ROOT_PAGES) {
            let Some(middle) = self.table_at(middle) else { continue };
            for leaf in entries(middle, 1) {
                if let Some(leaf) = self.table_at(leaf) {
                    self.give_back(leaf, 1);
                }
            }
            self.give_back(middle, 1);
        }
        self.give_back(root, ROOT_PAGES);
    }

    /// The table that the entry at `at`, above the last level, points to.
    fn table_at(&self, at: Pa) -> Option<Pa> {
        let entry = Desc::from_u64(self.machine.pt_load(at));
        entry.is_table().then(|| entry.pp())
    }

    /// Spec: SS-2. The leaf for `iova` in the table of bank `b` of SMMU `k`; none where there is no table.
    pub(super) fn walk_smmu_pt(&mut self, b: ContextBank, k: SmmuIndex, iova: Ipa) -> Result<Desc, Refused> {
        let pmd = self.leaf_table(b, k, iova)?;
        Ok(self.walk_smmu_pte(pmd, iova))
    }

    /// Spec: SS-3. This is `local_spt_map`: writes the leaf for `iova`, with the tables that it misses. On error nothing has
    /// changed.
    pub(super) fn set_smmu_pt(&mut self, b: ContextBank, k: SmmuIndex, iova: Ipa, pte: Desc) -> Result<(), Refused> {
        let pmd = self.make_tables(b, k, iova)?;
        self.set_smmu_pte(pmd, iova, pte);
        if let Some(spt) = self.slot_of(b, k) {
            spt.mapped = if pte.is_none() { spt.mapped - 1 } else { spt.mapped + 1 };
        }
        Ok(())
    }

    /// Undoes [`Self::set_smmu_pt`] of none: `old`, the leaf that was there, is back, before anything was told that it was
    /// gone.
    pub(super) fn put_back(&mut self, b: ContextBank, k: SmmuIndex, iova: Ipa, old: Desc) -> Result<(), Refused> {
        let pmd = self.leaf_table(b, k, iova)?;
        self.store_leaf(pmd, iova, old);
        if let Some(spt) = self.slot_of(b, k) {
            spt.mapped += 1;
        }
        Ok(())
    }

    /// Sees to it that the tables on the way to `iova`'s leaf exist, so that [`Self::set_smmu_pt`] can't fail. Returns the
    /// middle table's entry. On error nothing has changed.
    pub(crate) fn make_tables(&mut self, b: ContextBank, k: SmmuIndex, iova: Ipa) -> Result<Desc, Refused> {
        in_reach(iova)?;
        let root = self.get_smmu_cfg_hw_ttbr(b, k).ok_or(Refused::Bank)?;
        let pgd = self.walk_smmu_pgd(root, iova, Alloc::No)?;
        let pmd = self.walk_smmu_pmd(pgd, iova, Alloc::No)?;
        self.reserve(u64::from(pgd.is_none()) + u64::from(pmd.is_none()))?;
        let pgd = self.walk_smmu_pgd(root, iova, Alloc::Yes)?;
        self.walk_smmu_pmd(pgd, iova, Alloc::Yes)
    }

    /// The middle table's entry for `iova`, if there is one.
    fn leaf_table(&mut self, b: ContextBank, k: SmmuIndex, iova: Ipa) -> Result<Desc, Refused> {
        in_reach(iova)?;
        let Some(root) = self.get_smmu_cfg_hw_ttbr(b, k) else { return Ok(Desc::NONE) };
        let pgd = self.walk_smmu_pgd(root, iova, Alloc::No)?;
        self.walk_smmu_pmd(pgd, iova, Alloc::No)
    }
}

/// Where the entries of a table of `pages` pages lie.
fn entries(table: Pa, pages: u64) -> impl Iterator<Item = Pa> {
    (0..pages * PAGE_SIZE).step_by(8).map(move |offset| Pa::low_48(table.as_u64() + offset))
}

/// `is_smmu_addr`.
fn in_reach(iova: Ipa) -> Result<(), Refused> {
    if iova.as_u64() >> IOVA_BITS == 0 { Ok(()) } else { Err(Refused::OutOfReach) }
}
