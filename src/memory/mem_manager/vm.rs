// SPDX-License-Identifier: GPL-2.0-only
//! Pages of VMs: MM-2 to MM-7.

use crate::addr::{Gfn, HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Pa, Pfn, Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::{Count, S2Page, S2PageSection};
use crate::npt::{Desc, Level, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::refused::Refused;

/// Grants of one page, at most (specification: `MAX_SHARE_COUNT`).
pub const MAX_SHARE_COUNT: u8 = 100;

/// What MM-3 has to do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Assignment {
    /// It is the host's, and is taken from it.
    Take,
    /// It is the VM's already, with this count.
    Keep(Count),
}

/// Only VMs own what these functions are about; the specification's `is_vmid` allows the host and Corevisor, too (D-84).
pub(crate) fn vm_only(v: Vmid) -> Result<(), Refused> {
    if v.is_vm() { Ok(()) } else { Err(Refused::Argument(1)) }
}

/// The entry for a page, or 2 MiB, of RAM of a VM.
pub(crate) fn ram_leaf(ipa: Ipa, pa: Pa, level: Level) -> Result<Desc, Refused> {
    match level {
        Level::L2 if !ipa.is_aligned(PMD_SIZE) => Err(Refused::Argument(2)),
        Level::L2 if !pa.is_aligned(PMD_SIZE) => Err(Refused::Argument(3)), // D-20
        Level::L2 => Ok(Desc::leaf(pa, Level::L2, PAGE_S2_KERNEL)),
        Level::L3 => Ok(Desc::leaf(pa.frame().base(), Level::L3, PAGE_S2_KERNEL)),
        _ => Err(Refused::Argument(4)),
    }
}

impl<R: AsRef<[S2Page]> + AsMut<[S2Page]>> S2PageSection<'_, R> {
    /// What MM-3 has to do to make `pfn` page `gfn` of the VM `v`.
    pub(crate) fn assignment(&self, v: Vmid, gfn: Gfn, pfn: Pfn) -> Result<Assignment, Refused> {
        match (self.get_pfn_owner(pfn), self.get_pfn_count(pfn)) {
            (Some(HOSTVISOR), Count::Shares(0)) => Ok(Assignment::Take),
            (Some(HOSTVISOR), _) => Err(Refused::Busy(pfn)),
            (Some(owner), count) if owner == v => match self.get_pfn_map(pfn) {
                Some(other) if other != gfn.as_u64() => Err(Refused::NotVmPage(pfn)),
                _ => Ok(Assignment::Keep(count)),
            },
            _ => Err(Refused::NotHostPage(pfn)),
        }
    }

    /// The last part of MM-3, when the host can't reach the page any more, and it is in no cache.
    pub(crate) fn record_assignment(&mut self, v: Vmid, gfn: Gfn, pfn: Pfn, assignment: Assignment) {
        let count = match assignment {
            Assignment::Take | Assignment::Keep(Count::DmaPending) => Count::Shares(self.standing_grants(v)),
            Assignment::Keep(count) => count,
        };
        self.set_record(pfn, S2Page::new(v, count, Some(gfn.as_u64())));
    }
}

impl<M: Machine> Corevisor<M> {
    /// Spec: MM-2. Gives the page `pfn` of the VM `v`, powered off, back to the host, zeroed; nothing happens to pages
    /// of others. Locks S2PAGE, then PT(v), then PT(0).
    ///
    /// The page leaves the host's table, where it was shared (D-03), and that of `v`, with the whole block that maps it
    /// there (D-82), before anybody else can own it.
    ///
    /// # Errors
    /// If `v` is no VM (D-84).
    pub fn clear_vm_page<const OUTER: u8>(
        &self,
        v: Vmid,
        pfn: Pfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if s2page.get_pfn_owner(pfn) != Some(v) {
            return Ok(());
        }
        if let Some(gfn) = s2page.get_pfn_map(pfn).and_then(Gfn::new)
            && self.in_reach(gfn.base())
            && let Ok(mut pt) = self.acquire_lock_pt(v, &mut held)
        {
            pt.unmap(gfn.base(), pfn.base())?;
        }
        self.clear_pfn_host(pfn, &mut held)?;
        self.machine().clear_phys_page(pfn);
        self.map_host_dma(pfn, &mut held)?;
        s2page.set_record(pfn, S2Page::host(pfn));
        s2page.release_lock_s2page();
        Ok(())
    }

