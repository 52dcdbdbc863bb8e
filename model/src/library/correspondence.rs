// SPDX-License-Identifier: GPL-2.0-only
//! When a state of the model and one of the library correspond.
//!
//! 1. The memory regions, and the ownership record of every page, are equal. (A page that the host shares with Corevisor
//!    to run a vCPU counts one more in the library; [`View`] has that taken off.)
//! 2. What the model's table of the host says of a page, the library's says, too: the same page with the same attributes,
//!    or that it was given away (`PAGE_GUEST`). Levels are not compared, in no table: the library's blocks are pages
//!    here, and a block of the model's is 512 of them.
//! 3. What the library's table of the host maps beyond that (it is filled at boot, and devices come 2 MiB at a time,
//!    while the specification's starts empty and gets a page at each fault) is what the model's MM-1 would map if the
//!    host touched the page: the very same entry. MM-1 is asked by running it, see [`mm1`].
//! 4. A page that the library has as given away, and of which the model says nothing, is mapped in neither: it was mapped
//!    by 3 when NO-4 took it away, which for the model had nothing to take.
//! 5. Every other table says the same of every page in both.
//!    Of an SMMU's table only which io pages are mapped to which pages: attributes are Corevisor's (D-61).
//! 6. The records of VMs, core data, the owners of SMMU banks and the shadow contexts are equal, register by register
//!    under the specification's names. Of an image only what is below the number of images counts: the library has no
//!    more. The principals 0 and 16 are no VMs: the library has no records for them that anything uses, and the host's
//!    context is the frame in which the vectors save its registers: what a trap answers is compared instead.
//!
//! Not compared, because the library has no such thing, or for tests only:
//!
//! * which tables exist, the pools' words and bump pointers (D-71), and the parents of tables (ghosts);
//! * histories, `tstate`, the barriers, and who holds a lock: guards are alive for as long as a function runs;
//! * the handles `kvm` and `vcpu`: fixed functions of the numbers, which nothing reads;
//! * contents of pages and positions in the streams of undetermined values: the simulated machine has real pages;
//! * the CPU's registers while nobody looks at them, and `halt`, `icore`, `ihost`.

use super::{Run, View, attributes};
use crate::constants::model_only::{SMMU_POOL_START, SMMU_ROOT_SIZE};
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID, PAGE_SIZE, SMMU_NUM, SMMU_NUM_CTXT_BANKS, VCPU_PER_VM, is_vm, smmu_id,
};
use crate::mem_manager::map_page_host;
use crate::page_table::NptEntry;
use crate::rdata::{RData, REGIONS, S2Index, S2Page, VmInfo};
use crate::registers::RegisterFile;
use std::collections::{BTreeMap, BTreeSet};

/// Whether `d` and `view` correspond. The reason otherwise.
pub fn corresponds(d: &RData, view: &View) -> Result<(), String> {
    // Behind the specification's regions there may be one of which it knows nothing: for run pages.
    let same_regions = view.regions.len() >= REGIONS.len()
        && view.regions.iter().zip(&REGIONS).all(|(a, b)| (a.base, a.size, a.index) == (b.base, b.size, b.index));
    if !same_regions {
        return Err(format!("regions: model {REGIONS:x?}, library {:x?}", view.regions));
    }
    records(d, view)?;
    let table = &d.npts[HOSTVISOR as usize].pt;
    for (&gfn, entry) in table.iter().filter(|(_, entry)| **entry != NptEntry::default()) {
        let got = view.host_entry(gfn);
        if !same(entry, &got) {
            return Err(format!("host page {gfn:#x}: model {entry:x?}, library {got:x?}"));
        }
    }
    view.host().iter().filter(|run| run.is_mapping()).try_for_each(|run| extra(d, view, run))?;
    (1..=COREVISOR).try_for_each(|vmid| other_table(d, view, vmid))?;
    (1..COREVISOR).try_for_each(|vmid| vm(d, view, vmid))?;
    if d.core_data != view.core_data {
        return Err(format!("core data: model {:x?}, library {:x?}", d.core_data, view.core_data));
    }
    banks(d, view)?;
    spts(d, view)?;
    contexts(d, view)
}

/// Whether an entry of the model's and one of the library's say the same.
fn same(model: &NptEntry, library: &NptEntry) -> bool {
    (model.pfn, attributes(model)) == (library.pfn, attributes(library))
}

/// Whether an entry of the model's and one of the library's say the same, and something.
pub fn same_entry(model: &NptEntry, library: &NptEntry) -> bool {
    *model != NptEntry::default() && same(model, library)
}

