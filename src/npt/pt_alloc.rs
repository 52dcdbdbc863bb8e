// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PTAlloc (`spec/layers/03-npt.md` §3.1, seed 002).
//!
//! The specification gives each principal three bump-allocated pools. Here the pages come from one buddy allocator and
//! the pools are quotas (`docs/deviations.md`): pages can be given back when a VM is destroyed.

use super::PtSection;
use crate::addr::Pa;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> PtSection<'_, M> {
    /// Spec: PA-1. A zeroed page for a level-1 table.
    pub(super) fn alloc_pgd_page(&mut self) -> Result<Pa, Refused> {
        self.alloc_page()
    }

    /// Spec: PA-2. A zeroed page for a level-2 table.
    pub(super) fn alloc_pud_page(&mut self) -> Result<Pa, Refused> {
        self.alloc_page()
    }

    /// Spec: PA-3. A zeroed page for a level-3 table.
    pub(super) fn alloc_pmd_page(&mut self) -> Result<Pa, Refused> {
        self.alloc_page()
    }

    /// Sets `pages` table pages aside for the allocations that follow: all or none, so that a walk that creates several
    /// tables can't fail half-way.
    pub(super) fn reserve(&mut self, pages: u64) -> Result<(), Refused> {
        let within = |q: super::Quota| pages <= q.limit.saturating_sub(q.used);
        if !within(self.npt.total) || (self.for_device && !within(self.npt.device)) {
            return Err(Refused::NoTables(self.npt.vmid));
        }
        let (mut frames, _) = self.frames.lock(&mut self.held);
        self.spare = frames.allocate_tables(self.npt.vmid, pages).ok_or(Refused::NoTables(self.npt.vmid))?;
        Ok(())
    }

    /// The page is zeroed before anybody can link it (`spec/layers/12-wdrf.md` §12.4 a).
    fn alloc_page(&mut self) -> Result<Pa, Refused> {
        if self.spare.is_empty() {
            self.reserve(1)?;
        }
        let page = self.spare.pop().ok_or(Refused::NoTables(self.npt.vmid))?;
        self.machine.zero_tables(page, 1);
        self.npt.total.used += 1;
        if self.for_device {
            self.npt.device.used += 1;
        }
        Ok(page)
    }
}
