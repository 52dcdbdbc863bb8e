// SPDX-License-Identifier: GPL-2.0-only
//! SMMU banks: whose they are, and what they map.

use super::Strength;
use crate::RData;
use crate::constants::model_only::{SMMU_POOL_START, SMMU_ROOT_SIZE};
use crate::constants::{COREVISOR, EL2_SMMU_CFG_SIZE, HOSTVISOR, INVALID, is_vm, state::VERIFIED};
use std::collections::BTreeMap;

/// A page that a bank maps.
pub(super) struct Dma {
    /// Number of the bank among all banks.
    pub bank: u32,
    /// Owner of the bank.
    pub owner: u32,
    /// Io page.
    pub gfn: u64,
    /// Page.
    pub pfn: u64,
}

/// All that all banks map, those without an owner included.
pub(super) fn dma_mappings(d: &RData) -> impl Iterator<Item = Dma> + '_ {
    d.spts.pt.iter().filter(|(_, entry)| entry.pfn != 0).map(|(&(ttbr, gfn), entry)| {
        let bank = u32::try_from((ttbr - SMMU_POOL_START) / SMMU_ROOT_SIZE).expect("roots are few");
        Dma { bank, owner: d.smmu_owner(bank), gfn, pfn: entry.pfn }
    })
}

/// How often the host's banks map each page; by the letter only where its gfn says.
fn host_mappings(d: &RData, strength: Strength) -> BTreeMap<u64, u32> {
    let mut mappings = BTreeMap::new();
    let hosts = dma_mappings(d).filter(|m| m.owner == HOSTVISOR);
    for m in hosts.filter(|m| strength == Strength::Strict || m.gfn == d.s2page.get(m.pfn).gfn) {
        *mappings.entry(m.pfn).or_default() += 1;
    }
    mappings
}

/// I8: a bank is free, the host's or a VM's.
pub fn i8(d: &RData, _strength: Strength) -> Vec<String> {
    d.smmu_vmid
        .iter()
        .filter(|(bank, owner)| **owner != INVALID && (**owner >= COREVISOR || **bank >= EL2_SMMU_CFG_SIZE))
        .map(|(bank, owner)| format!("bank {bank} belongs to {owner:#x}"))
        .collect()
}

/// I9, SMMU isolation: what a bank of the host, or of a VM that is not off, maps, is its owner's and at the io page that
/// the page's record names. Strict: the host chooses its io pages (D-09).
pub fn i9(d: &RData, strength: Strength) -> Vec<String> {
    let bound = |owner: u32| {
        owner == HOSTVISOR || is_vm(owner) && d.vminfos.get(&owner).is_none_or(|info| info.vm_state <= VERIFIED)
    };
    let mut broken = vec![];
    for m in dma_mappings(d).filter(|m| bound(m.owner)) {
        let page = d.s2page.get(m.pfn);
        let placed = m.gfn == page.gfn || strength == Strength::Strict && m.owner == HOSTVISOR;
        if page.owner != m.owner || !placed {
            broken.push(format!(
                "bank {} of {} maps page {:#x} (owner {:#x}, gfn {:#x}) at io page {:#x}",
                m.bank, m.owner, m.pfn, page.owner, page.gfn, m.gfn
            ));
        }
    }
    broken
}

/// I10: the count of a host page is at least the number of host-owned mappings. Strict: exactly, at any io page (D-09,
/// D-10).
pub fn i10(d: &RData, strength: Strength) -> Vec<String> {
    let mappings = host_mappings(d, strength);
    let mut broken = vec![];
    for (&pfn, &number) in &mappings {
        let page = d.s2page.get(pfn);
        if page.owner == HOSTVISOR && page.count < number {
            broken.push(format!("page {pfn:#x} has count {} and {number} mappings by the host's banks", page.count));
        }
    }
    if strength == Strength::Strict {
        for (pfn, page) in d.s2page.changed().filter(|(_, page)| page.owner == HOSTVISOR) {
            let number = mappings.get(&pfn).copied().unwrap_or(0);
            if page.count > number {
                broken
                    .push(format!("page {pfn:#x} has count {}, but {number} mappings by the host's banks", page.count));
            }
        }
    }
    broken
}

/// I11: a host page without a count is in no table of the host's banks. That makes giving it away safe against DMA.
pub fn i11(d: &RData, strength: Strength) -> Vec<String> {
    host_mappings(d, strength)
        .into_keys()
        .map(|pfn| (pfn, d.s2page.get(pfn)))
        .filter(|(_, page)| page.owner == HOSTVISOR && page.count == 0)
        .map(|(pfn, _)| format!("page {pfn:#x} may be given away, but a bank of the host maps it"))
        .collect()
}
