// SPDX-License-Identifier: GPL-2.0-only
//! Many pages that change hands at random, against a model that says what must come of it.

use super::hand_over::{give, take};
use super::ram::{BLOCK, free_blocks};
use crate::rt::PAGE;
use crate::rt::call::stat;
use crate::rt::fault::{Access, assert_refused, assert_refused_el0, read, write};
use crate::rt::random::Random;
use corevisor::abi::stat as id;

const PAGES: usize = 1000;
const STEPS: usize = 20_000;

#[derive(Clone, Copy)]
struct Page {
    address: u64,
    /// What it holds, at its beginning and its end.
    value: u64,
    taken: bool,
    /// Given back, and not touched since.
    unmapped: bool,
}

/// What Corevisor's counters must have grown by.
#[derive(Default, PartialEq, Eq, Debug)]
struct Counts {
    refused: u64,
    faults: u64,
}

impl Page {
    fn touch(&mut self, counts: &mut Counts) {
        counts.faults += u64::from(self.unmapped);
        self.unmapped = false;
    }

    fn write(&mut self, value: u64, counts: &mut Counts) {
        self.touch(counts);
        self.value = value;
        for address in [self.address, self.address + PAGE - 8] {
            assert!(write(address, value).is_ok(), "{address:#x}");
        }
    }

    fn check(&mut self, counts: &mut Counts) {
        self.touch(counts);
        for address in [self.address, self.address + PAGE - 8] {
            assert_eq!(read(address), Ok(self.value), "{address:#x}");
        }
    }

    fn take(&mut self) {
        assert_eq!(take(self.address), 0, "{:#x}", self.address);
        if !self.taken {
            (self.taken, self.unmapped) = (true, false);
        }
    }

    fn give(&mut self) {
        assert_eq!(give(self.address), 0, "{:#x}", self.address);
        if self.taken {
            (self.taken, self.unmapped, self.value) = (false, true, 0);
        }
    }

    fn step(&mut self, random: &mut Random, counts: &mut Counts) {
        match random.below(8) {
            0 | 1 => self.take(),
            2 | 3 => self.give(),
            4..=6 if self.taken => {
                let kinds = [Access::Read, Access::Write, Access::ReadPair, Access::Branch, Access::Write8];
                let kind = kinds[random.below(kinds.len() as u64) as usize];
                assert_refused(kind, self.address + random.below(PAGE / 8) * 8 / 16 * 16);
                counts.refused += 1;
            }
            4 | 5 => self.check(counts),
            6 => self.write(random.next(), counts),
            _ if self.taken => {
                assert_refused_el0(self.address);
                counts.refused += 3;
            }
            _ => self.check(counts),
        }
    }
}

/// Pages of unused blocks, each once.
fn choose(random: &mut Random) -> [Page; PAGES] {
    let blocks = free_blocks().count() as u64;
    // A few blocks with many of the pages, and the rest anywhere.
    let mut pages = [Page { address: 0, value: 0, taken: false, unmapped: false }; PAGES];
    for i in 0..PAGES {
        pages[i].address = loop {
            let block = if i % 2 == 0 { 10 + random.below(3) } else { random.below(blocks) };
            let block = free_blocks().nth(block as usize).expect("counted");
            let address = block + random.below(BLOCK / PAGE) * PAGE;
            if pages[..i].iter().all(|page| page.address != address) {
                break address;
            }
        };
    }
    pages
}

pub fn random_hand_overs() {
    let mut random = Random(0x00C0_FFEE);
    let mut pages = choose(&mut random);
    let mut counts = Counts::default();
    // Earlier tests may have left some given back and untouched.
    for page in &mut pages {
        let value = random.next();
        page.write(value, &mut counts);
    }
    let all = [id::REFUSED_ACCESS, id::HOST_FAULT_RAM, id::BLOCK_SPLIT, id::HOST_TABLE_PAGES];
    let before = all.map(stat);
    for _ in 0..STEPS {
        let page = random.below(PAGES as u64) as usize;
        pages[page].step(&mut random, &mut counts);
    }
    assert!(pages.iter().filter(|page| page.taken).count() > PAGES / 4);
    for page in &mut pages {
        if page.taken {
            page.give();
        }
        page.check(&mut counts);
    }
    let after = all.map(stat);
    let grown = Counts { refused: after[0] - before[0], faults: after[1] - before[1] };
    assert_eq!(grown, counts);
    assert!(counts.refused > 1000 && counts.faults > 1000);
    assert_eq!(after[2] - before[2], after[3] - before[3], "each split takes one table");
}
