// SPDX-License-Identifier: GPL-2.0-only
//! Memory that devices reach all the time, and memory that they never do.

use super::attack::{
    MARK, POISON, assert_reached, assert_reads_nothing, events, fetch, is_controlled, is_nothing, let_the_log_rest,
    pattern, put, read, write,
};
use super::edu::{BYTES, WORDS, edu};
use super::victim::{clock, return_block};
use crate::rt::call::{hvc, log_read, test_call};
use crate::rt::{PAGE, console, tree};
use crate::world::{BLOCK, memory};
use arrayvec::ArrayString;
use core::fmt::Write;

/// Each device, each end of RAM, in both directions.
pub fn between_its_own_pages() {
    let (low, high) = (memory::all().min().expect("RAM"), memory::all().max().expect("RAM"));
    for device in [edu(0), edu(1)] {
        for block in [low, high] {
            for at in [block, block + PAGE - BYTES, block + 17 * PAGE, block + BLOCK - BYTES] {
                assert_reached(device, at);
            }
        }
    }
    // From one to the other.
    let words = pattern(low);
    write(low, &words);
    edu(0).load(low);
    edu(0).store(high);
    assert!(read(high) == words);
    for block in [low, high] {
        (block..block + BLOCK).step_by(8).for_each(|at| memory::write(at, 0));
    }
}

/// Copies that begin in one page and end in another: each page counts for itself.
pub fn across_pages() {
    const HALF: usize = WORDS / 2;
    let block = memory::take_block();
    let (mine, lost) = (block + 8 * PAGE, block + 9 * PAGE);
    // Between two pages of the host, and over the border of two blocks or what is near to one.
    assert_reached(edu(0), mine - BYTES / 2);
    assert_eq!(hvc(test_call::TAKE_PAGE, &[lost / PAGE]), 0);
    assert_reached(edu(0), mine - BYTES / 2);
    let words = pattern(lost - BYTES / 2);
    (0..HALF).for_each(|i| memory::write(lost - BYTES / 2 + 8 * i as u64, words[i]));
    let found = fetch(edu(0), lost - BYTES / 2);
    assert!(found[..HALF] == words[..HALF] || is_nothing(&found));
    put(edu(0), lost - BYTES / 2, &[POISON; WORDS]);
    assert!((0..HALF).all(|i| memory::read(lost - BYTES / 2 + 8 * i as u64) == POISON));
    assert_eq!(hvc(test_call::GIVE_PAGE, &[lost / PAGE]), 0);
    assert!((lost..lost + PAGE).step_by(8).all(|at| memory::read(at) == 0), "a page that came back");
    assert_reached(edu(0), lost);
    assert_reached(edu(0), lost - BYTES / 2);
    return_block(block);
}

/// Devices' registers are not for devices, nor is what is nothing at all.
pub fn a50_what_is_no_memory() {
    if !is_controlled() {
        return;
    }
    let end = tree::ram().map(|ram| ram.end).max().expect("RAM");
    for at in [0, clock(), console::uart() & !(PAGE - 1), end, end + (1 << 30), 1 << 40] {
        let before = events();
        assert!(is_nothing(&fetch(edu(0), at)), "{at:#x}");
        assert_ne!(events(), before, "nothing was refused at {at:#x}");
        let before = events();
        put(edu(0), at, &[POISON; WORDS]);
        assert_ne!(events(), before, "nothing was refused at {at:#x}");
    }
    // More than an SMMU can be asked for.
    for at in [1 << 44, 1 << 47, 1 << 63] {
        assert!(is_nothing(&fetch(edu(0), at)), "{at:#x}");
    }
}

/// Its image, its tables, its queues for the SMMU: wherever they are.
pub fn a50_corevisors_memory() {
    /// What an arm64 image has in its eighth word, in half of it.
    const MAGIC: u64 = u32::from_le_bytes(*b"ARMd") as u64;
    let image = tree::corevisor().map(|range| range.start).find(|&start| {
        let found = fetch(edu(0), start);
        (found[7] & 0xFFFF_FFFF == MAGIC) || is_controlled()
    });
    assert!(image.is_some(), "without an SMMU the device reads Corevisor's image");
    if !is_controlled() {
        return;
    }
    for range in tree::corevisor() {
        // As many as there is time for.
        let step = ((range.end - range.start) / PAGE / 16).max(1) * PAGE;
        for page in range.clone().step_by(step as usize).chain([range.end - PAGE]) {
            assert_reads_nothing(edu(0), page, None);
            let before = events();
            put(edu(0), page, &[POISON; WORDS]);
            assert_ne!(events(), before, "nothing was refused at {page:#x}");
        }
    }
}

/// Calls `f` with each line of the log from `position` on.
fn for_each_line(mut position: u64, mut f: impl FnMut(&str)) {
    let mut line = ArrayString::<512>::new();
    loop {
        let (first, bytes, length) = log_read(position);
        if length == 0 {
            return;
        }
        for &byte in &bytes[..length] {
            if byte == b'\n' {
                f(&line);
                line.clear();
            } else {
                line.push(char::from(byte));
            }
        }
        position = first + length as u64;
    }
}

/// One event for each; the log tells of which stream, and where.
pub fn a50_every_refusal_is_told() {
    if !is_controlled() {
        return;
    }
    let block = memory::take_block();
    for (device, page) in [(edu(0), block + PAGE), (edu(1), block + 3 * PAGE)] {
        assert_eq!(hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
        let_the_log_rest();
        let position = log_read(u64::MAX).0;
        let before = events();
        device.load(page);
        let reads = events();
        device.store(page);
        assert!(before < reads && reads < events(), "events: {before}, {reads}, {}", events());
        let mut wanted = ArrayString::<64>::new();
        write!(wanted, "stream {:#x}", device.stream()).expect("room");
        let mut address = ArrayString::<64>::new();
        write!(address, "{page:#x}").expect("room");
        let mut found = false;
        for_each_line(position, |line| found |= line.contains(wanted.as_str()) && line.contains(address.as_str()));
        assert!(found, "no line with {wanted} and {address}");
        assert_eq!(hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
    }
    return_block(block);
    const { assert!(MARK != POISON) };
}
