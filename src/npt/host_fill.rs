// SPDX-License-Identifier: GPL-2.0-only
//! The eager filling of the host's tables at boot (`DESIGN.md` §6): what MM-1 would do page by page, in the largest
//! blocks whose pages all have the same owner.

use super::pt_walk::slot;
use super::{Alloc, Desc, Level, PAGE_S2_KERNEL, PtSection};
use crate::addr::{PAGE_SIZE, Pa, Range};
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> PtSection<'_, M> {
    /// Maps the page-aligned `range` of the host's own RAM onto itself, by entries of level `largest` or below. For use
    /// before the host runs: nothing there is mapped yet, so there is nothing to break or to invalidate, and the one-leaf
    /// rule, which is about walkers that see the table change, does not apply.
    pub fn fill_host(&mut self, range: Range, largest: Level) -> Result<(), Refused> {
        if (range.end - 1) >> self.npt.ipa_bits != 0 {
            return Err(Refused::OutOfReach);
        }
        let mut at = range.start;
        while at < range.end {
            let fits =
                |level: Level| level >= largest && at.is_multiple_of(level.size()) && range.end - at >= level.size();
            let pa = Pa::new(at).ok_or(Refused::OutOfReach)?;
            let ipa = crate::addr::Ipa::new(at).ok_or(Refused::OutOfReach)?;
            let pgd = self.walk_pgd(ipa, Alloc::Yes)?;
            let (table, level) = if fits(Level::L1) {
                (pgd, Level::L1)
            } else {
                let pud = self.walk_pud(pgd, ipa, Alloc::Yes)?;
                if fits(Level::L2) { (pud, Level::L2) } else { (self.walk_pmd(pud, ipa, Alloc::Yes)?, Level::L3) }
            };
            let leaf = Desc::leaf(pa, level, PAGE_S2_KERNEL);
            self.machine.pt_store(slot(table.pp(), ipa, level), leaf.as_u64());
            at += level.size().max(PAGE_SIZE);
        }
        self.machine.publish_tables();
        Ok(())
    }
}
