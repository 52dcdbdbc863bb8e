// SPDX-License-Identifier: GPL-2.0-only
//! What tells one state of a machine from another, and no single test asks for: `model/src/explore/library.rs`.

use super::{SimMachine, first_level_pages, start_level};
use crate::addr::{PAGE_SIZE, Range, Vmid};
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::vec::Vec;

impl SimMachine {
    /// Where the page tables are.
    pub fn pool(&self) -> Range {
        self.pool
    }

    /// The tables below the first level of `v`'s, also those without an entry: level, and the first address that each
    /// translates.
    pub fn linked_tables(&self, v: Vmid) -> Vec<(u8, u64)> {
        let Some(&table) = self.state().tables.get(&v) else { return Vec::new() };
        let mut found = Vec::new();
        let entries = first_level_pages(table.ipa_bits) * 512;
        self.collect_linked(table.root, start_level(table.ipa_bits), entries, 0, &mut found);
        found
    }

    fn collect_linked(&self, at: u64, level: u8, entries: u64, ipa: u64, found: &mut Vec<(u8, u64)>) {
        for i in 0..entries {
            let descriptor = self.word(at + i * 8).load(Ordering::Acquire);
            if descriptor == 0 {
                continue;
            }
            if let Some(table) = self.links_to(descriptor).filter(|_| level < 3) {
                let ipa = ipa + (i << (39 - 9 * u32::from(level)));
                found.push((level + 1, ipa));
                self.collect_linked(table, level + 1, PAGE_SIZE / 8, ipa, found);
            }
        }
    }

    /// All device registers that were written.
    pub fn registers(&self) -> BTreeMap<u64, u64> {
        self.state().registers.clone()
    }
}
