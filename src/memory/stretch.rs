// SPDX-License-Identifier: GPL-2.0-only
//! Whose the pages of the machine are, for the host to look at: PAGE_OWNER.

use super::{Count, Owner, S2Page, S2PageSection};
use crate::addr::{HOSTVISOR, PAGE_SHIFT, PAGE_SIZE, Pfn, Range};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

/// Records of pages that one call looks at, at most: interrupts are masked.
pub const RECORDS_PER_CALL: u64 = 1 << 15;

/// Pages that follow each other and are in the same state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// Whose they are.
    pub owner: Owner,
    /// How many.
    pub pages: u64,
    /// Whether the host may access them.
    pub open: bool,
}

/// Whether the host may access RAM with this record: what MM-1 would say.
fn is_open(record: S2Page) -> bool {
    record.owner() == Some(HOSTVISOR) || matches!(record.count(), Count::Shares(1..))
}

impl<R: AsRef<[S2Page]> + AsMut<[S2Page]>> S2PageSection<'_, R> {
    /// The record of `pfn`, and how many of the next ones, at most [`RECORDS_PER_CALL`], are in the same state, if all
    /// pages below page number `end` have theirs next to each other. `None` for a page that is not tracked.
    fn alike(&self, pfn: Pfn, end: u64) -> Option<(S2Page, u64)> {
        let most = (end - pfn.as_u64()).min(RECORDS_PER_CALL) as usize;
        let records = self.records_from(pfn)?;
        let first = *records.first()?;
        let state = |record: S2Page| (record.owner(), is_open(record));
        let same = records.iter().take(most).take_while(|record| state(**record) == state(first)).count();
        Some((first, same as u64))
    }
}

impl<M: Machine> Corevisor<M> {
    /// The state of `pfn`, and of how many pages from there on, as far as one call looks. Lock S2PAGE.
    ///
    /// # Errors
    /// [`Refused::OutOfReach`] for a page that no stage-2 table can translate.
    pub fn stretch<const OUTER: u8>(&self, pfn: Pfn, outer: &mut Held<'_, OUTER>) -> Result<Stretch, Refused> {
        let reach = 1 << (self.ipa_bits() - PAGE_SHIFT);
        let page = Range::new(pfn.base().as_u64(), PAGE_SIZE).filter(|_| pfn.as_u64() < reach);
        let page = page.ok_or(Refused::OutOfReach)?;
        let windows = self.withheld_windows().flat_map(|w| [w.start, w.end]).map(|edge| edge >> PAGE_SHIFT);
        let edges = windows.chain(self.regions().next_edge(pfn.as_u64())).filter(|&edge| edge > pfn.as_u64());
        let end = edges.min().map_or(reach, |edge| edge.min(reach));
        let (s2page, _) = self.acquire_lock_s2page(outer);
        let (owner, pages, open) = match s2page.alike(pfn, end) {
            Some((record, pages)) => (record.owner(), pages, is_open(record)),
            None => (None, end - pfn.as_u64(), true),
        };
        Ok(Stretch { owner, pages, open: open && !self.is_withheld(page) })
    }
}
