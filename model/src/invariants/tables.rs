// SPDX-License-Identifier: GPL-2.0-only
//! Translation tables in themselves.

use super::{Strength, mapped};
use crate::RData;
use crate::constants::model_only::{SMMU_PGD_START, SMMU_PMD_START};
use crate::constants::{
    HOSTVISOR, PAGE_SIZE, TABLE, pgd_idx, pgd_start, phys_page, pmd_idx, pmd_start, pud_idx, pud_start,
};
use crate::page_table::{Npt, Words};
use std::collections::BTreeSet;

/// I1: SMMU entries say the page of their descriptor.
pub fn i1(d: &RData, _strength: Strength) -> Vec<String> {
    d.spts
        .pt
        .iter()
        .filter(|(_, entry)| entry.pfn != phys_page(entry.pte) / PAGE_SIZE)
        .map(|((ttbr, gfn), e)| format!("root {ttbr:#x}, io page {gfn:#x}: page {:#x}, descriptor {:#x}", e.pfn, e.pte))
        .collect()
}

/// I2: entries of the host's table say the page of their descriptor.
pub fn i2(d: &RData, _strength: Strength) -> Vec<String> {
    d.npts[HOSTVISOR as usize]
        .pt
        .iter()
        .filter(|(_, entry)| entry.pfn != phys_page(entry.pte) / PAGE_SIZE)
        .map(|(gfn, e)| format!("host page {gfn:#x}: page {:#x}, descriptor {:#x}", e.pfn, e.pte))
        .collect()
}

/// I3: the host's table is flat.
pub fn i3(d: &RData, _strength: Strength) -> Vec<String> {
    mapped(&d.npts[HOSTVISOR as usize])
        .filter(|(gfn, entry)| *gfn != entry.pfn)
        .map(|(gfn, entry)| format!("host page {gfn:#x} is page {:#x}", entry.pfn))
        .collect()
}

/// E4: every table below a root has exactly one parent, and none that was handed out is lost. The recycling of an SMMU
/// bank does lose its tables in the specification, so there only the first half is asked.
pub fn e4(d: &RData, _strength: Strength) -> Vec<String> {
    let mut broken = vec![];
    for (vmid, npt) in (0..).zip(&d.npts) {
        let mut say = |what: String| broken.push(format!("table of {vmid}: {what}"));
        abstract_tables(npt).into_iter().for_each(&mut say);
        let (pgd, pud, pmd) = (pgd_start(vmid), pud_start(vmid), pmd_start(vmid));
        for (level, parents, start, next, known) in [
            (1, &npt.vttbr_pool, pgd, npt.pgd_next, npt.pgd_t.len()),
            (2, &npt.pgd_pool, pud, npt.pud_next, npt.pud_t.len()),
            (3, &npt.pud_pool, pmd, npt.pmd_next, npt.pmd_t.len()),
        ] {
            match children(parents, start, next) {
                Ok(children) => {
                    let (reachable, taken) = (children + known as u64, next.saturating_sub(start) / PAGE_SIZE);
                    if reachable != taken || next < start {
                        say(format!("of {taken} tables of level {level}, {reachable} are reachable"));
                    }
                }
                Err(what) => say(format!("level {level}: {what}")),
            }
        }
    }
    for (level, parents, start, next, known) in [
        (2, &d.spts.vttbr_pool, SMMU_PGD_START, d.spts.pgd_next, d.spts.pgd_t.len()),
        (3, &d.spts.pgd_pool, SMMU_PMD_START, d.spts.pmd_next, d.spts.pmd_t.len()),
    ] {
        match children(parents, start, next) {
            Ok(children) if start + (children + known as u64) * PAGE_SIZE <= next => {}
            Ok(_) => broken.push(format!("SMMU tables of level {level}: more than were handed out")),
            Err(what) => broken.push(format!("SMMU tables, level {level}: {what}")),
        }
    }
    broken
}

/// Number of tables that the words of a pool point to; or what is wrong with them.
fn children(parents: &Words, start: u64, next: u64) -> Result<u64, String> {
    let mut seen = BTreeSet::new();
    for (addr, word) in parents.iter().filter(|(_, word)| **word & TABLE == TABLE) {
        let table = phys_page(*word);
        if table < start || table >= next {
            return Err(format!("{addr:#x} points to {table:#x}, which was never handed out"));
        }
        if !seen.insert(table) {
            return Err(format!("{table:#x} has two parents"));
        }
    }
    Ok(seen.len() as u64)
}

/// What is wrong with the abstract form: entries without the tables that must hold them, tables without a parent.
fn abstract_tables(npt: &Npt) -> Vec<String> {
    let mut broken = vec![];
    for (gfn, entry) in npt.pt.iter().filter(|(_, entry)| entry.level != 0) {
        let addr = gfn * PAGE_SIZE;
        let (pgd, pud, pmd) = (pgd_idx(addr), pud_idx(addr), pmd_idx(addr));
        let leaf = npt.pmd_t.contains(&(pgd, pud, pmd));
        if !npt.pud_t.contains(&(pgd, pud)) || leaf != (entry.level == 3) {
            broken.push(format!("guest page {gfn:#x} has an entry of level {}, but no such table", entry.level));
        }
    }
    broken.extend(npt.pud_t.iter().filter(|t| !npt.pgd_t.contains(&t.0)).map(|t| format!("{t:?} has no parent")));
    let orphans = npt.pmd_t.iter().filter(|t| !npt.pud_t.contains(&(t.0, t.1)));
    broken.extend(orphans.map(|t| format!("{t:?} has no parent")));
    broken
}

/// E4, second half: the bump pointers never go back.
pub fn pointers_monotone(before: &RData, after: &RData) -> bool {
    let stage2 = before
        .npts
        .iter()
        .zip(&after.npts)
        .all(|(b, a)| b.pgd_next <= a.pgd_next && b.pud_next <= a.pud_next && b.pmd_next <= a.pmd_next);
    stage2 && before.spts.pgd_next <= after.spts.pgd_next && before.spts.pmd_next <= after.spts.pmd_next
}
