// SPDX-License-Identifier: GPL-2.0-only
//! When a state of the model and one of the library correspond.

use super::{Run, View, attributes};
use crate::constants::{HOSTVISOR, PAGE_SIZE};
use crate::mem_manager::map_page_host;
use crate::page_table::NptEntry;
use crate::rdata::{RData, REGIONS, S2Index};
use std::collections::BTreeSet;

/// Whether `d` and `view` correspond:
///
/// 1. The memory regions, and the ownership record of every page, are equal.
/// 2. What the model's table of the host says of a page, the library's says, too: the same page with the same attributes,
///    or that it was given away (`PAGE_GUEST`). Levels are not compared: the library's blocks are pages here, and a block
///    of the model's is 512 of them.
/// 3. What the library's table maps beyond that (it is filled at boot, and devices come 2 MiB at a time, while the
///    specification's starts empty and gets a page at each fault) is what the model's MM-1 would map if the host touched
///    the page: the very same entry. MM-1 is asked by running it, see [`mm1`].
/// 4. A page that the library has as given away, and of which the model says nothing, is mapped in neither: it was mapped
///    by 3 when NO-4 took it away, which for the model had nothing to take.
///
/// The reason otherwise.
pub fn corresponds(d: &RData, view: &View) -> Result<(), String> {
    let same_regions = view.regions.len() == REGIONS.len()
        && view.regions.iter().zip(&REGIONS).all(|(a, b)| (a.base, a.size, a.index) == (b.base, b.size, b.index));
    if !same_regions {
        return Err(format!("regions: model {REGIONS:x?}, library {:x?}", view.regions));
    }
    if let Some(pfn) = difference(d, view) {
        return Err(format!("record of {pfn:#x}: model {:x?}, library {:x?}", d.s2page.get(pfn), view.page(pfn)));
    }
    let table = &d.npts[HOSTVISOR as usize].pt;
    for (&gfn, entry) in table.iter().filter(|(_, entry)| **entry != NptEntry::default()) {
        let got = view.host_entry(gfn);
        if (got.pfn, attributes(&got)) != (entry.pfn, attributes(entry)) {
            return Err(format!("host page {gfn:#x}: model {entry:x?}, library {got:x?}"));
        }
    }
    view.host.iter().filter(|run| run.is_mapping()).try_for_each(|run| extra(d, view, run))
}

/// A page whose records differ.
fn difference(d: &RData, view: &View) -> Option<u64> {
    let model: Vec<_> = d.s2page.changed().collect();
    if model.iter().copied().eq(view.s2page.iter().map(|(&pfn, &page)| (pfn, page))) {
        return None;
    }
    let pages: BTreeSet<u64> = model.iter().map(|(pfn, _)| *pfn).chain(view.s2page.keys().copied()).collect();
    pages.into_iter().find(|&pfn| d.s2page.get(pfn) != view.page(pfn))
}

/// Condition 3 for the pages of `run`.
///
/// MM-1 looks at the page's own record only, and at nothing else that could change its outcome: all pages of a stretch
/// whose records are the initial ones, and which lies in one region or in none, have the same outcome, but for the
/// address. So it is asked for both ends of each such stretch, and for every page with another record.
fn extra(d: &RData, view: &View, run: &Run) -> Result<(), String> {
    let (start, end) = (run.gfn, run.gfn + run.pages);
    let table = &d.npts[HOSTVISOR as usize].pt;
    let changed = view.s2page.range(start..end).map(|(&pfn, _)| pfn);
    let mapped = table.range(start..end).map(|(&gfn, _)| gfn);
    let mut ends: BTreeSet<u64> =
        changed.chain(mapped).flat_map(|page| [page.saturating_sub(1), page, page + 1]).collect();
    for region in REGIONS {
        let (first, behind) = (region.base / PAGE_SIZE, (region.base + region.size) / PAGE_SIZE);
        ends.extend([first - 1, first, behind - 1, behind]);
    }
    ends.extend([start, end - 1]);
    for &gfn in ends.range(start..end).filter(|gfn| !table.contains_key(gfn)) {
        let (got, wanted) = (view.host_entry(gfn), mm1(d, gfn));
        if Some(got) != wanted {
            return Err(format!("host page {gfn:#x}: library {got:x?}, MM-1 would give {wanted:x?}"));
        }
    }
    Ok(())
}

/// The entry that the model's MM-1 gives the host for a touch of `pfn`, if none is there; nothing if it halts, or has no
/// result.
pub fn mm1(d: &RData, pfn: u64) -> Option<NptEntry> {
    let mut fresh = RData::new(S2Index::Pfn);
    fresh.s2page.set(pfn, d.s2page.get(pfn));
    map_page_host(&mut fresh, pfn * PAGE_SIZE)?;
    if fresh.halt { None } else { Some(fresh.npt(HOSTVISOR).get(pfn)) }
}
