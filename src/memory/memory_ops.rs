// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemoryOps (`spec/layers/05-memory.md` §5.5, seed 003).

use super::mem_manager::{Assignment, ram_leaf, vm_only};
use crate::addr::{ADDR_SPACE, Gfn, Ipa, PAGE_SIZE, PMD_PAGES, Pa, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::Level;
use crate::refused::Refused;

/// Pages that one call of MO-3 or MO-4 deals with (G9).
pub const SG_PAGES_PER_CALL: u64 = 512;

/// Pages of a range that MO-3 and MO-4 get: those that `size` bytes fill, wherever they begin.
pub const fn sg_pages(size: u64) -> u64 {
    size.div_ceil(PAGE_SIZE)
}

/// `Some` if all `count` pages from `first` on are in the address space.
fn in_address_space(first: u64, count: u64) -> Option<()> {
    let end = first.checked_add(count)?;
    (end <= ADDR_SPACE / PAGE_SIZE).then_some(())
}

impl<M: Machine> Corevisor<M> {
    /// Spec: MO-1. MM-2 for `num` pages from `pfn` on, each in a section of its own.
    ///
    /// # Errors
    /// If `v` is no VM, or the range leaves the address space.
    pub fn clear_vm_range<const OUTER: u8>(
        &self,
        v: Vmid,
        pfn: Pfn,
        num: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        in_address_space(pfn.as_u64(), num).ok_or(Refused::Argument(3))?;
        let pages = pfn.as_u64()..pfn.as_u64() + num;
        pages.filter_map(Pfn::new).try_for_each(|pfn| self.clear_vm_page(v, pfn, outer))
    }

    /// Spec: MO-2. Makes the page `pa`, or at `Level::L2` the 512 pages from `pa` on, pages of the VM `v`, and maps them
    /// at `ipa`: MM-3 for each and MM-4, in one section of S2PAGE, and with all checks before the first change. Locks
    /// S2PAGE, then PT(v), PT(0), PT(v).
    ///
    /// # Errors
    /// As MM-3 and MM-4. Nothing has changed then.
    pub fn prot_and_map_vm_s2pt<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        pa: Pa,
        level: Level,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        let leaf = ram_leaf(ipa, pa, level)?;
        let count = if level == Level::L2 { PMD_PAGES } else { 1 };
        let (first_gfn, first) = (ipa.frame().as_u64(), pa.frame());
        // Aligned blocks and single pages do not leave the address space.
        let pages = || (0..count).filter_map(|i| Some((Gfn::new(first_gfn + i)?, Pfn::new(first.as_u64() + i)?)));
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        let mut taken = 0;
        for (gfn, pfn) in pages() {
            taken += u64::from(s2page.assignment(v, gfn, pfn)? == Assignment::Take);
        }
        self.acquire_lock_pt(v, &mut held)?.prepare_npt(ipa, level, leaf)?;
        let whole_block = taken == PMD_PAGES;
        if whole_block {
            if s2page.standing_grants(v) == 0 {
                self.take_from_host(first, Level::L2, &mut held)?;
            } else {
                self.clear_block_host(first, &mut held)?;
            }
            self.machine().fetch_block_from_doracle(first);
        }
        for (gfn, pfn) in pages().filter(|_| !whole_block) {
            let assignment = s2page.assignment(v, gfn, pfn)?;
            if let Err(why) = self.clear_pfn_host_unless_shared(&s2page, v, assignment, pfn, &mut held) {
                // What was taken is still the host's. Its CPUs find that when they touch it, its devices do not.
                for (gfn, before) in pages().take_while(|&(_, before)| before != pfn) {
                    if s2page.assignment(v, gfn, before)? == Assignment::Take {
                        self.map_host_dma(before, &mut held)?;
                    }
                }
                return Err(why);
            }
        }
        for (gfn, pfn) in pages() {
            let assignment = s2page.assignment(v, gfn, pfn)?;
            if assignment == Assignment::Take && !whole_block {
                self.machine().fetch_from_doracle(pfn);
            }
            s2page.record_assignment(v, gfn, pfn, assignment);
        }
        self.map_pfn_vm(v, ipa, pa, level, &mut held)
    }

    /// Spec: MO-3. MM-6 for the pages that the VM `v` has at `size` bytes from `ipa` on, where it has any. Goes on from
    /// page number `done` of the range, deals with at most [`SG_PAGES_PER_CALL`], and returns how many are done:
    /// [`sg_pages`] when all are.
    ///
    /// # Errors
    /// If `v` does not exist, the range leaves the address space, or `done` the range. Nothing has changed then.
    pub fn grant_stage2_sg_gpa<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        size: u64,
        done: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        self.each_page(v, ipa, [size, done], outer, |pfn, outer| {
            self.grant_vm_page(v, pfn, outer);
            Ok(())
        })
    }

    /// Spec: MO-4. MM-7 for the same pages in the same way as MO-3.
    ///
    /// # Errors
    /// As MO-3.
    pub fn revoke_stage2_sg_gpa<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        size: u64,
        done: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        self.each_page(v, ipa, [size, done], outer, |pfn, outer| self.revoke_vm_page(v, pfn, outer))
    }

    /// Calls `each` with the physical page of each page of a range that `v` has mapped.
    fn each_page<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        [size, done]: [u64; 2],
        outer: &mut Held<'_, OUTER>,
        each: impl Fn(Pfn, &mut Held<'_, OUTER>) -> Result<(), Refused>,
    ) -> Result<u64, Refused> {
        vm_only(v)?;
        let all = sg_pages(size);
        let first = ipa.frame().as_u64();
        in_address_space(first, all).ok_or(Refused::Argument(3))?;
        if done > all {
            return Err(Refused::Argument(4));
        }
        let next = all.min(done + SG_PAGES_PER_CALL);
        for gfn in (first + done..first + next).filter_map(Gfn::new) {
            if !self.in_reach(gfn.base()) {
                break; // nothing is mapped from here on
            }
            let mapping = self.acquire_lock_pt(v, outer)?.mapping(gfn.base())?;
            if let Some(page) = mapping.translate(gfn.base()) {
                each(page.frame(), outer)?;
            }
        }
        Ok(next)
    }
}
