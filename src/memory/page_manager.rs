// SPDX-License-Identifier: GPL-2.0-only
//! Layer: PageManager (`spec/layers/05-memory.md` §5.3), and the ownership record that it keeps.

use super::MemRegions;
use crate::addr::{Gfn, HOSTVISOR, Pfn, VMID_COUNT, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;

/// The host's private gfn of page `p` is `p` plus this (specification: `SMMU_HOST_OFFSET`, D-09).
pub const HOST_GFN_OFFSET: u64 = 1_000_000_000;

/// Owner of a page: a principal, or nobody (`INVALID`: not RAM).
pub type Owner = Option<Vmid>;

/// How often a page is shared or mapped for DMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// Outstanding grants of a VM's page, at most 100, or DMA mappings of the host's, at most 16.
    Shares(u8),
    /// `INVALID`: given to a VM through the SMMU, not yet faulted in by its CPUs (D-01: not shared).
    DmaPending,
}

/// The record of one page in eight bytes: gfn in bits 47:0 (all ones: none), count in 55:48 (all ones: DMA pending),
/// owner in 63:56 (all ones: nobody).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct S2Page(u64);

const NO_GFN: u64 = (1 << 48) - 1;
const DMA_PENDING: u64 = 0xFF;
const NOBODY: u64 = 0xFF;

impl S2Page {
    /// A record with these contents; `gfn` below 2^48 - 1.
    pub const fn new(owner: Vmid, count: Count, gfn: Option<u64>) -> Self {
        let gfn = match gfn {
            Some(gfn) => gfn & NO_GFN,
            None => NO_GFN,
        };
        let count = match count {
            Count::Shares(n) => n as u64,
            Count::DmaPending => DMA_PENDING,
        };
        Self(gfn | (count << 48) | ((owner.index() as u64) << 56))
    }

    /// The record of a page of the host that nobody else uses: (0, 0, pfn + 10^9).
    pub const fn host(pfn: Pfn) -> Self {
        Self::new(HOSTVISOR, Count::Shares(0), Some(pfn.as_u64() + HOST_GFN_OFFSET))
    }

    /// Makes `records` those of the host's pages from `first` on.
    pub fn fill_host(records: &mut [Self], first: Pfn) {
        // The gfn is in the lowest bits, so the next page's record is the next number.
        for (next, record) in (Self::host(first).0..).zip(records) {
            *record = Self(next);
        }
    }

    /// Who owns the page (AM-45 `get_s2_page_vmid`).
    pub const fn owner(self) -> Owner {
        Vmid::new(self.0 >> 56)
    }

    /// How often it is shared (AM-47 `get_s2_page_count`).
    pub const fn count(self) -> Count {
        match (self.0 >> 48) & 0xFF {
            DMA_PENDING => Count::DmaPending,
            n => Count::Shares(n as u8),
        }
    }

    /// The owner's page number for it (AM-49 `get_s2_page_gfn`).
    pub const fn gfn(self) -> Option<u64> {
        match self.0 & NO_GFN {
            NO_GFN => None,
            gfn => Some(gfn),
        }
    }

    fn is_private(self) -> bool {
        self.count() == Count::Shares(0)
    }

    /// The same with another owner (AM-46 `set_s2_page_vmid`).
    fn with_owner(self, owner: Vmid) -> Self {
        Self(self.0 & !(NOBODY << 56) | (owner.index() as u64) << 56)
    }

    /// The same with another page number (AM-50 `set_s2_page_gfn`).
    fn with_gfn(self, gfn: Option<u64>) -> Self {
        Self(self.0 & !NO_GFN | gfn.unwrap_or(NO_GFN) & NO_GFN)
    }

    /// The same with another count (AM-48 `set_s2_page_count`).
    fn with_count(self, count: Count) -> Self {
        let bits = Self::new(HOSTVISOR, count, None).0 & (0xFF << 48);
        Self(self.0 & !(0xFF << 48) | bits)
    }
}

