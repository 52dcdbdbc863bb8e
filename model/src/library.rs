// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor's library on its simulated machine, in the specification's terms: the abstraction function of
//! `DESIGN.md` §5.
//!
//! Abstract are, so far, the parts that the library has: memory regions, ownership records, and the host's stage-2 table.

mod correspondence;

pub use correspondence::{corresponds, mm1};

use crate::constants::model_only::{PAGE_S2_KERNEL, SMMU_HOST_OFFSET};
use crate::constants::{
    HOSTVISOR, INVALID, INVALID64, PAGE_GUEST, PAGE_S2_DEVICE, PAGE_SIZE, S2_RDWR, TABLE, pgd_idx, pgd_start,
    phys_page, pmd_idx, pmd_start, pud_idx, pud_start,
};
use crate::page_table::NptEntry;
use crate::rdata::{MemRegion, RData, S2Index, S2Page};
use corevisor::addr::{self, Range};
use corevisor::corevisor::Corevisor;
use corevisor::machine::sim::{Leaf, SimMachine};
use corevisor::memory::{self, Count, MemRegions};
use corevisor::npt;
use std::collections::BTreeMap;

/// The library on the simulated machine.
pub type Core = Corevisor<SimMachine>;

/// In [`Run::attributes`]: the descriptor's attributes have no name in the specification.
pub const NAMELESS: u64 = 1 << 63;

/// The vectors' memory regions ([`crate::rdata::REGIONS`]), for the library.
pub fn regions() -> MemRegions {
    let mut regions = MemRegions::default();
    for region in crate::rdata::REGIONS {
        let range = Range::new(region.base, region.size).expect("a range");
        regions.push(range, region.index != INVALID64).expect("few regions");
    }
    regions
}

/// Pages that follow each other in the host's table, and in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page of the host.
    pub gfn: u64,
    /// How many.
    pub pages: u64,
    /// First physical page; 0, and not advancing, for pages that were given away.
    pub pfn: u64,
    /// The descriptor of each page without its address, as the specification has it: see [`decode`].
    pub attributes: u64,
}

impl Run {
    /// Entry of the page `gfn`, one of this run's.
    fn entry(&self, gfn: u64) -> NptEntry {
        let pfn = if self.attributes == PAGE_GUEST { 0 } else { self.pfn + (gfn - self.gfn) };
        NptEntry { pfn, level: 3, pte: (pfn * PAGE_SIZE) | self.attributes }
    }

    /// Whether the host reaches a page by it.
    pub fn is_mapping(&self) -> bool {
        self.attributes != PAGE_GUEST
    }
}

/// The library's abstract state.
#[derive(Clone)]
pub struct View {
    /// Memory regions.
    pub regions: Vec<MemRegion>,
    /// Records that are not simply the host's, of tracked pages, by page number.
    pub s2page: BTreeMap<u64, S2Page>,
    /// The host's table, page by page whatever the sizes of its blocks, in the order of its addresses.
    pub host: Vec<Run>,
    /// What the library's own records were.
    records: Vec<memory::S2Page>,
}

impl PartialEq for View {
    fn eq(&self, other: &Self) -> bool {
        (&self.regions, &self.s2page, &self.host) == (&other.regions, &other.s2page, &other.host)
    }
}

impl View {
    /// The abstract state of `core`.
    pub fn of(core: &Core) -> Self {
        let regions = core.regions().iter().map(|r| MemRegion {
            base: r.range.start,
            size: r.range.size(),
            flag: 0,
            index: r.index.unwrap_or(INVALID64),
        });
        let regions: Vec<MemRegion> = regions.collect();
        let mut records = core.records();
        for region in regions.iter().filter(|r| r.index != INVALID64) {
            let first = addr::Pfn::new(region.base / PAGE_SIZE).expect("a page");
            let (index, pages) = (region.index as usize, (region.size / PAGE_SIZE) as usize);
            memory::S2Page::fill_host(&mut records[index..index + pages], first);
        }
        Self { regions, s2page: BTreeMap::new(), host: Vec::new(), records }.next(core)
    }

    /// The abstract state of `core`, of which `self` is an earlier one: the same as [`Self::of`] in less time.
    pub fn next(&self, core: &Core) -> Self {
        let mut next = Self {
            regions: self.regions.clone(),
            s2page: self.s2page.clone(),
            host: Vec::new(),
            records: core.records(),
        };
        let (old, new) = (&self.records[..], &next.records[..]);
        assert_eq!(old.len(), new.len());
        let mut index = 0;
        // Hundreds of thousands of records, in tests that are not optimized: this is no place for iterators.
        while index < new.len() {
            if old[index] != new[index] {
                let pfn = self.page_of(index as u64);
                match s2page(new[index]) {
                    page if page == host_page(pfn) => next.s2page.remove(&pfn),
                    page => next.s2page.insert(pfn, page),
                };
            }
            index += 1;
        }
        for leaf in core.machine().leaves(addr::HOSTVISOR) {
            next.add(&leaf);
        }
        next
    }

