// SPDX-License-Identifier: GPL-2.0-only
//! Looks for VMs' values in all RAM.

use crate::rt::{PAGE, fault, tree};
use crate::world::memory;
use crate::world::protocol::GUEST_MAGIC;

/// What a search of all RAM has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Words that have a half which is a VM's ([`crate::state::canary`]).
    pub words: u64,
    /// Address of the first.
    pub first: u64,
    /// Pages that the host can read.
    pub read: u64,
    /// Pages that it can't, Corevisor's included.
    pub refused: u64,
}

impl Found {
    /// Nothing.
    pub const NONE: Self = Self { words: 0, first: 0, read: 0, refused: 0 };
}

/// Whether a half of `word` begins with the VMs' magic number, and has a seed, which is odd.
pub fn is_a_vms(word: u64) -> bool {
    let half = |half: u64| half >> 16 & 0xFFFF == u64::from(GUEST_MAGIC) && half & 1 != 0;
    half(word) || half(word >> 32)
}

/// The same, of `seed` only.
pub fn has_seed(word: u64, seed: u8) -> bool {
    let half = |half: u64| half >> 16 & 0xFFFF == u64::from(GUEST_MAGIC) && half & 0xFF == u64::from(seed);
    half(word) || half(word >> 32)
}

/// Looks at every word of RAM that the host can read for those that are `wanted`.
pub fn all_ram(wanted: impl Fn(u64) -> bool) -> Found {
    let mut found = Found::NONE;
    for page in tree::ram().flat_map(|ram| ram.step_by(PAGE as usize)) {
        // What is Corevisor's, el1_memory makes sure of.
        if tree::is_corevisors(page) || fault::read(page).is_err() {
            found.refused += 1;
            continue;
        }
        found.read += 1;
        for at in (page..page + PAGE).step_by(8) {
            if wanted(memory::read(at)) {
                found.first = if found.words == 0 { at } else { found.first };
                found.words += 1;
            }
        }
    }
    found
}
