// SPDX-License-Identifier: GPL-2.0-only
//! Translation tables, in the two forms in which the specification has them: the abstract map with "this table exists"
//! bits, which the high specifications from NPTWalk and MmioSPTWalk upward use, and the words of the table pools, which
//! the layers below use. The two are separate parts of the state; only the bump pointers are common.

use crate::Spec;
use crate::constants::model_only::{SMMU_PGD_START, SMMU_PMD_START, SMMU_POOL_END};
use crate::constants::{
    PAGE_SIZE, PTRS_PER_PMD, TABLE, pgd_idx, pgd_start, phys_page, pmd_idx, pmd_start, pool_end, pud_idx, pud_start,
    s2_pgd_idx, smmu_ttbr,
};
use std::collections::{BTreeMap, BTreeSet};

/// Words of a pool; 0 unless set.
pub type Words = BTreeMap<u64, u64>;

/// Sets a word.
pub fn store(words: &mut Words, addr: u64, value: u64) {
    if value == 0 {
        words.remove(&addr);
    } else {
        words.insert(addr, value);
    }
}

/// Reads a word.
pub fn load(words: &Words, addr: u64) -> u64 {
    words.get(&addr).copied().unwrap_or(0)
}

/// An entry of an abstract stage-2 table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NptEntry {
    /// Physical page.
    pub pfn: u64,
    /// 0: none, 2: block, 3: page.
    pub level: u32,
    /// Descriptor.
    pub pte: u64,
}

/// Whether a mapping operation ran out of tables, or hit a block, and so halts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// Done.
    Done,
    /// The specification halts: there is a block. The table is unchanged.
    Halt,
    /// The specification halts: the pools are used up. The table is unchanged.
    Full,
}

/// A stage-2 table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Npt {
    /// Next level-1 table.
    pub pgd_next: u64,
    /// Next level-2 table.
    pub pud_next: u64,
    /// Next level-3 table.
    pub pmd_next: u64,
    /// Abstract map, by guest page.
    pub pt: BTreeMap<u64, NptEntry>,
    /// Level-1 tables that exist, by root index.
    pub pgd_t: BTreeSet<u64>,
    /// Level-2 tables that exist.
    pub pud_t: BTreeSet<(u64, u64)>,
    /// Level-3 tables that exist.
    pub pmd_t: BTreeSet<(u64, u64, u64)>,
    /// Root.
    pub vttbr_pool: Words,
    /// Level-1 tables.
    pub pgd_pool: Words,
    /// Level-2 tables.
    pub pud_pool: Words,
    /// Level-3 tables.
    pub pmd_pool: Words,
    /// Ghost: the entry that points to a level-1 table.
    pub pgd_par: Words,
    /// Ghost: the entry that points to a level-2 table.
    pub pud_par: Words,
    /// Ghost: the entry that points to a level-3 table.
    pub pmd_par: Words,
}

impl Npt {
    /// The empty table of `vmid`.
    pub fn new(vmid: u32) -> Self {
        Self { pgd_next: pgd_start(vmid), pud_next: pud_start(vmid), pmd_next: pmd_start(vmid), ..Self::default() }
    }

    /// Entry of guest page `gfn`.
    pub fn get(&self, gfn: u64) -> NptEntry {
        self.pt.get(&gfn).copied().unwrap_or_default()
    }

    /// Level at which guest page `gfn` is mapped; 0 if it is not (D-05).
    pub fn level(&self, gfn: u64) -> u32 {
        let entry = self.get(gfn);
        if phys_page(entry.pte) == 0 { 0 } else { entry.level }
    }

