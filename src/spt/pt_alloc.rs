// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioPTAlloc (`spec/layers/04-spt.md` §4.1).
//!
//! Instead of the specification's bump pointers there is the one allocator of table pages. What a mapping misses is
//! taken before the first store, so that a mapping that is refused has changed nothing.

use super::{ROOT_PAGES, SptSection};
use crate::addr::{COREVISOR, Pa};
use crate::machine::Machine;
use crate::refused::Refused;

const NO_TABLES: Refused = Refused::NoTables(COREVISOR);

impl<M: Machine> SptSection<'_, M> {
    /// Spec: SA-1. A zeroed page for a middle table, of those that [`Self::reserve`] took (D-65): in the place of AM-32
    /// `get_smmu_pgd_next` and AM-33 `set_smmu_pgd_next`.
    pub(super) fn alloc_smmu_pgd_page(&mut self) -> Result<Pa, Refused> {
        self.spare.pop().ok_or(NO_TABLES)
    }

    /// Spec: SA-2. A zeroed page for a leaf table, likewise: in the place of AM-34 `get_smmu_pmd_next` and AM-35
    /// `set_smmu_pmd_next`.
    pub(super) fn alloc_smmu_pmd_page(&mut self) -> Result<Pa, Refused> {
        self.spare.pop().ok_or(NO_TABLES)
    }

    /// Takes the `pages` table pages that a mapping misses, or none. They are zero, and seen to be, before anybody can link
    /// them (`spec/layers/12-wdrf.md` §12.4 a).
    pub(super) fn reserve(&mut self, pages: u64) -> Result<(), Refused> {
        self.spare = self.frames.lock(&mut self.held).0.allocate_tables(COREVISOR, pages).ok_or(NO_TABLES)?;
        for &page in &self.spare {
            self.machine.zero_tables(page, 1);
        }
        self.machine.publish_tables();
        Ok(())
    }

    /// A zeroed root.
    pub(super) fn allocate_root(&mut self) -> Result<Pa, Refused> {
        let root = self.frames.lock(&mut self.held).0.allocate_for(COREVISOR, ROOT_PAGES).ok_or(NO_TABLES)?;
        self.machine.zero_tables(root, ROOT_PAGES);
        self.machine.publish_tables();
        Ok(root)
    }

    /// Gives table pages back, which no walker can reach.
    pub(super) fn give_back(&mut self, at: Pa, pages: u64) {
        // SAFETY: `at` was allocated in this module with this number of pages, and its only owner gives it up here:
        // it is part of a table
        // that was taken out of `Spts` after the hardware was made to forget it (`SptSection::free_smmu_pt`).
        unsafe { self.frames.lock(&mut self.held).0.release_for(COREVISOR, at, pages) };
    }
}
