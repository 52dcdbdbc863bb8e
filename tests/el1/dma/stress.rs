// SPDX-License-Identifier: GPL-2.0-only
//! Pages that go to and fro while devices copy them.

use super::attack::{MARK, is_controlled, is_nothing, pattern, read, write};
use super::edu::{WORDS, Words, edu};
use super::victim::{peek, return_block};
use crate::rt::call::{hvc, test_call};
use crate::rt::random::Random;
use crate::rt::{PAGE, harness};
use crate::world::memory;

const PAGES: usize = 64;

/// What the test knows of its pages.
struct Pages {
    block: u64,
    /// Each one's first word, and whether it is a VM's.
    known: [(u64, bool); PAGES],
}

impl Pages {
    fn address(&self, i: usize) -> u64 {
        self.block + 7 * i as u64 * PAGE
    }

    fn write(&mut self, i: usize) {
        let words = pattern(self.address(i));
        write(self.address(i), &words);
        self.known[i].0 = words[0];
    }

    /// Gives the page away, or gets it back.
    fn turn(&mut self, i: usize) {
        let page = self.address(i);
        let call = if self.known[i].1 { test_call::GIVE_PAGE } else { test_call::TAKE_PAGE };
        assert_eq!(hvc(call, &[page / PAGE]), 0);
        if self.known[i].1 {
            assert!(read(page) == [0; WORDS], "{page:#x} came back with something in it");
            self.write(i);
        }
        self.known[i].1 = !self.known[i].1;
    }

    fn first_word(&self, i: usize) -> u64 {
        peek(self.address(i))
    }
}

/// A device is told to copy a page; what counts is whose the page is when it does.
fn step(pages: &mut Pages, random: &mut Random) {
    let device = edu(random.below(2) as usize);
    let i = random.below(PAGES as u64) as usize;
    let page = pages.address(i);
    let stores = random.below(2) == 0;
    let sent: Words = if stores { pattern(page) } else { [MARK; WORDS] };
    device.fill(&sent);
    if stores {
        device.start_store(page)
    } else {
        device.start_load(page)
    }
    // Some pages change hands before the device comes to it; often this one.
    for _ in 0..random.below(4) {
        let j = if random.below(2) == 0 { i } else { random.below(PAGES as u64) as usize };
        pages.turn(j);
    }
    let (known, is_vms) = pages.known[i];
    device.wait();
    if stores && !is_vms {
        assert!(read(page) == sent, "the device has not written to {page:#x}, the host's");
        pages.known[i].0 = sent[0];
    } else if stores {
        assert_eq!(pages.first_word(i), known, "the device has written to {page:#x}, a VM's");
    } else if is_vms {
        assert!(is_nothing(&device.content()), "the device has read {page:#x}, a VM's");
    } else {
        assert_eq!(device.content()[0], known, "the device has not read {page:#x}, the host's");
    }
}

/// At random; at any time all words are where they belong.
pub fn a51_pages_that_go_to_and_fro() {
    if !is_controlled() {
        return;
    }
    let mut random = Random(51);
    let mut pages = Pages { block: memory::take_block(), known: [(0, false); PAGES] };
    (0..PAGES).for_each(|i| pages.write(i));
    for round in 0..harness::rounds(100, 200_000) {
        step(&mut pages, &mut random);
        if round % 32 == 0 {
            (0..PAGES).for_each(|i| assert_eq!(pages.first_word(i), pages.known[i].0, "page {i}"));
        }
    }
    (0..PAGES)
        .filter(|&i| pages.known[i].1)
        .collect::<arrayvec::ArrayVec<usize, PAGES>>()
        .into_iter()
        .for_each(|i| pages.turn(i));
    return_block(pages.block);
}
