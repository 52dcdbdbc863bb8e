// SPDX-License-Identifier: GPL-2.0-only
//! Layer: NPTOps (`spec/layers/03-npt.md` §3.4): one locked operation each.

use super::{Desc, Level, Mapping, PAGE_GUEST, PAGE_S2_DEVICE, S2_RDWR};
use crate::addr::{HOSTVISOR, Ipa, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// Spec: NO-1. The level at which `v` has `ipa` mapped, if it has. Lock PT(v).
    pub fn get_level_s2pt<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Option<Level>, Refused> {
        self.acquire_lock_pt(v, outer)?.get_npt_level(ipa)
    }

    /// Spec: NO-2. The entry of `v`'s table that decides about `ipa`. Lock PT(v).
    pub fn walk_s2pt<const OUTER: u8>(&self, v: Vmid, ipa: Ipa, outer: &mut Held<'_, OUTER>) -> Result<Desc, Refused> {
        self.acquire_lock_pt(v, outer)?.walk_npt(ipa)
    }

    /// Spec: NO-3. Maps `ipa` of `v` to `leaf`'s page at `level` (`L2` or `L3`), unless it is mapped so already.
    pub fn map_s2pt<const OUTER: u8>(
        &self,
        v: Vmid,
        ipa: Ipa,
        level: Level,
        leaf: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let mut pt = self.acquire_lock_pt(v, outer)?;
        let old = pt.mapping(ipa)?;
        if pt.is_mapped(old, ipa, Mapping { level, desc: leaf }) {
            return Ok(()); // another CPU was faster, or the fault was a stale one
        }
        if leaf.attributes() == PAGE_S2_DEVICE | S2_RDWR {
            pt.charge_device_quota();
        }
        pt.set_npt(ipa, level, leaf)
    }

    /// Spec: NO-4. Takes the host's mapping of `pfn` away, if it has one, and waits until no CPU of the host can
    /// reach the page any more (`spec/layers/12-wdrf.md` §12.6). Blocks are split; on error nothing has changed.
    pub fn clear_pfn_host<const OUTER: u8>(&self, pfn: Pfn, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let mut pt = self.acquire_lock_pt(HOSTVISOR, outer)?;
        let ipa = pfn.host_gfn().base();
        if pt.get_npt_level(ipa)?.is_none() {
            return Ok(());
        }
        pt.set_npt(ipa, Level::L3, Desc::from_u64(PAGE_GUEST))?;
        pt.invalidate(ipa);
        Ok(())
    }

    /// NO-4 for the 512 pages from `first` on, which is a multiple of 512, with one end of cached translations for all.
    pub fn clear_block_host<const OUTER: u8>(&self, first: Pfn, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        self.acquire_lock_pt(HOSTVISOR, outer)?.clear_host_block(first.host_gfn().base())
    }
}
