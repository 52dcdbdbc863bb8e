// SPDX-License-Identifier: GPL-2.0-only
//! The host's memory that interrupt controllers use, or that the host has told them to.

use crate::addr::{HOSTVISOR, PAGE_SIZE, Pa, Pfn, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::{Count, MAX_DMA_MAPS};
use crate::refused::Refused;
use arrayvec::ArrayVec;

/// Most of them: tables and queues of ITSs, two tables of each CPU, and ITTs of at least 256 devices.
pub const MAX_HOLDS: usize = 9 * super::MAX_ITS + 2 * crate::MAX_CPUS + 256;
/// Largest table: 16 MiB, which is what a register of an ITS can name with pages of 64 KiB.
pub const MAX_TABLE: u64 = 256 << 16;

/// Largest ITT: 64 KiB, for 4096 events of 16 bytes.
pub const MAX_ITT: u64 = 0x1_0000;

/// What the memory is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// Table `.1` of ITS `.0`.
    Table(u8, u8),
    /// The command queue of that ITS.
    Queue(u8),
    /// The table of what LPIs are, of a redistributor.
    Config(u16),
    /// Its table of pending ones.
    Pending(u16),
    /// The ITT of device `.1` of ITS `.0`.
    Itt(u8, u32),
    /// An ITT that is one no more when ITS `.0` has done command number `.1`.
    EndedItt(u8, u32),
}

/// All of them.
#[derive(Debug)]
pub(super) struct Holds(ArrayVec<(Range, Use), MAX_HOLDS>);

impl Holds {
    /// None.
    pub const NONE: Self = Self(ArrayVec::new_const());

    /// What is held for `of`.
    pub fn find(&self, of: Use) -> Option<Range> {
        self.0.iter().find(|hold| hold.1 == of).map(|hold| hold.0)
    }

    /// Those who hold have another use for it.
    pub fn rename(&mut self, of: Use, to: Use) {
        self.0.iter_mut().filter(|hold| hold.1 == of).for_each(|hold| hold.1 = to);
    }

    fn covers(&self, page: Range) -> bool {
        self.0.iter().any(|hold| hold.0.overlaps(page))
    }
}

/// The pages of `pages`, one by one.
fn each(pages: Range) -> impl Iterator<Item = (Pfn, Range)> {
    (pages.start..pages.end)
        .step_by(PAGE_SIZE as usize)
        .map(|start| (Pa::low_48(start).frame(), Range { start, end: start + PAGE_SIZE }))
}

impl<M: Machine> Corevisor<M> {
    /// From now on `memory` is in use for `of`, which uses none yet. Each page counts once, as one mapping for DMA, whatever
    /// it is used for. Locks S2PAGE.
    ///
    /// # Errors
    /// If a page is not the host's, or has no room for one more use (D-10); if `memory` is larger than [`MAX_TABLE`], or
    /// there are [`MAX_HOLDS`] such uses.
    pub(super) fn hold(
        &self,
        holds: &mut Holds,
        memory: Range,
        of: Use,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        let pages = memory.align_out(PAGE_SIZE);
        if holds.0.is_full() || memory.size() > MAX_TABLE {
            return Err(Refused::Unavailable);
        }
        let meets_others = holds.covers(pages);
        let is_new = |holds: &Holds, page: Range| !meets_others || !holds.covers(page);
        let (mut s2page, _) = self.acquire_lock_s2page(held);
        for (pfn, page) in each(pages) {
            match (s2page.get_pfn_owner(pfn), s2page.get_pfn_count(pfn)) {
                (Some(HOSTVISOR), Count::Shares(n)) if n < MAX_DMA_MAPS || !is_new(holds, page) => {}
                (Some(HOSTVISOR), _) => return Err(Refused::Busy(pfn)),
                _ => return Err(Refused::NotHostPage(pfn)),
            }
        }
        for (pfn, page) in each(pages) {
            if let Count::Shares(n) = s2page.get_pfn_count(pfn)
                && is_new(holds, page)
            {
                s2page.set_pfn_count(pfn, Count::Shares(n + 1));
            }
        }
        holds.0.push((pages, of));
        Ok(())
    }

    /// All for which `is_over` holds is in use no more. Locks S2PAGE.
    pub(super) fn release(&self, holds: &mut Holds, held: &mut Held<'_, { rank::GIC }>, is_over: impl Fn(Use) -> bool) {
        while let Some(index) = holds.0.iter().position(|hold| is_over(hold.1)) {
            let (pages, _) = holds.0.swap_remove(index);
            let meets_others = holds.covers(pages);
            let (mut s2page, _) = self.acquire_lock_s2page(held);
            for (pfn, page) in each(pages) {
                if let Count::Shares(n @ 1..) = s2page.get_pfn_count(pfn)
                    && !(meets_others && holds.covers(page))
                {
                    s2page.set_pfn_count(pfn, Count::Shares(n - 1));
                }
            }
        }
    }

    /// Asks that all of `memory` be the host's, now. Locks S2PAGE.
    pub(super) fn require_hosts(&self, memory: Range, held: &mut Held<'_, { rank::GIC }>) -> Result<(), Refused> {
        if memory.size() > MAX_TABLE {
            return Err(Refused::Unavailable);
        }
        let (s2page, _) = self.acquire_lock_s2page(held);
        let mut pages = each(memory.align_out(PAGE_SIZE));
        match pages.find(|(pfn, _)| s2page.get_pfn_owner(*pfn) != Some(HOSTVISOR)) {
            Some((pfn, _)) => Err(Refused::NotHostPage(pfn)),
            None => Ok(()),
        }
    }
}
