// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemHandler (`spec/layers/09-traps.md` §9.1), for the SMMU.

use super::mmio_raw::smmu_init_pte;
use super::{ContextBank, SmmuIndex};
use crate::addr::{Ipa, Pa};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// Spec: MH-2. Maps `iova` to the page `paddr` for bank `b` of SMMU `k`, with the attributes in `prot`; a page of the
    /// host for a VM's bank becomes the VM's. That is IO-4 and then IO-5, in one critical section: all that either could
    /// refuse is asked before the page changes hands. Locks SMMU → VM(owner) → S2PAGE → PT(0), SPT.
    pub fn el2_arm_lpae_map<const OUTER: u8>(
        &self,
        iova: Ipa,
        paddr: Pa,
        prot: u64,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.smmu_hardware(b, k)?;
        let pte = smmu_init_pte(prot, paddr)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        match banks.owner(k, b) {
            Some(owner) => self.assign_and_map_smmu(owner, b, k, iova, pte, &mut held),
            None => Ok(()),
        }
    }
}