    /// The page that a record is about.
    fn page_of(&self, index: u64) -> u64 {
        let mut before = self.regions.iter().filter(|r| r.index != INVALID64 && r.index <= index);
        let region = before.next_back().expect("a region for each record");
        region.base / PAGE_SIZE + index - region.index
    }

    /// Adds a leaf of the host's table, behind all others.
    fn add(&mut self, leaf: &Leaf) {
        let (pfn, attributes) = decode(leaf.descriptor);
        let (gfn, pages) = (leaf.ipa / PAGE_SIZE, leaf.size / PAGE_SIZE);
        if let Some(last) = self.host.last_mut()
            && last.gfn + last.pages == gfn
            && last.attributes == attributes
            && (pfn == 0 && !last.is_mapping() || last.is_mapping() && last.pfn + last.pages == pfn)
        {
            last.pages += pages;
        } else {
            self.host.push(Run { gfn, pages, pfn, attributes });
        }
    }

    /// The ownership record of a page, whether tracked or not.
    pub fn page(&self, pfn: u64) -> S2Page {
        let address = pfn * PAGE_SIZE;
        let region = self.regions.iter().rev().find(|r| r.base <= address && address - r.base < r.size);
        match region {
            Some(r) if r.index != INVALID64 => self.s2page.get(&pfn).copied().unwrap_or(host_page(pfn)),
            _ => S2Page { owner: INVALID, count: INVALID, gfn: INVALID64 },
        }
    }

    /// Entry of a page in the host's table.
    pub fn host_entry(&self, gfn: u64) -> NptEntry {
        let after = self.host.partition_point(|run| run.gfn <= gfn);
        match self.host[..after].last() {
            Some(run) if gfn < run.gfn + run.pages => run.entry(gfn),
            _ => NptEntry::default(),
        }
    }

    /// The whole as a state of the specification, page by page. What the library does not have is as it is at first; the
    /// tables that exist, and the bump pointers, are those that the mapped pages need (D-71).
    pub fn state(&self) -> RData {
        let mut d = RData::new(S2Index::Pfn);
        for (&pfn, &page) in &self.s2page {
            d.s2page.set(pfn, page);
        }
        let npt = d.npt(HOSTVISOR);
        for run in &self.host {
            npt.pt.extend((run.gfn..run.gfn + run.pages).map(|gfn| (gfn, run.entry(gfn))));
            for block in run.gfn / 512..(run.gfn + run.pages).div_ceil(512) {
                let address = block * 512 * PAGE_SIZE;
                npt.pgd_t.insert(pgd_idx(address));
                npt.pud_t.insert((pgd_idx(address), pud_idx(address)));
                npt.pmd_t.insert((pgd_idx(address), pud_idx(address), pmd_idx(address)));
            }
        }
        npt.pgd_next = pgd_start(HOSTVISOR) + npt.pgd_t.len() as u64 * PAGE_SIZE;
        npt.pud_next = pud_start(HOSTVISOR) + npt.pud_t.len() as u64 * PAGE_SIZE;
        npt.pmd_next = pmd_start(HOSTVISOR) + npt.pmd_t.len() as u64 * PAGE_SIZE;
        d
    }
}

/// The record of a page that is simply the host's.
fn host_page(pfn: u64) -> S2Page {
    S2Page { owner: HOSTVISOR, count: 0, gfn: pfn + SMMU_HOST_OFFSET }
}

/// A record of the library's.
pub fn s2page(record: memory::S2Page) -> S2Page {
    S2Page { owner: owner(record.owner()), count: count(record.count()), gfn: record.gfn().unwrap_or(INVALID64) }
}

/// A principal, or nobody.
pub fn owner(owner: memory::Owner) -> u32 {
    owner.map_or(INVALID, |v| v.index() as u32)
}

/// A count.
pub fn count(count: Count) -> u32 {
    match count {
        Count::Shares(n) => n.into(),
        Count::DmaPending => INVALID,
    }
}

/// Page and attributes of a descriptor of the library's: a leaf, at whatever level, or an invalid one. Attributes are
/// translated by name, because `PAGE_S2_KERNEL` is another number on hardware (0x7FF; the specification's 0xFFF has a
/// reserved bit); those without a name are marked [`NAMELESS`].
pub fn decode(descriptor: u64) -> (u64, u64) {
    let pfn = phys_page(descriptor) / PAGE_SIZE;
    if descriptor == npt::PAGE_GUEST {
        return (0, PAGE_GUEST);
    }
    let desc = npt::Desc::from_u64(descriptor);
    let attributes = match desc.attributes() {
        bits if !desc.is_valid() => bits | NAMELESS,
        npt::PAGE_S2_KERNEL => PAGE_S2_KERNEL,
        bits if bits == npt::PAGE_S2_DEVICE | npt::S2_RDWR => PAGE_S2_DEVICE | S2_RDWR,
        bits => bits | NAMELESS,
    };
    (pfn, attributes)
}

/// Attributes of an entry of the specification's, as those of a page whatever its level.
fn attributes(entry: &NptEntry) -> u64 {
    let bits = entry.pte & !phys_page(entry.pte);
    if entry.level == 2 { bits | TABLE } else { bits }
}
