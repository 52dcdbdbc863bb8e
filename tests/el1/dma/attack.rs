// SPDX-License-Identifier: GPL-2.0-only
//! A device told to read and write where it must not; and where it may.

use super::edu::{BYTES, Edu, WORDS, Words};
use super::victim::peek;
use crate::rt::call::stat;
use crate::rt::{machine, tree};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::stat as id;

/// What the device's buffer holds before it reads, and what it is told to write.
pub const MARK: u64 = 0x0D0D_0D0D_E0E0_E0E0;
pub const POISON: u64 = 0xBAD0_BAD0_DEAD_DEAD;

/// Whether the machine has an SMMU, so that Corevisor can keep its promises: the runner says so.
pub fn is_controlled() -> bool {
    tree::options().any(|option| option == "iommu=smmuv3")
}

/// Refused accesses of devices so far: Corevisor looks at some of them at a time.
pub fn events() -> u64 {
    let mut before = 0;
    loop {
        let now = if is_controlled() { stat(id::DMA_EVENTS) } else { 0 };
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Words that are not the same at any two addresses, or in any two calls.
pub fn pattern(at: u64) -> Words {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    let salt = CALLS.fetch_add(1, Ordering::Relaxed) << 48;
    core::array::from_fn(|i| salt ^ (at + 8 * i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
}

/// Words of memory that is the host's.
pub fn read(at: u64) -> Words {
    core::array::from_fn(|i| crate::world::memory::read(at + 8 * i as u64))
}

/// Writes words of memory that is the host's.
pub fn write(at: u64, words: &Words) {
    (at..).step_by(8).zip(words).for_each(|(at, &word)| crate::world::memory::write(at, word));
}

/// Words of memory that is a VM's or the host's.
pub fn content(at: u64) -> Words {
    core::array::from_fn(|i| peek(at + 8 * i as u64))
}

/// What the device has when it has been told to read from `at` on.
pub fn fetch(device: &Edu, at: u64) -> Words {
    device.fill(&[MARK; WORDS]);
    device.load(at);
    device.content()
}

/// Has the device write this from `at` on.
pub fn put(device: &Edu, at: u64, words: &Words) {
    device.fill(words);
    device.store(at);
}

/// Whether the device has got nothing: its buffer is as it was, or zero, as QEMU's device has it after a refused read.
pub fn is_nothing(words: &Words) -> bool {
    words.iter().all(|&word| word == MARK) || words.iter().all(|&word| word == 0)
}

/// The device reads and writes from `at` on, which is the host's.
pub fn assert_reached(device: &Edu, at: u64) {
    let before = events();
    let words = pattern(at);
    write(at, &words);
    assert!(fetch(device, at) == words, "the device has not read what is at {at:#x}");
    let words = pattern(at);
    put(device, at, &words);
    assert!(read(at) == words, "the device has not written to {at:#x}");
    assert_eq!(events(), before, "refused accesses to {at:#x}");
}

/// The device is told to read from `at` on, which is not for the host, and gets nothing.
///
/// Without an SMMU it gets `there`, if that is known.
pub fn assert_reads_nothing(device: &Edu, at: u64, there: Option<&Words>) {
    let before = events();
    let found = fetch(device, at);
    if is_controlled() {
        assert!(is_nothing(&found), "the device has got {:#x} from {at:#x}", found[0]);
        assert!(there.is_none_or(|there| !is_nothing(there)), "nothing to be had at {at:#x}");
        assert_ne!(events(), before, "nothing was refused at {at:#x}");
    } else {
        assert!(there.is_none_or(|there| *there == found), "the device has not read what is at {at:#x}");
    }
}

/// The device is told to read and write from `at` on, which is a VM's, and nothing moves. The page must hold something.
///
/// Without an SMMU all of it does; the page is put back as it was.
pub fn assert_out_of_reach(device: &Edu, at: u64) {
    let there = content(at);
    assert_reads_nothing(device, at, Some(&there));
    let before = events();
    put(device, at, &[POISON; WORDS]);
    let after = content(at);
    if is_controlled() {
        assert!(after == there, "the device has written to {at:#x}");
        assert_ne!(events(), before, "nothing was refused at {at:#x}");
    } else {
        assert!(after == [POISON; WORDS], "the device has not written to {at:#x}");
        put(device, at, &there);
        assert!(content(at) == there);
    }
}

/// The same for all that a device can copy at once, within the page at `page`.
pub fn assert_page_out_of_reach(device: &Edu, page: u64) {
    assert_out_of_reach(device, page);
    assert_out_of_reach(device, page + 4096 - BYTES);
}

/// Lets the time go by in which Corevisor says nothing more of refused accesses.
pub fn let_the_log_rest() {
    machine::pause(1100);
}