/// The ownership table, the object of lock S2PAGE: the records, and how many pages each principal owns.
#[derive(Clone, Debug)]
pub struct Owners<R> {
    /// One record for each tracked page.
    pub(crate) records: R,
    pages: [u64; VMID_COUNT],
    /// Those of them whose count is 0.
    private: [u64; VMID_COUNT],
    /// The VMs, by bit, all of whose pages are granted to the host: [`crate::vm::VmFlags::SHARED`].
    granting: u32,
}

impl<R: AsRef<[S2Page]> + AsMut<[S2Page]>> Owners<R> {
    /// The table of these records, which are complete.
    pub fn new(regions: &MemRegions, records: R) -> Self {
        let (mut pages, mut private) = ([0; VMID_COUNT], [0; VMID_COUNT]);
        let count = records.as_ref().len().min(regions.pages() as usize);
        for record in &records.as_ref()[..count] {
            if let Some(owner) = record.owner() {
                pages[owner.index()] += 1;
                private[owner.index()] += u64::from(record.is_private());
            }
        }
        Self { records, pages, private, granting: 0 }
    }
}

/// The critical section of S2PAGE (LK-3 … LK-9): every decision about ownership is made in one.
pub struct S2PageSection<'s, R> {
    regions: &'s MemRegions,
    owners: Guard<'s, Owners<R>>,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: LK-3. Enters the critical section of the ownership table.
    pub fn acquire_lock_s2page<'s, const OUTER: u8>(
        &'s self,
        outer: &'s mut Held<'_, OUTER>,
    ) -> (S2PageSection<'s, M::Records>, Held<'s, { rank::S2PAGE }>) {
        let (owners, held) = self.s2page().lock(outer);
        (S2PageSection { regions: self.regions(), owners }, held)
    }
}

