// SPDX-License-Identifier: GPL-2.0-only
//! All vCPUs count together.

use crate::protocol::VCPUS;
use crate::{desk, smp};
use core::sync::atomic::{AtomicU64, Ordering};

static SUM: AtomicU64 = AtomicU64::new(0);
static FINISHED: AtomicU64 = AtomicU64::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static MINE: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];

fn work(me: usize) {
    for round in 0..ROUNDS.load(Ordering::Relaxed) {
        SUM.fetch_add(1, Ordering::Relaxed);
        let before = MINE[me].fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, round);
        assert_eq!(smp::this(), me);
        if round % 64 == 63 {
            smp::relax();
        }
    }
    FINISHED.fetch_add(1, Ordering::Release);
}

/// Argument 0: rounds; 1: whether vCPU 0 goes on until the hook is not 0. Results: 0, the sum of all; 1, starts; 2, x0 at the entry of the last vCPU.
pub fn run() {
    let vcpus = desk::vcpus();
    ROUNDS.store(desk::argument(0), Ordering::Relaxed);
    (1..vcpus).for_each(|cpu| smp::start(cpu, work));
    work(0);
    while desk::argument(1) != 0 && desk::hook(0) == 0 {
        core::hint::spin_loop();
    }
    (1..vcpus).for_each(smp::wait_for);
    assert_eq!(FINISHED.load(Ordering::Acquire), vcpus as u64);
    desk::set_result(0, SUM.load(Ordering::Relaxed));
    desk::set_result(1, (0..vcpus).map(smp::starts).sum());
    desk::set_result(2, smp::x0(vcpus - 1));
}
