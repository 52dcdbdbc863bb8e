// SPDX-License-Identifier: GPL-2.0-only
//! Says hello, and counts primes.

use crate::{desk, say, smp};

/// Argument 0: below which number. Result 0: how many primes there are; 1: x0 at the entry.
pub fn run() {
    let bound = desk::argument(0);
    say!("hello from vCPU {} of {}", smp::this(), desk::vcpus());
    let primes = (2..bound).filter(|&n| (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0)).count();
    say!("{primes} primes below {bound}");
    desk::set_result(0, primes as u64);
    desk::set_result(1, smp::x0(0));
}
