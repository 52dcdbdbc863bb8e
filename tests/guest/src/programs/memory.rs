// SPDX-License-Identifier: GPL-2.0-only
//! Uses memory that the host gives it page by page.

use crate::protocol::{LARGE_PAGES, SMALL_PAGES};
use crate::desk;

/// Arguments: 0, pages of 4 KiB; 1, blocks of 2 MiB. Results: 0, words that were not zero at first; 1, words that were not
/// what they should have been.
pub fn run() {
    let small = (0..desk::argument(0)).map(|i| SMALL_PAGES + i * 4096);
    let large = (0..desk::argument(1)).map(|i| LARGE_PAGES + (i << 21));
    let step = |pages: u64| pages / 8 + 8;
    let places = small.flat_map(|page| (page..page + 4096).step_by(step(4096) as usize));
    let places = places.chain(large.flat_map(|block| (block..block + (2 << 20)).step_by(4096 + 8)));
    let content = |at: u64| at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (mut dirty, mut wrong) = (0, 0);
    for at in places.clone() {
        let at = (at & !7) as *mut u64;
        // SAFETY: memory of this VM that nobody else uses.
        unsafe {
            dirty += u64::from(at.read_volatile() != 0);
            at.write_volatile(content(at as u64));
        }
    }
    for at in places {
        let at = (at & !7) as *const u64;
        // SAFETY: as above.
        wrong += u64::from(unsafe { at.read_volatile() } != content(at as u64));
    }
    desk::set_result(0, dirty);
    desk::set_result(1, wrong);
}
