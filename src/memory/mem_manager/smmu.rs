// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemManager, for the SMMU (`spec/layers/05-memory.md` §5.4).

use crate::addr::{COREVISOR, Gfn, HOSTVISOR, Ipa, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::{Count, S2Page, S2PageSection};
use crate::mmio::{ContextBank, SmmuIndex};
use crate::npt::{Desc, Level};
use crate::refused::Refused;

/// Most DMA mappings of one page of the host (specification: `EL2_SMMU_CFG_SIZE`). One more is refused (D-10).
pub const MAX_DMA_MAPS: u8 = 16;

impl<M: Machine> Corevisor<M> {
    /// Spec: MM-8. Page `pfn` of the host, which nobody else uses, becomes page `gfn` of `v`, to be reached by its devices
    /// only until its CPUs fault on it (D-01, D-04). Nothing happens to a page that is `v`'s already. Locks S2PAGE → PT(0).
    pub fn assign_pfn_to_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        gfn: Gfn,
        pfn: Pfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if may_assign(&s2page, v, pfn)? {
            self.assign(&mut s2page, v, gfn, pfn, &mut held)?;
        }
        Ok(())
    }

    /// Spec: MM-9. Maps `iova` for DMA of `v`, whose bank is `b` of SMMU `k`, by `pte`. A page of a VM must be the VM's page
    /// at that address; a page of the host may be mapped anywhere, and each mapping counts (D-09, D-10). The same mapping
    /// again changes nothing; another one in the place of an old one is refused. Locks S2PAGE → SPT.
    pub fn update_smmu_page<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if !belongs(&s2page, v, iova.frame(), pte.pp().frame()) {
            return Err(not_theirs(v, pte.pp().frame()));
        }
        self.update(&mut s2page, v, b, k, iova, pte, &mut held)
    }

    /// MM-8 and then MM-9, for MH-2, in one section: when MM-8 acts, MM-9 will not refuse. Locks S2PAGE → PT(0), SPT.
    pub(crate) fn assign_and_update_smmu_page<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let pfn = pte.pp().frame();
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        if may_assign(&s2page, v, pfn)? {
            let old = self.walk_spt(b, k, iova, &mut held)?;
            if !old.is_none() {
                return Err(Refused::Busy(old.pp().frame()));
            }
            self.acquire_lock_spt(&mut held).make_tables(b, k, iova)?;
            self.assign(&mut s2page, v, iova.frame(), pfn, &mut held)?;
        } else if !belongs(&s2page, v, iova.frame(), pfn) {
            return Err(not_theirs(v, pfn));
        }
        self.update(&mut s2page, v, b, k, iova, pte, &mut held)
    }

    /// Spec: MM-10. Takes the DMA mapping of `iova` from bank `b` of SMMU `k`, if there is one. When no device can use it any
    /// more, it does not count any more. Locks S2PAGE → SPT.
    pub fn unmap_smmu_page<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut s2page, mut held) = self.acquire_lock_s2page(outer);
        let old = self.unmap_spt(b, k, iova, &mut held)?;
        let pfn = old.pp().frame();
        if let (Some(HOSTVISOR), Count::Shares(n @ 1..)) = (s2page.get_pfn_owner(pfn), s2page.get_pfn_count(pfn))
            && !old.is_none()
        {
            s2page.set_pfn_count(pfn, Count::Shares(n - 1));
        }
        Ok(())
    }

    /// The page, which [`may_assign`] lets go, leaves the host's table, and then the host.
    fn assign(
        &self,
        s2page: &mut S2PageSection<'_, M::Records>,
        v: Vmid,
        gfn: Gfn,
        pfn: Pfn,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<(), Refused> {
        self.take_from_host(pfn, Level::L3, held)?;
        self.machine().fetch_from_doracle(pfn);
        s2page.set_record(pfn, S2Page::new(v, Count::DmaPending, Some(gfn.as_u64())));
        Ok(())
    }

    /// The mapping of a page that [`belongs`] there, and its count.
    #[expect(clippy::too_many_arguments, reason = "the section and what MM-9 takes")]
    fn update(
        &self,
        s2page: &mut S2PageSection<'_, M::Records>,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        held: &mut Held<'_, { rank::S2PAGE }>,
    ) -> Result<(), Refused> {
        let pfn = pte.pp().frame();
        if v != HOSTVISOR {
            return self.map_spt(b, k, iova, pte, held).map(|_| ());
        }
        match s2page.get_pfn_count(pfn) {
            Count::Shares(n) if n < MAX_DMA_MAPS => {
                if self.map_spt(b, k, iova, pte, held)? {
                    s2page.set_pfn_count(pfn, Count::Shares(n + 1));
                }
                Ok(())
            }
            _ if self.walk_spt(b, k, iova, held)? == pte => Ok(()),
            _ => Err(Refused::Busy(pfn)),
        }
    }
}

/// Whether MM-8 has to take `pfn` from the host for `v`; not if it is `v`'s already.
fn may_assign<R: AsRef<[S2Page]> + AsMut<[S2Page]>>(
    s2page: &S2PageSection<'_, R>,
    v: Vmid,
    pfn: Pfn,
) -> Result<bool, Refused> {
    match (s2page.get_pfn_owner(pfn), s2page.get_pfn_count(pfn)) {
        (Some(owner), _) if owner == v => Ok(false),
        (Some(HOSTVISOR), Count::Shares(0)) => Ok(true),
        (Some(HOSTVISOR), _) => Err(Refused::Busy(pfn)),
        _ => Err(Refused::NotHostPage(pfn)),
    }
}

/// Whether devices of `v` may reach `pfn` at `gfn`.
fn belongs<R: AsRef<[S2Page]> + AsMut<[S2Page]>>(s2page: &S2PageSection<'_, R>, v: Vmid, gfn: Gfn, pfn: Pfn) -> bool {
    let owner = s2page.get_pfn_owner(pfn);
    owner == Some(v) && v != COREVISOR && (v == HOSTVISOR || s2page.get_pfn_map(pfn) == Some(gfn.as_u64()))
}

fn not_theirs(v: Vmid, pfn: Pfn) -> Refused {
    if v == HOSTVISOR { Refused::NotHostPage(pfn) } else { Refused::NotVmPage(pfn) }
}
