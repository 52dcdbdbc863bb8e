// SPDX-License-Identifier: GPL-2.0-only
//! What tests outside the library see of its state, and what they can put there: `model/src/library.rs` reads the
//! specification's state out of it.

use super::{Leaf, SimMachine, Table, first_level_pages, start_level};
use crate::addr::{HOSTVISOR, Ipa, PAGE_SIZE, Pa, Pfn, Range, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::memory::{Count, S2Page};
use crate::npt::Desc;
use core::sync::atomic::Ordering;
use std::vec::Vec;

impl Corevisor<SimMachine> {
    /// Looks at the ownership table.
    pub fn with_records<T>(&self, look: impl FnOnce(&[S2Page]) -> T) -> T {
        look(&self.s2page().lock(&mut Held::nothing()).0.records)
    }

    /// Has a vCPU run on this CPU (AM-93 `set_per_cpu`), as the switch to it does; none: the host.
    pub fn run_here(&self, vcpu: Option<(Vmid, VcpuId)>) {
        self.set_per_cpu(vcpu);
    }
}

impl SimMachine {
    /// How many descriptors were written so far.
    pub fn stores(&self) -> u64 {
        self.state().stores
    }

    /// As [`SimMachine::leaves`], whatever hardware makes of the leaves; none if `v` has no table.
    pub fn raw_leaves(&self, v: Vmid) -> Vec<Leaf> {
        let Some(&Table { root, ipa_bits }) = self.state().tables.get(&v) else { return Vec::new() };
        self.raw_leaves_at(Pa::low_48(root), ipa_bits)
    }

    /// The same of the table at `root`, for `ipa_bits` bits.
    pub fn raw_leaves_at(&self, root: Pa, ipa_bits: u32) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let entries = first_level_pages(ipa_bits) * 512;
        self.collect_raw(root.as_u64(), start_level(ipa_bits), entries, 0, &mut leaves);
        leaves
    }

    /// The leaves of an SMMU's table, whose root has `entries` entries.
    pub fn raw_leaves_of(&self, root: Pa, entries: u64) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.collect_raw(root.as_u64(), 1, entries, 0, &mut leaves);
        leaves
    }

    fn collect_raw(&self, at: u64, level: u8, entries: u64, ipa: u64, leaves: &mut Vec<Leaf>) {
        let size = 1u64 << (39 - 9 * u32::from(level));
        for i in 0..entries {
            let descriptor = self.word(at + i * 8).load(Ordering::Acquire);
            if descriptor == 0 {
                continue;
            }
            let ipa = ipa + i * size;
            match self.links_to(descriptor) {
                Some(table) if level < 3 => self.collect_raw(table, level + 1, PAGE_SIZE / 8, ipa, leaves),
                _ => leaves.push(Leaf { ipa, size, descriptor }),
            }
        }
    }
}

impl Corevisor<SimMachine> {
    /// What the host's DMA table maps.
    pub fn host_dma_leaves(&self) -> Vec<Leaf> {
        let Some((root, ipa_bits)) = self.host_dma_root() else { return Vec::new() };
        let leaves = self.machine().raw_leaves_at(root, ipa_bits).into_iter();
        leaves.filter(|leaf| Desc::from_u64(leaf.descriptor).is_valid()).collect()
    }

    /// Pages of RAM in `range`, in the reach of the host's DMA table, about which that is wrong: those that the host owns or
    /// that are shared with it must be there, where they are, and no others.
    pub fn host_dma_wrong_about(&self, range: Range) -> Vec<u64> {
        let Some((_, ipa_bits)) = self.host_dma_root() else { return Vec::new() };
        let leaves = self.host_dma_leaves();
        let records = self.records();
        let pages = (range.start..range.end.min(1 << ipa_bits)).step_by(PAGE_SIZE as usize);
        let wrong = |&page: &u64| {
            let Some(record) = Pfn::new(page / PAGE_SIZE).and_then(|pfn| self.regions().get_s2_page_index(pfn)) else {
                return false;
            };
            let (owner, count) = (records[record].owner(), records[record].count());
            let shared = owner.is_some_and(Vmid::is_vm) && matches!(count, Count::Shares(1..));
            let mapping = leaves.partition_point(|leaf| leaf.ipa + leaf.size <= page);
            let mapping = leaves.get(mapping).filter(|leaf| leaf.ipa <= page);
            let there = mapping.is_some_and(|leaf| leaf.pa(Ipa::low_48(page)) == page);
            mapping.is_some() != there || there != (owner == Some(HOSTVISOR) || shared)
        };
        pages.filter(wrong).collect()
    }
}
