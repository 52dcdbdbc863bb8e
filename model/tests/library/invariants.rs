// SPDX-License-Identifier: GPL-2.0-only
//! The invariants of `spec/layers/11-security.md` §11.4 that are about what the library has.

use crate::world::owned;
use corevisor::addr::{HOSTVISOR, PAGE_SIZE};
use model::constants::model_only::SMMU_HOST_OFFSET;
use model::constants::{COREVISOR, INVALID, MAX_SHARE_COUNT};
use model::library::{Core, NAMELESS, View, decode};

/// I2, I3, I4, I5, I6 in its strong form, E1, and the same for what the host's TLB holds. The one that is broken, if any.
pub fn check(view: &View, core: &Core) -> Result<(), String> {
    for run in view.host() {
        if run.attributes & NAMELESS != 0 {
            return Err(format!("I2: unknown attributes in {run:x?}"));
        }
        if !run.is_mapping() {
            continue;
        }
        // I2 holds by construction, for the pages of a well-formed descriptor.
        if run.pfn != run.gfn {
            return Err(format!("I3: {run:x?}"));
        }
        for (&pfn, record) in view.s2page.range(run.pfn..run.pfn + run.pages) {
            let shared = (1..=MAX_SHARE_COUNT).contains(&record.count);
            if record.owner == COREVISOR {
                return Err(format!("E1: {pfn:#x}, {record:x?}, is in the host's table"));
            }
            if record.owner != 0 && record.owner != INVALID && !shared {
                return Err(format!("I6: {pfn:#x}, {record:x?}, is in the host's table"));
            }
        }
    }
    let strange = view.s2page.iter().find(|(pfn, record)| record.owner == 0 && record.gfn != *pfn + SMMU_HOST_OFFSET);
    if let Some((pfn, record)) = strange {
        return Err(format!("I4: {pfn:#x}, {record:x?}"));
    }
    if view.page(0).owner != INVALID {
        return Err(format!("I5: {:x?}", view.page(0)));
    }
    let boot = owned().into_iter().flat_map(|r| r.start / PAGE_SIZE..r.end / PAGE_SIZE);
    if let Some(pfn) = boot.into_iter().find(|&pfn| view.page(pfn).owner != COREVISOR) {
        return Err(format!("E1: {pfn:#x} is {:x?}", view.page(pfn)));
    }
    for leaf in core.machine().cached(HOSTVISOR) {
        let (pfn, attributes) = decode(leaf.descriptor);
        let (first, pages) = (leaf.ipa / PAGE_SIZE, leaf.size / PAGE_SIZE);
        let mapped = |run: &&model::library::Run| run.gfn <= first && first + pages <= run.gfn + run.pages;
        match view.host().iter().find(mapped) {
            Some(run) if (run.pfn + first - run.gfn, run.attributes) == (pfn, attributes) => {}
            other => return Err(format!("the TLB has {leaf:x?}, the table {other:x?}")),
        }
    }
    Ok(())
}