/// The record of `pfn`, or of the record `key` of the table that is indexed so.
fn page_of(d: &RData, key: u64) -> Option<u64> {
    match d.s2page.index() {
        S2Index::Pfn => Some(key),
        S2Index::Record => REGIONS
            .iter()
            .find(|r| r.index <= key && key - r.index < r.size / PAGE_SIZE)
            .map(|r| r.base / PAGE_SIZE + key - r.index),
    }
}

/// Condition 1.
fn records(d: &RData, view: &View) -> Result<(), String> {
    let mut seen = 0;
    for (key, page) in d.s2page.changed() {
        let got = page_of(d, key).map(|pfn| view.page(pfn));
        if got != Some(page) {
            return Err(format!("record {key:#x}: model {page:x?}, library {got:x?}"));
        }
        seen += 1;
    }
    if seen == view.s2page.len() {
        return Ok(());
    }
    // All of the model's are among the library's, so one of the library's is too many.
    let changed: BTreeSet<u64> = d.s2page.changed().filter_map(|(key, _)| page_of(d, key)).collect();
    let extra: Option<(&u64, &S2Page)> = view.s2page.iter().find(|(pfn, _)| !changed.contains(pfn));
    Err(format!("record changed in the library only: {extra:x?}"))
}

/// Condition 3 for the pages of `run`.
///
/// MM-1 looks at the page's own record only, and at nothing else that could change its outcome: all pages of a stretch
/// whose records are the initial ones, and which lies in one region or in none, have the same outcome, but for the
/// address. So it is asked for both ends of each such stretch, and for every page with another record.
fn extra(d: &RData, view: &View, run: &Run) -> Result<(), String> {
    let (start, end) = (run.gfn, run.gfn + run.pages);
    let table = &d.npts[HOSTVISOR as usize].pt;
    let mut ends: BTreeSet<u64> = BTreeSet::from([start, end - 1]);
    let mut add = |page: u64| ends.extend([page.saturating_sub(1), page, page + 1].map(|p| p.clamp(start, end - 1)));
    for (&pfn, _) in view.s2page.range(start..end) {
        add(pfn);
    }
    for (&gfn, _) in table.range(start..end) {
        add(gfn);
    }
    for region in &*view.regions {
        let (first, behind) = (region.base / PAGE_SIZE, (region.base + region.size) / PAGE_SIZE);
        if first <= end && start <= behind {
            add(first);
            add(behind - 1);
            add(behind);
        }
    }
    for &gfn in ends.iter().filter(|gfn| !table.contains_key(gfn)) {
        if view.page(gfn) != d_page(d, gfn) {
            continue; // memory that the specification knows nothing of
        }
        let (got, wanted) = (view.host_entry(gfn), mm1(d, gfn));
        if Some(got) != wanted {
            return Err(format!("host page {gfn:#x}: library {got:x?}, MM-1 would give {wanted:x?}"));
        }
    }
    Ok(())
}

/// The model's record of a page, whatever its table is indexed by.
fn d_page(d: &RData, pfn: u64) -> S2Page {
    match d.s2page.index() {
        S2Index::Pfn => d.s2page.get(pfn),
        S2Index::Record => {
            let address = pfn * PAGE_SIZE;
            match REGIONS.iter().rev().find(|r| r.base <= address && address - r.base < r.size) {
                Some(r) if r.index != crate::constants::INVALID64 => {
                    d.s2page.get(r.index + (address - r.base) / PAGE_SIZE)
                }
                _ => S2Page { owner: INVALID, count: INVALID, gfn: crate::constants::INVALID64 },
            }
        }
    }
}

/// The entry that the model's MM-1 gives the host for a touch of `pfn`, if none is there; nothing if it halts, or has no
/// result.
pub fn mm1(d: &RData, pfn: u64) -> Option<NptEntry> {
    let page = d_page(d, pfn);
    let mut fresh = RData::new(S2Index::Pfn);
    fresh.s2page.set(pfn, page);
    map_page_host(&mut fresh, pfn * PAGE_SIZE)?;
    if fresh.halt { None } else { Some(fresh.npt(HOSTVISOR).get(pfn)) }
}

/// Condition 5 for `vmid`.
fn other_table(d: &RData, view: &View, vmid: u32) -> Result<(), String> {
    let model = d.npts[vmid as usize].pt.iter().filter(|(_, entry)| **entry != NptEntry::default());
    let library = view.npts[vmid as usize].iter().flat_map(|run| run.gfn..run.gfn + run.pages);
    let mut model = model.map(|(&gfn, entry)| (gfn, *entry));
    let mut library = library.map(|gfn| (gfn, view.entry(vmid, gfn)));
    loop {
        match (model.next(), library.next()) {
            (None, None) => return Ok(()),
            (Some((a, wanted)), Some((b, got))) if a == b && same(&wanted, &got) => {}
            (wanted, got) => return Err(format!("table of {vmid}: model {wanted:x?}, library {got:x?}")),
        }
    }
}