    /// The abstract meaning of a mapping operation on `vmid`'s table.
    pub fn local_mmap(&mut self, vmid: u32, addr: u64, level: u32, pte: u64) -> Spec<Mapped> {
        let gfn = addr / PAGE_SIZE;
        let (pgd, pud, pmd) = (pgd_idx(addr), pud_idx(addr), pmd_idx(addr));
        let pgd_next = self.pgd_next.saturating_add(if self.pgd_t.contains(&pgd) { 0 } else { PAGE_SIZE });
        let pud_next = self.pud_next.saturating_add(if self.pud_t.contains(&(pgd, pud)) { 0 } else { PAGE_SIZE });
        let room = pgd_next <= pud_start(vmid) && pud_next <= pmd_start(vmid);
        let pfn = phys_page(pte) / PAGE_SIZE;
        if level == 2 {
            if pte & TABLE == TABLE {
                return None;
            }
            if !room {
                return Some(Mapped::Full);
            }
            // A level-3 table that was there is replaced without a word (D-07).
            let base = gfn / PTRS_PER_PMD * PTRS_PER_PMD;
            for i in 0..PTRS_PER_PMD {
                self.pt.insert(base + i, NptEntry { pfn: pfn + i, level: 2, pte });
            }
            self.pmd_t.remove(&(pgd, pud, pmd));
        } else {
            let pmd_next =
                self.pmd_next.saturating_add(if self.pmd_t.contains(&(pgd, pud, pmd)) { 0 } else { PAGE_SIZE });
            if self.get(gfn).level == 2 {
                return Some(Mapped::Halt);
            }
            if !room || pmd_next > pool_end(vmid) {
                return Some(Mapped::Full);
            }
            self.pt.insert(gfn, NptEntry { pfn, level: 3, pte });
            self.pmd_t.insert((pgd, pud, pmd));
            self.pmd_next = pmd_next;
        }
        self.pgd_t.insert(pgd);
        self.pud_t.insert((pgd, pud));
        self.pgd_next = pgd_next;
        self.pud_next = pud_next;
        Some(Mapped::Done)
    }
}

/// An entry of an abstract SMMU table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SptEntry {
    /// Physical page.
    pub pfn: u64,
    /// Descriptor.
    pub pte: u64,
}

/// The tables of all SMMU banks, by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spt {
    /// Next middle table.
    pub pgd_next: u64,
    /// Next leaf table.
    pub pmd_next: u64,
    /// Abstract maps, by root and io page.
    pub pt: BTreeMap<(u64, u64), SptEntry>,
    /// Middle tables that exist.
    pub pgd_t: BTreeSet<(u64, u64)>,
    /// Leaf tables that exist.
    pub pmd_t: BTreeSet<(u64, u64, u64)>,
    /// Roots.
    pub vttbr_pool: Words,
    /// Middle tables.
    pub pgd_pool: Words,
    /// Leaf tables.
    pub pmd_pool: Words,
    /// Ghost: the entry that points to a middle table.
    pub pgd_par: Words,
    /// Ghost: the entry that points to a leaf table.
    pub pmd_par: Words,
}

impl Default for Spt {
    fn default() -> Self {
        Self {
            pgd_next: SMMU_PGD_START,
            pmd_next: SMMU_PMD_START,
            pt: BTreeMap::new(),
            pgd_t: BTreeSet::new(),
            pmd_t: BTreeSet::new(),
            vttbr_pool: Words::new(),
            pgd_pool: Words::new(),
            pmd_pool: Words::new(),
            pgd_par: Words::new(),
            pmd_par: Words::new(),
        }
    }
}

impl Spt {
    /// Entry of io page `gfn` in the table rooted at `ttbr`.
    pub fn get(&self, ttbr: u64, gfn: u64) -> SptEntry {
        self.pt.get(&(ttbr, gfn)).copied().unwrap_or_default()
    }

    /// Forgets the table of a bank. Its pages are lost: the bump pointers stay.
    pub fn clear(&mut self, cbndx: u32, index: u32) {
        let ttbr = smmu_ttbr(index, cbndx);
        self.pt.retain(|key, _| key.0 != ttbr);
        self.pgd_t.retain(|key| key.0 != ttbr);
        self.pmd_t.retain(|key| key.0 != ttbr);
    }

    /// The abstract meaning of a mapping operation on a bank's table.
    pub fn local_spt_map(&mut self, cbndx: u32, index: u32, addr: u64, pte: u64) -> Mapped {
        let ttbr = smmu_ttbr(index, cbndx);
        let (pgd, pmd) = ((ttbr, s2_pgd_idx(addr)), (ttbr, s2_pgd_idx(addr), pmd_idx(addr)));
        let pgd_next = self.pgd_next.saturating_add(if self.pgd_t.contains(&pgd) { 0 } else { PAGE_SIZE });
        let pmd_next = self.pmd_next.saturating_add(if self.pmd_t.contains(&pmd) { 0 } else { PAGE_SIZE });
        if pgd_next > SMMU_PMD_START || pmd_next > SMMU_POOL_END {
            return Mapped::Full;
        }
        let entry = SptEntry { pfn: phys_page(pte) / PAGE_SIZE, pte };
        self.pt.insert((ttbr, addr / PAGE_SIZE), entry);
        self.pgd_t.insert(pgd);
        self.pmd_t.insert(pmd);
        self.pgd_next = pgd_next;
        self.pmd_next = pmd_next;
        Mapped::Done
    }
}