impl<R: AsRef<[S2Page]> + AsMut<[S2Page]>> S2PageSection<'_, R> {
    /// Spec: LK-9. Leaves the critical section, as the section's drop does.
    pub fn release_lock_s2page(self) {
        drop(self);
    }

    fn record(&self, pfn: Pfn) -> Option<S2Page> {
        let index = self.regions.get_s2_page_index(pfn)?;
        self.owners.records.as_ref().get(index).copied()
    }

    /// The records from that of `pfn` on: those of the pages that follow it, as far as its region goes.
    pub(super) fn records_from(&self, pfn: Pfn) -> Option<&[S2Page]> {
        self.owners.records.as_ref().get(self.regions.get_s2_page_index(pfn)?..)
    }

    fn update(&mut self, pfn: Pfn, change: impl FnOnce(S2Page) -> S2Page) {
        let Owners { records, pages, private, .. } = &mut *self.owners;
        if let Some(index) = self.regions.get_s2_page_index(pfn)
            && let Some(record) = records.as_mut().get_mut(index)
        {
            let old = core::mem::replace(record, change(*record));
            if let (Some(from), Some(to)) = (old.owner(), record.owner()) {
                pages[from.index()] -= 1;
                pages[to.index()] += 1;
                private[from.index()] -= u64::from(old.is_private());
                private[to.index()] += u64::from(record.is_private());
            }
        }
    }

    /// How many tracked pages `v` owns.
    pub fn pages_of(&self, v: Vmid) -> u64 {
        self.owners.pages[v.index()]
    }

    /// The next pages of `v` that follow each other, at most `longest`, in the page numbers `from..end`: the first of
    /// them, and how many. Their number is 0 where the search ended without any: at `end`, or because it has looked at
    /// `records` records, from which it counts down. Untracked memory is skipped and does not count.
    pub fn pages_from(&self, v: Vmid, from: u64, end: u64, longest: u64, records: &mut u64) -> (u64, u64) {
        let (mut at, mut found) = (from, 0);
        while at < end && found < longest && *records > 0 {
            let record = Pfn::new(at).and_then(|pfn| self.record(pfn));
            match record {
                None if found == 0 => at = self.regions.next_edge(at).map_or(end, |edge| edge.min(end)),
                Some(record) if record.owner() == Some(v) => (at, found) = (at + 1, found + 1),
                Some(_) if found == 0 => at += 1,
                _ => break,
            }
            *records -= u64::from(record.is_some());
        }
        (at - found, found)
    }

    /// From now on each page that `v`, which has none yet, gets is granted to the host; or not any more.
    pub fn set_granting(&mut self, v: Vmid, granting: bool) {
        let bit = 1 << v.index();
        self.owners.granting = if granting { self.owners.granting | bit } else { self.owners.granting & !bit };
    }

    /// How often a page of `v` is shared without a call of the VM's: the grant that a shared VM can't take back.
    pub fn standing_grants(&self, v: Vmid) -> u8 {
        (self.owners.granting >> v.index() & 1) as u8
    }

    /// How many of those are shared with nobody.
    pub fn private_pages_of(&self, v: Vmid) -> u64 {
        self.owners.private[v.index()]
    }

    /// Asks that `pfn` be the host's, and in no other use.
    ///
    /// # Errors
    /// [`Refused::NotHostPage`], [`Refused::Busy`].
    pub fn require_free(&self, pfn: Pfn) -> Result<(), Refused> {
        match (self.get_pfn_owner(pfn), self.get_pfn_count(pfn)) {
            (Some(HOSTVISOR), Count::Shares(0)) => Ok(()),
            (Some(HOSTVISOR), _) => Err(Refused::Busy(pfn)),
            _ => Err(Refused::NotHostPage(pfn)),
        }
    }

    /// Spec: PM-1. The owner; `None` for a page that is not tracked RAM.
    pub fn get_pfn_owner(&self, pfn: Pfn) -> Owner {
        self.record(pfn)?.owner()
    }

    /// Spec: PM-2. Sets the owner; nothing happens to a page that is not tracked RAM.
    pub fn set_pfn_owner(&mut self, pfn: Pfn, owner: Vmid) {
        self.update(pfn, |r| r.with_owner(owner));
    }

    /// Spec: PM-3. The count; `DmaPending` (`INVALID`) for a page that is not tracked RAM.
    pub fn get_pfn_count(&self, pfn: Pfn) -> Count {
        self.record(pfn).map_or(Count::DmaPending, S2Page::count)
    }

    /// Spec: PM-4. Sets the count.
    pub fn set_pfn_count(&mut self, pfn: Pfn, count: Count) {
        self.update(pfn, |r| r.with_count(count));
    }

    /// Spec: PM-5. The owner's page number.
    pub fn get_pfn_map(&self, pfn: Pfn) -> Option<u64> {
        self.record(pfn)?.gfn()
    }

    /// Spec: PM-6. Sets the owner's page number.
    pub fn set_pfn_map(&mut self, pfn: Pfn, gfn: Option<Gfn>) {
        self.update(pfn, |r| r.with_gfn(gfn.map(Gfn::as_u64)));
    }

    /// Makes `record` that of `pfn`; for whole transitions such as MM-2's and MM-3's.
    pub fn set_record(&mut self, pfn: Pfn, record: S2Page) {
        self.update(pfn, |_| record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::COREVISOR;

    #[test]
    fn a_record_keeps_its_three_fields_apart() {
        let v = Vmid::new_vm(15).unwrap();
        for owner in [HOSTVISOR, v, COREVISOR] {
            for count in [Count::Shares(0), Count::Shares(100), Count::DmaPending] {
                for gfn in [None, Some(0), Some((1 << 36) + HOST_GFN_OFFSET)] {
                    let r = S2Page::new(owner, count, gfn);
                    assert_eq!((r.owner(), r.count(), r.gfn()), (Some(owner), count, gfn));
                    let moved = r.with_owner(v).with_count(Count::Shares(7)).with_gfn(Some(9));
                    assert_eq!(moved, S2Page::new(v, Count::Shares(7), Some(9)));
                }
            }
        }
    }
}
