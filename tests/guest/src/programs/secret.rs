// SPDX-License-Identifier: GPL-2.0-only
//! Has secrets everywhere: in memory, and in all registers when it stores to the hook.

use crate::protocol::desk::HOOK;
use crate::protocol::{DESK, GUEST_MAGIC, LARGE_PAGES, SMALL_PAGES};
use crate::state::{Room, Vectors, canary, let_vectors_through};
use crate::{desk, hvc, smp};

static mut ROOM: Room = Room::NEW;

/// Arguments: 0, a seed; 1, pages of 4 KiB; 2, blocks of 2 MiB; 3, whether the host is let into the pages. All of them are
/// full of secrets when the hook is written.
pub fn run() {
    let seed = desk::argument(0) as u8 | 1;
    let small = (0..desk::argument(1)).map(|i| (SMALL_PAGES + (i << 12), 4096));
    let large = (0..desk::argument(2)).map(|i| (LARGE_PAGES + (i << 21), 2 << 20));
    for (page, size) in small.chain(large) {
        for at in (page..page + size).step_by(8) {
            // SAFETY: memory of this VM that nobody else uses.
            unsafe { (at as *mut u64).write_volatile(canary(GUEST_MAGIC, seed, at >> 3)) };
        }
    }
    if desk::argument(3) != 0 {
        hvc::grant(SMALL_PAGES, desk::argument(1) << 12);
    }
    let_vectors_through(false);
    let room = &raw mut ROOM;
    // SAFETY: used here only.
    let state = unsafe { &mut (*room).state };
    state.fill(GUEST_MAGIC, seed, Vectors::Fp);
    state.store_to(DESK + HOOK);
    assert_eq!(state.difference(0), None);
    assert_eq!(smp::this(), 0);
}
