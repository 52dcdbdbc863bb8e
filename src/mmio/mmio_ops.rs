// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioOps (`spec/layers/07-mmio.md` §7.5, seed 004). All hold lock SMMU throughout, but for IO-6.

use super::{BANKS_PER_SMMU, ContextBank, MAX_SMMUS, SmmuBanks, SmmuIndex};
use crate::addr::{COREVISOR, Gfn, HOSTVISOR, Ipa, PAGE_SIZE, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::Desc;
use crate::refused::Refused;
use crate::trap::{HostAbort, Registers};
use crate::vm::VmState;

impl<M: Machine> Corevisor<M> {
    /// Spec: IO-1. Carries out an access of the host, to the page `ipa`, if that is of an SMMU's registers; returns of which.
    /// `regs` are the host's registers. Locks SMMU → SPT.
    ///
    /// # Errors
    /// As [`Self::handle_host_mmio`]; then nothing has changed.
    pub fn emulate_mmio<const OUTER: u8>(
        &self,
        ipa: Ipa,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Option<SmmuIndex>, Refused> {
        // Where the windows are is constant: most faults of the host need not wait for the lock.
        let Some(k) = self.is_smmu_range(ipa) else { return Ok(None) };
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        self.handle_host_mmio(&banks, ipa, k, abort, regs, &mut held)?;
        self.release_lock_smmu(banks);
        Ok(Some(k))
    }

    /// Spec: IO-2. Frees bank `b` of SMMU `k`; nothing happens to a free one. Its streams fault from now on, it is disabled,
    /// its table is gone, and no device can use it any more, before its owner loses it (D-68, G3). Locks SMMU → VM(owner) →
    /// SPT.
    ///
    /// # Errors
    /// If its owner is a VM that is not powered off or has a vCPU running, or the host and its table is not empty (D-15).
    pub fn el2_free_smmu_pgd<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.smmu_hardware(b, k)?;
        let (mut banks, mut held) = self.acquire_lock_smmu(outer);
        let Some(owner) = banks.owner(k, b) else { return Ok(()) };
        if owner == HOSTVISOR {
            if self.acquire_lock_spt(&mut held).mapped(b, k) != 0 {
                return Err(Refused::Bank);
            }
            return self.release_bank(&mut banks, b, k, &mut held);
        }
        let (vm, mut held) = self.acquire_lock_vm(owner, &mut held);
        if vm.state != VmState::Poweroff || vm.is_active() {
            return Err(Refused::State(owner));
        }
        self.release_bank(&mut banks, b, k, &mut held)
    }

    /// Frees every bank of `v`, which will not run any more, and gets no new one: for its destruction. Locks SMMU → SPT.
    ///
    /// # Errors
    /// If an SMMU does not end its invalidations. Then `v` keeps that bank.
    pub fn free_banks_of<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let (mut banks, mut held) = self.acquire_lock_smmu(outer);
        for (k, b) in all_banks() {
            if banks.owner(k, b) == Some(v) {
                self.release_bank(&mut banks, b, k, &mut held)?;
            }
        }
        Ok(())
    }

    fn release_bank<const OUTER: u8>(
        &self,
        banks: &mut SmmuBanks,
        b: ContextBank,
        k: SmmuIndex,
        held: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.detach_bank(b, k, held)?;
        let mut spt = self.acquire_lock_spt(held);
        self.smmu_hardware(b, k)?.disable(spt.held())?;
        spt.free_smmu_pt(b, k);
        banks.set_owner(k, b, None);
        Ok(())
    }

    /// Spec: IO-3. Gives bank `b` of SMMU `k`, if it is free, to `v`, with an empty table, and has it translate. Locks SMMU →
    /// VM(v) → SPT.
    ///
    /// # Errors
    /// As [`Self::alloc_smmu`] (D-13); if there is no such bank; if `v` is Corevisor, which has no devices.
    pub fn el2_alloc_smmu_pgd<const OUTER: u8>(
        &self,
        b: ContextBank,
        v: Vmid,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let hardware = self.smmu_hardware(b, k)?;
        if v == COREVISOR {
            return Err(Refused::Bank);
        }
        let (mut banks, mut held) = self.acquire_lock_smmu(outer);
        if banks.owner(k, b).is_some() {
            return Ok(());
        }
        self.alloc_smmu(v, b, k, &mut held)?;
        let mut spt = self.acquire_lock_spt(&mut held);
        let root = spt.get_smmu_cfg_hw_ttbr(b, k).ok_or(Refused::Bank)?;
        if let Err(why) = hardware.enable(root, spt.held()) {
            spt.free_smmu_pt(b, k);
            return Err(why);
        }
        banks.set_owner(k, b, Some(v));
        Ok(())
    }

    /// Spec: IO-4. Gives page `pfn` to the owner of bank `b` of SMMU `k`, to be its page `gfn`; nothing happens for a free
    /// bank. Locks SMMU, and those of BO-10.
    pub fn smmu_assign_page<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        pfn: Pfn,
        gfn: Gfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.smmu_hardware(b, k)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        match banks.owner(k, b) {
            Some(owner) => self.assign_smmu(owner, pfn, gfn, &mut held),
            None => Ok(()),
        }
    }

    /// Spec: IO-5. Maps `iova` by `pte` for bank `b` of SMMU `k`; nothing happens for a free bank. Locks SMMU, and those of
    /// BO-11.
    pub fn smmu_map_page<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.smmu_hardware(b, k)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        match banks.owner(k, b) {
            Some(owner) => self.map_smmu(owner, b, k, iova, pte, &mut held),
            None => Ok(()),
        }
    }

    /// Spec: IO-6. The physical address that bank `b` of SMMU `k` makes of `iova`; the offset in the page where nothing is
    /// mapped (D-62). Lock SPT.
    pub fn el2_arm_lpae_iova_to_phys<const OUTER: u8>(
        &self,
        iova: Ipa,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        self.smmu_hardware(b, k)?;
        let pte = self.walk_spt(b, k, iova, outer)?;
        Ok(pte.pp().as_u64() + (iova.as_u64() & (PAGE_SIZE - 1)))
    }

    /// Spec: IO-7. Takes the mapping of `iova` from bank `b` of SMMU `k`; nothing happens for a free bank. Locks SMMU, and
    /// those of BO-12.
    pub fn el2_arm_lpae_clear<const OUTER: u8>(
        &self,
        iova: Ipa,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        self.smmu_hardware(b, k)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        match banks.owner(k, b) {
            Some(owner) => self.clear_smmu(owner, b, k, iova, &mut held),
            None => Ok(()),
        }
    }
}

/// All banks that there can be.
fn all_banks() -> impl Iterator<Item = (SmmuIndex, ContextBank)> {
    let smmus = (0..MAX_SMMUS as u64).filter_map(SmmuIndex::new);
    smmus.flat_map(|k| (0..BANKS_PER_SMMU as u64).filter_map(ContextBank::new).map(move |b| (k, b)))
}
