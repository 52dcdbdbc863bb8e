// SPDX-License-Identifier: GPL-2.0-only
//! Reaches for memory that is not its own.

use crate::{desk, say};

/// Arguments: addresses, up to the first 0. Results: what it has found at each; and the last: how many of them it has read.
pub fn run() {
    let addresses = (0..7).map(desk::argument).take_while(|&address| address != 0);
    let mut count = 0;
    for (i, address) in addresses.enumerate() {
        // SAFETY: whatever it is, it is not what this program runs on.
        let found = unsafe { (address as *const u64).read_volatile() };
        say!("I read {address:#x}, and find {found:#x}.");
        desk::set_result(i, found);
        count += 1;
    }
    desk::set_result(7, count);
}
