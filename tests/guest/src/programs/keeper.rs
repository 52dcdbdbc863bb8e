// SPDX-License-Identifier: GPL-2.0-only
//! Keeps secrets, and looks after them, round by round.

use crate::desk;
use crate::protocol::{LARGE_PAGES, SMALL_PAGES};

/// Pages within the image's block.
const OWN: usize = 16;

#[repr(C, align(4096))]
struct Pages([u64; OWN * 512]);

static mut PAGES: Pages = Pages([0; OWN * 512]);

/// What is kept at `at`.
fn secret(at: u64) -> u64 {
    (at ^ 0x5EC2_E700_0000_0000).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

/// Arguments: 0, pages of 4 KiB; 1, blocks of 2 MiB. Hook 0: not 0 to have it end. Results: 0, words that were not what they
/// should have been; 1, rounds so far, in each of which it has looked at all its words.
pub fn run() {
    let own = (&raw const PAGES) as u64;
    let pages = (0..OWN as u64).map(|i| own + i * 4096);
    let pages = pages.chain((0..desk::argument(0)).map(|i| SMALL_PAGES + i * 4096));
    let pages = pages.chain((0..desk::argument(1)).flat_map(|i| (0..512).map(move |n| LARGE_PAGES + (i << 21) + n * 4096)));
    let words = || pages.clone().flat_map(|page| [page, page + 0x7F8, page + 0xFF8]);
    for at in words() {
        // SAFETY: memory of this VM that nobody else uses.
        unsafe { (at as *mut u64).write_volatile(secret(at)) };
    }
    let mut wrong = 0;
    for round in 1.. {
        // SAFETY: as above.
        wrong += words().filter(|&at| unsafe { (at as *const u64).read_volatile() } != secret(at)).count() as u64;
        desk::set_result(0, wrong);
        desk::set_result(1, round);
        if desk::hook(0) != 0 {
            break;
        }
    }
}
