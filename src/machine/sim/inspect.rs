// SPDX-License-Identifier: GPL-2.0-only
//! What tests outside the library see of its state, and what they can put there: `model/src/library.rs` reads the
//! specification's state out of it.

use super::{Leaf, SimMachine, first_level_pages, start_level};
use crate::addr::{PAGE_SIZE, Pa, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::memory::S2Page;
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
        let Some(&table) = self.state().tables.get(&v) else { return Vec::new() };
        let mut leaves = Vec::new();
        let entries = first_level_pages(table.ipa_bits) * 512;
        self.collect_raw(table.root, start_level(table.ipa_bits), entries, 0, &mut leaves);
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