/// Condition 6 for the record of VM `vmid`.
fn vm(d: &RData, view: &View, vmid: u32) -> Result<(), String> {
    let empty = VmInfo::default();
    let (model, library) = (d.vminfos.get(&vmid).unwrap_or(&empty), view.vms.get(&vmid).unwrap_or(&empty));
    let differ = |what: &str, a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| {
        Err(format!("VM {vmid}, {what}: model {a:x?}, library {b:x?}"))
    };
    if model.vm_state != library.vm_state {
        return differ("state", &model.vm_state, &library.vm_state);
    }
    for vcpuid in 0..VCPU_PER_VM {
        let (a, b) = (model.vcpu_state(vcpuid), library.vcpu_state(vcpuid));
        if a != b {
            return differ(&format!("vCPU {vcpuid}"), &a, &b);
        }
    }
    if model.inc_exe != library.inc_exe {
        return differ("inc_exe", &model.inc_exe, &library.inc_exe);
    }
    if model.next_load_info != library.next_load_info {
        return differ("images", &model.next_load_info, &library.next_load_info);
    }
    for i in 0..model.next_load_info {
        if model.image(i) != library.image(i) {
            return differ(&format!("image {i}"), &model.image(i), &library.image(i));
        }
    }
    Ok(())
}

/// Condition 6 for the banks.
fn banks(d: &RData, view: &View) -> Result<(), String> {
    for index in 0..SMMU_NUM {
        for cbndx in 0..SMMU_NUM_CTXT_BANKS {
            let id = smmu_id(index, cbndx);
            let got = view.smmu_vmid.get(&id).copied().unwrap_or(INVALID);
            if d.smmu_owner(id) != got {
                return Err(format!("bank {cbndx} of SMMU {index}: model {}, library {got}", d.smmu_owner(id)));
            }
        }
    }
    Ok(())
}

/// Condition 5 for the tables of banks.
fn spts(d: &RData, view: &View) -> Result<(), String> {
    let bank = |ttbr: u64| ((ttbr - SMMU_POOL_START) / SMMU_ROOT_SIZE) as u32;
    let model = d.spts.pt.iter().filter(|(_, entry)| entry.pte != 0);
    let model = model.map(|(&(ttbr, gfn), entry)| ((bank(ttbr), gfn), entry.pfn));
    let library = view.spts.iter().map(|(&key, &pfn)| (key, pfn));
    if model.clone().eq(library.clone()) {
        return Ok(());
    }
    let differs = model.clone().find(|(key, pfn)| view.spts.get(key) != Some(pfn));
    let extra = library.into_iter().find(|(key, pfn)| !model.clone().any(|other| other == (*key, *pfn)));
    Err(format!("SMMU tables: model {differs:x?}, library {extra:x?}"))
}

/// Condition 6 for the shadow contexts. Registers that a context of the library's does not have are the CPU's business.
fn contexts(d: &RData, view: &View) -> Result<(), String> {
    let both: BTreeMap<u32, ()> = d.shadow_ctxts.keys().chain(view.ctxts.keys()).map(|id| (*id, ())).collect();
    let empty = RegisterFile::default();
    for id in both.into_keys().filter(|id| is_vm(*id / VCPU_PER_VM)) {
        let model = d.shadow_ctxts.get(&id).unwrap_or(&empty);
        let library = view.ctxts.get(&id).unwrap_or(&empty);
        let registers: BTreeSet<_> = model.nonzero().chain(library.nonzero()).map(|(reg, _)| reg).collect();
        for reg in registers.into_iter().filter(|reg| super::contexts::has(reg)) {
            if model.get(reg) != library.get(reg) {
                let (v, c) = (id / VCPU_PER_VM, id % VCPU_PER_VM);
                let (a, b) = (model.get(reg), library.get(reg));
                return Err(format!("context of vCPU {v}/{c}, {reg}: model {a:#x}, library {b:#x}"));
            }
        }
    }
    Ok(())
}

/// Whether the specification's descriptor `pte` and the library's `desc` are the same, for the page `gfn`'s block or page.
pub fn same_pte(pte: u64, page: u64, desc: corevisor::npt::Desc) -> bool {
    let (pfn, bits) =
        if desc.is_none() { (0, super::NAMELESS | crate::constants::TABLE) } else { super::decode(desc.as_u64()) };
    let entry = NptEntry { pfn: crate::constants::phys_page(pte) / PAGE_SIZE, level: 3, pte };
    let in_block = page.checked_sub(pfn).is_some_and(|offset| offset < 1 << 18);
    attributes(&entry) == bits && (entry.pfn == pfn || in_block)
}
