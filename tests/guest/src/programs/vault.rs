// SPDX-License-Identifier: GPL-2.0-only
//! Keeps a secret in its memory, and looks after it while others try to get at it.

use crate::protocol::SMALL_PAGES;
use crate::{desk, hvc, say, timer};

const PAGE: u64 = 4096;
/// SMCCC TRNG_RND64 (Arm DEN0098).
const TRNG_RND64: u64 = 0xC400_0053;

/// A number that the host does not know, as far as there is a source of such.
fn secret() -> u64 {
    let [error, _, _, random] = hvc::call(TRNG_RND64, &[64]);
    let random = if error == 0 { random } else { 0 };
    let mut z = random ^ timer::now().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (z ^ (z >> 27)) & !7 | 1 << 63
}

/// The words that hold the secret, each with three bits of its own.
fn words(pages: u64) -> impl Iterator<Item = (*mut u64, u64)> {
    (SMALL_PAGES..SMALL_PAGES + pages * PAGE).step_by(8).map(|at| (at as *mut u64, at >> 3 & 7))
}

/// Argument 0: pages. Results: 0, 1 as soon as the secret is in place; 1, how often all of it was found intact; 2, in the
/// end, when hook 0 is not 0 any more, all bits of the secret inverted, so that no page of the host ever has it as it is.
pub fn run() {
    let pages = desk::argument(0);
    let secret = secret();
    for (at, number) in words(pages) {
        // SAFETY: memory of this VM that nothing else uses.
        unsafe { at.write_volatile(secret | number) };
    }
    say!("I have a secret now, in {pages} pages of my memory.");
    desk::set_result(0, 1);
    let mut rounds = 0;
    while desk::hook(0) == 0 {
        // SAFETY: as above.
        let holds = |(at, number): (*mut u64, u64)| unsafe { at.read_volatile() } == secret | number;
        let intact = words(pages).all(holds);
        assert!(intact, "somebody has changed my memory");
        rounds += 1;
        desk::set_result(1, rounds);
    }
    say!("I have looked {rounds} times, and all of it was as I had left it.");
    desk::set_result(2, !secret);
}
