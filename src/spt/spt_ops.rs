// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioSPTOps (`spec/layers/04-spt.md` §4.4): one locked operation each.

use crate::addr::Ipa;
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::npt::Desc;
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// Spec: SO-1. Bank `b` of SMMU `k` has an empty table from now on. Lock SPT.
    ///
    /// # Errors
    /// If it has one that maps pages, or no table pages are left.
    pub fn init_spt<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let mut spt = self.acquire_lock_spt(outer);
        let done = spt.clear_smmu_pt(b, k);
        spt.release_lock_spt();
        done
    }

    /// Spec: SO-2. The leaf for `iova`; none where nothing is mapped. Lock SPT.
    pub fn walk_spt<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Desc, Refused> {
        self.acquire_lock_spt(outer).walk_smmu_pt(b, k, iova)
    }

    /// Spec: SO-3. Maps `iova` by `pte`, a leaf, unless it is mapped so already; returns whether it was not. Lock SPT.
    ///
    /// # Errors
    /// If something else is mapped there (the hardware asks for break-before-make), the bank has no table, or no table
    /// pages are left.
    pub fn map_spt<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<bool, Refused> {
        let mut spt = self.acquire_lock_spt(outer);
        let old = spt.walk_smmu_pt(b, k, iova)?;
        if old == pte {
            return Ok(false);
        }
        if !old.is_none() {
            return Err(Refused::Busy(old.pp().frame()));
        }
        spt.set_smmu_pt(b, k, iova, pte)?;
        Ok(true)
    }

    /// Spec: SO-4. Takes the mapping of `iova` away, if there is one, and waits until no device can use it any more
    /// (`spec/layers/12-wdrf.md` §12.6); returns what it was. Lock SPT.
    ///
    /// # Errors
    /// If the SMMU does not come to an end with it: then the mapping is still there.
    pub fn unmap_spt<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Desc, Refused> {
        let hardware = self.smmu_hardware(b, k)?;
        let mut spt = self.acquire_lock_spt(outer);
        let old = spt.walk_smmu_pt(b, k, iova)?;
        if old.is_none() {
            return Ok(old);
        }
        spt.set_smmu_pt(b, k, iova, Desc::NONE)?;
        if let Err(why) = hardware.invalidate(Some(iova), spt.held()) {
            spt.put_back(b, k, iova, old)?;
            return Err(why);
        }
        Ok(old)
    }
}
