// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootOps, for the SMMU (`spec/layers/06-boot.md` §6.4).

use crate::addr::{Gfn, Ipa, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::npt::Desc;
use crate::refused::Refused;
use crate::vm::{VmInfo, VmState};

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-9. Bank `b` of SMMU `k` gets an empty table, for `v`. Locks VM(v) → SPT.
    ///
    /// # Errors
    /// As for all four: if `v` is a VM that is verified, or is being destroyed. Besides, if it is powered off: its pages
    /// may be leaving it, and no device may reach them. A VM that is not there yet may have a bank already, as the
    /// specification allows.
    pub fn alloc_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (vm, mut held) = self.lock_vm_for_dma(v, outer)?;
        if v.is_vm() && vm.state == VmState::Poweroff {
            return Err(Refused::State(v));
        }
        self.init_spt(b, k, &mut held)
    }

    /// Spec: BO-10. Page `pfn` becomes page `gfn` of the VM `v`, for its devices (MM-8); nothing happens for the host. A
    /// verified VM is refused, not one that is being made (D-12, D-103). Locks VM(v) → S2PAGE → PT(0).
    pub fn assign_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        pfn: Pfn,
        gfn: Gfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (vm, mut held) = self.lock_vm_for_dma(v, outer)?;
        require_unsettled(v, &vm)?;
        if v.is_vm() { self.assign_pfn_to_smmu(v, gfn, pfn, &mut held) } else { Ok(()) }
    }

    /// Spec: BO-11. Maps `iova` by `pte` for `v`, whose bank is `b` of SMMU `k` (MM-9). Locks VM(v) → S2PAGE → SPT.
    pub fn map_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (vm, mut held) = self.lock_vm_for_dma(v, outer)?;
        require_unsettled(v, &vm)?;
        self.update_smmu_page(v, b, k, iova, pte, &mut held)
    }

    /// BO-10 and then BO-11, for MH-2, in one section.
    pub(crate) fn assign_and_map_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        pte: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (vm, mut held) = self.lock_vm_for_dma(v, outer)?;
        require_unsettled(v, &vm)?;
        if v.is_vm() {
            self.assign_and_update_smmu_page(v, b, k, iova, pte, &mut held)
        } else {
            self.update_smmu_page(v, b, k, iova, pte, &mut held)
        }
    }

    /// Spec: BO-12. Takes the mapping of `iova` from `v`, whose bank is `b` of SMMU `k` (MM-10). A VM that is powered off may
    /// be cleaned up (D-14). Locks VM(v) → S2PAGE → SPT.
    pub fn clear_smmu<const OUTER: u8>(
        &self,
        v: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        iova: Ipa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (_vm, mut held) = self.lock_vm_for_dma(v, outer)?;
        self.unmap_smmu_page(b, k, iova, &mut held)
    }

    /// The lock VM(v), if further devices may come to reach what a bank of `v` maps.
    pub(crate) fn lock_vm_for_streams<'s, const OUTER: u8>(
        &'s self,
        v: Vmid,
        outer: &'s mut Held<'_, OUTER>,
    ) -> Result<(Guard<'s, VmInfo>, Held<'s, { rank::VM }>), Refused> {
        let (vm, held) = self.lock_vm_for_dma(v, outer)?;
        require_unsettled(v, &vm)?;
        Ok((vm, held))
    }

    /// The lock VM(v), if the host may change what devices of `v` reach.
    fn lock_vm_for_dma<'s, const OUTER: u8>(
        &'s self,
        v: Vmid,
        outer: &'s mut Held<'_, OUTER>,
    ) -> Result<(Guard<'s, VmInfo>, Held<'s, { rank::VM }>), Refused> {
        let (vm, held) = self.acquire_lock_vm(v, outer);
        let settled = vm.state == VmState::Verified || vm.destroying.is_some();
        if v.is_vm() && settled { Err(Refused::State(v)) } else { Ok((vm, held)) }
    }
}

/// Asks that `v` is just being made, and nothing of what it is to begin with is there yet. From then on no device but those
/// that reach it already gets to it: one that the host still drives could read what was saved, or was left behind by a VM that
/// is off, or put something else in the place of what is verified.
fn require_unsettled(v: Vmid, vm: &VmInfo) -> Result<(), Refused> {
    let begun = vm.loaded_blocks > 0 || vm.generation.is_some();
    if v.is_vm() && (begun || vm.state == VmState::Poweroff) { Err(Refused::State(v)) } else { Ok(()) }
}
