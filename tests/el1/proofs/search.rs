// SPDX-License-Identifier: GPL-2.0-only
//! Looks for VMs' values in all RAM.

use crate::rt::{PAGE, fault, tree};
use crate::world::memory;
use crate::world::protocol::GUEST_MAGIC;

/// What a search of all RAM has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Words that have a half which is a VM's ([`crate::state::canary`]).
    pub words: u64,
    /// Address of the first.
    pub first: u64,
    /// Pages that the host can read.
    pub read: u64,
    /// Pages that it can't.
    pub refused: u64,
}

/// Whether a half of `word` begins with the VMs' magic number, and has a seed, which is odd.
pub fn is_a_vms(word: u64) -> bool {
    let half = |half: u64| half >> 16 & 0xFFFF == u64::from(GUEST_MAGIC) && half & 1 != 0;
    half(word) || half(word >> 32)
}

/// Looks at every word of RAM that the host can read.
pub fn all_ram() -> Found {
    let mut found = Found::default();
    for page in tree::ram().flat_map(|ram| ram.step_by(PAGE as usize)) {
        if fault::read(page).is_err() {
            found.refused += 1;
            continue;
        }
        found.read += 1;
        for at in (page..page + PAGE).step_by(8) {
            if is_a_vms(memory::read(at)) {
                found.first = if found.words == 0 { at } else { found.first };
                found.words += 1;
            }
        }
    }
    found
}
