// SPDX-License-Identifier: GPL-2.0-only
//! Ownership records, and who else has the page.

use super::smmu::dma_mappings;
use super::{Strength, mapped};
use crate::RData;
use crate::constants::model_only::SMMU_HOST_OFFSET;
use crate::constants::{COREVISOR, HOSTVISOR, INVALID, MAX_SHARE_COUNT, is_vm};
use crate::rdata::S2Page;
use std::collections::{BTreeMap, BTreeSet};

/// A page, for a message.
fn page_text(pfn: u64, page: S2Page) -> String {
    format!("page {pfn:#x} (owner {:#x}, count {:#x}, gfn {:#x})", page.owner, page.count, page.gfn)
}

/// Whether a page with this record is RAM of a VM that has not shared it. A page that came through the SMMU and was not
/// faulted in yet is not shared (D-01).
fn private(page: S2Page) -> bool {
    is_vm(page.owner) && (page.count == 0 || page.count == INVALID)
}

/// I4: the host's pages are at the guest pages that the specification gives them.
pub fn i4(d: &RData, _strength: Strength) -> Vec<String> {
    d.s2page
        .changed()
        .filter(|(pfn, page)| page.owner == HOSTVISOR && page.gfn != pfn + SMMU_HOST_OFFSET)
        .map(|(pfn, page)| page_text(pfn, page))
        .collect()
}

/// I5: page 0 is not RAM.
pub fn i5(d: &RData, _strength: Strength) -> Vec<String> {
    let page = d.s2page.get(0);
    if page.owner == INVALID { vec![] } else { vec![page_text(0, page)] }
}

/// I6, host isolation: what the host has mapped is no RAM, its own, or shared. Strict: shared by at most 100 grants.
pub fn i6(d: &RData, strength: Strength) -> Vec<String> {
    let shared = |count: u32| match strength {
        Strength::Literal => count > 0,
        Strength::Strict => (1..=MAX_SHARE_COUNT).contains(&count),
    };
    mapped(&d.npts[HOSTVISOR as usize])
        .map(|(_, entry)| (entry.pfn, d.s2page.get(entry.pfn)))
        .filter(|(_, page)| page.owner != INVALID && page.owner != HOSTVISOR && !shared(page.count))
        .map(|(pfn, page)| format!("{} is in the host's table", page_text(pfn, page)))
        .collect()
}

/// E1: no page of KCore is in any table but its own.
pub fn e1(d: &RData, _strength: Strength) -> Vec<String> {
    let cores = |pfn: u64| d.s2page.get(pfn).owner == COREVISOR;
    let mut broken = vec![];
    for (vmid, npt) in (HOSTVISOR..COREVISOR).zip(&d.npts) {
        let pages = mapped(npt).filter(|(_, entry)| cores(entry.pfn));
        broken.extend(pages.map(|(gfn, e)| format!("page {:#x} of KCore is at {gfn:#x} of {vmid}'s table", e.pfn)));
    }
    let pages = dma_mappings(d).filter(|m| cores(m.pfn));
    broken.extend(pages.map(|m| format!("page {:#x} of KCore is at io page {:#x} of bank {}", m.pfn, m.gfn, m.bank)));
    broken
}

/// E3: a page that a VM got through the SMMU and has not faulted in yet is not in the host's table (D-01).
pub fn e3(d: &RData, _strength: Strength) -> Vec<String> {
    mapped(&d.npts[HOSTVISOR as usize])
        .map(|(_, entry)| (entry.pfn, d.s2page.get(entry.pfn)))
        .filter(|(_, page)| is_vm(page.owner) && page.count == INVALID)
        .map(|(pfn, page)| format!("{} is in the host's table", page_text(pfn, page)))
        .collect()
}

/// E5: a page of RAM is in at most one VM's table, and a private one in no other principal's, SMMU tables included. A
/// bank without an owner is another principal's: nobody's.
pub fn e5(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    // Whose each page is: its owner's if it is private, and those VMs' that have it in their tables.
    let mut claims = BTreeMap::<u64, BTreeSet<u32>>::new();
    for (vmid, npt) in (HOSTVISOR..COREVISOR).zip(&d.npts) {
        for (gfn, entry) in mapped(npt) {
            let (pfn, page) = (entry.pfn, d.s2page.get(entry.pfn));
            if vmid == HOSTVISOR && private(page) {
                broken.push(format!("page {pfn:#x}, private to {}, is at {gfn:#x} of the host's table", page.owner));
            } else if vmid != HOSTVISOR && page.owner != INVALID {
                let owner = private(page).then_some(page.owner);
                claims.entry(pfn).or_default().extend(owner.into_iter().chain([vmid]));
            }
        }
    }
    let contested = claims.into_iter().filter(|(_, vms)| vms.len() > 1);
    broken.extend(contested.map(|(pfn, vms)| format!("page {pfn:#x} is in the tables of, or private to, {vms:?}")));
    for m in dma_mappings(d) {
        let page = d.s2page.get(m.pfn);
        if private(page) && page.owner != m.owner {
            let (owner, bank, whose) = (page.owner, m.bank, m.owner);
            broken.push(format!("page {:#x}, private to {owner}, is in the table of bank {bank} of {whose:#x}", m.pfn));
        }
    }
    broken
}

/// E7, as far as one state shows it: the count of a VM's page is a number of grants, or says "not faulted in yet".
pub fn e7(d: &RData, _strength: Strength) -> Vec<String> {
    d.s2page
        .changed()
        .filter(|(_, page)| is_vm(page.owner) && page.count != INVALID && page.count > MAX_SHARE_COUNT)
        .map(|(pfn, page)| format!("{}: nobody granted that often", page_text(pfn, page)))
        .collect()
}