    /// Spec: MM-3. Makes `pfn` page `gfn` of the VM `v`. A page of the host that is not in use is taken from it, and granted
    /// to it at once if `v` is a shared VM (D-115); a page
    /// of `v`'s whose place is not known, or is this one, stays `v`'s, with the grants that it has. Locks S2PAGE, then
    /// PT(0).
    ///
    /// # Errors
    /// For all other pages, and if `v` is no VM (D-84). Nothing has changed then (D-81).
    pub fn assign_pfn_to_vm<const OUTER: u8>(
        &self,
        v: Vmid,
        gfn: Gfn,
        pfn: Pfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        let assignment = s2page.assignment(v, gfn, pfn)?;
        self.clear_pfn_host_unless_shared(&s2page, v, assignment, pfn, &mut held)?;
        if assignment == Assignment::Take {
            self.machine().fetch_from_doracle(pfn);
        }
        s2page.record_assignment(v, gfn, pfn, assignment);
        Ok(())
    }

    /// The part of MM-3 that can fail: the page leaves the host's table, unless it is the VM's and shared with the host
    /// or was never there. One that came to the VM through the SMMU (D-01) is not there either; to make sure costs a
    /// walk. From its devices it goes only if `v` does not share all of its pages with it.
    pub(crate) fn clear_pfn_host_unless_shared(
        &self,
        s2page: &S2PageSection<'_, M::Records>,
        v: Vmid,
        assignment: Assignment,
        pfn: Pfn,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<(), Refused> {
        match assignment {
            Assignment::Keep(Count::Shares(_)) => Ok(()),
            _ if s2page.standing_grants(v) == 0 => self.take_from_host(pfn, Level::L3, held),
            _ => {
                self.clear_pfn_host(pfn, held)?;
                self.map_host_dma(pfn, held)
            }
        }
    }

    /// No CPU of the host and none of its devices reaches `pfn` any more, or at `Level::L2` the 512 pages from there on. Lock
    /// PT(0), before it that of the host's DMA table.
    ///
    /// # Errors
    /// If an SMMU does not come to an end with it. Nothing has changed then.
    pub(crate) fn take_from_host(
        &self,
        pfn: Pfn,
        level: Level,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<(), Refused> {
        self.unmap_host_dma(pfn, level, held)?;
        // For the tables that this may take a page is reserved.
        if level == Level::L2 { self.clear_block_host(pfn, held) } else { self.clear_pfn_host(pfn, held) }
    }

    /// Spec: MM-4. Maps `ipa` of the VM `v` to the page `pa`, or a block of 512, of RAM: it can read, write and execute
    /// it. That the pages are `v`'s was MM-3's. Lock PT(v).
    ///
    /// # Errors
    /// If `v` is no VM; for a block that is not aligned (D-20); where something else is mapped (D-07) or there are no
    /// tables left.
    pub fn map_pfn_vm<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        pa: Pa,
        level: Level,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        self.map_s2pt(v, ipa, level, ram_leaf(ipa, pa, level)?, outer)?;
        self.machine().sync_code();
        Ok(())
    }

    /// Spec: MM-5. Maps the page of `gpa` of the VM `v` to the page `pa` of device memory. Nothing happens for RAM. Locks
    /// S2PAGE, then PT(v).
    ///
    /// # Errors
    /// If `v` is no VM; for registers that the host can't reach either (D-83); as MM-4.
    pub fn map_vm_io<const OUTER: u8>(
        &self,
        v: Vmid,
        gpa: Ipa,
        pa: Pa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        vm_only(v)?;
        let (s2page, mut held) = self.acquire_lock_s2page(outer);
        let pfn = pa.frame();
        if s2page.get_pfn_owner(pfn).is_some() {
            return Ok(());
        }
        let withheld = Range::new(pfn.base().as_u64(), PAGE_SIZE).is_none_or(|page| self.is_withheld(page));
        if withheld || !self.in_reach(pfn.host_gfn().base()) {
            return Err(Refused::OutOfReach);
        }
        let leaf = Desc::leaf(pfn.base(), Level::L3, PAGE_S2_DEVICE | S2_RDWR);
        self.map_s2pt(v, gpa, Level::L3, leaf, &mut held)
    }

    /// Spec: MM-6. The VM `v` shares its page `pfn` with the host once more, up to [`MAX_SHARE_COUNT`] times. Nothing
    /// happens to other pages, nor to one that is DMA-pending. Locks S2PAGE, then that of the host's DMA table.
    pub fn grant_vm_page<const OUTER: u8>(&self, v: Vmid, pfn: Pfn, outer: &mut Held<'_, OUTER>) {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if v.is_vm()
            && s2page.get_pfn_owner(pfn) == Some(v)
            && let Count::Shares(shares @ ..MAX_SHARE_COUNT) = s2page.get_pfn_count(pfn)
            && (shares > 0 || self.map_host_dma(pfn, &mut held).is_ok())
        {
            s2page.set_pfn_count(pfn, Count::Shares(shares + 1));
        }
    }

    /// Spec: MM-7. The VM `v` takes one grant of its page `pfn` back; with the last one the page leaves the host's table.
    /// Nothing happens to pages that are not shared, a DMA-pending one among them (D-11), nor to the standing grant of a
    /// shared VM's. Locks S2PAGE, then PT(0).
    ///
    /// # Errors
    /// If the host's table can't be changed; nothing has changed then.
    pub fn revoke_vm_page<const OUTER: u8>(
        &self,
        v: Vmid,
        pfn: Pfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if v.is_vm()
            && s2page.get_pfn_owner(pfn) == Some(v)
            && let Count::Shares(shares) = s2page.get_pfn_count(pfn)
            && shares > s2page.standing_grants(v)
        {
            self.take_grant_back(&mut s2page, pfn, shares, &mut held)?;
        }
        Ok(())
    }

    /// One of `shares` grants of a VM's page ends.
    fn take_grant_back(
        &self,
        s2page: &mut S2PageSection<'_, M::Records>,
        pfn: Pfn,
        shares: u8,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<(), Refused> {
        if shares == 1 {
            self.take_from_host(pfn, Level::L3, held)?;
            self.machine().fetch_from_doracle(pfn);
        }
        s2page.set_pfn_count(pfn, Count::Shares(shares - 1));
        Ok(())
    }

    /// MM-6 for the page that the VM `v` has at `ipa`, which it shares with nobody yet (MEM_SHARE). Locks S2PAGE, then
    /// PT(v).
    ///
    /// # Errors
    /// If `v` has no page of its own there, or the page is shared or DMA-pending; [`Refused::NoTable`] if there is no such
    /// VM. Nothing has changed then.
    pub fn share_page_at<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        let pfn = self.own_page_at(v, ipa, &s2page, &mut held)?;
        match s2page.get_pfn_count(pfn) {
            Count::Shares(0) => {
                self.map_host_dma(pfn, &mut held)?;
                s2page.set_pfn_count(pfn, Count::Shares(1));
            }
            _ => return Err(Refused::Busy(pfn)),
        }
        Ok(())
    }

    /// MM-7 for the page that the VM `v` has at `ipa`, which it shares (MEM_UNSHARE). Locks S2PAGE, then PT(v), then PT(0).
    ///
    /// # Errors
    /// As [`Self::share_page_at`], for a page that is not shared; and as MM-7.
    pub fn unshare_page_at<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        let pfn = self.own_page_at(v, ipa, &s2page, &mut held)?;
        match s2page.get_pfn_count(pfn) {
            Count::Shares(shares @ 1..) => self.take_grant_back(&mut s2page, pfn, shares, &mut held),
            _ => Err(Refused::Busy(pfn)),
        }
    }

    /// The page of RAM that the VM `v` has mapped at `ipa`.
    fn own_page_at(
        &self,
        v: Vmid,
        ipa: Ipa,
        s2page: &S2PageSection<'_, M::Records>,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<Pfn, Refused> {
        vm_only(v)?;
        let mapping = self.acquire_lock_pt(v, held)?.mapping(ipa)?;
        let pfn = mapping.translate(ipa).ok_or(Refused::Argument(1))?.frame();
        if s2page.get_pfn_owner(pfn) == Some(v) { Ok(pfn) } else { Err(Refused::NotVmPage(pfn)) }
    }
}
