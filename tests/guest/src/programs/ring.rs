// SPDX-License-Identifier: GPL-2.0-only
//! All vCPUs pass SGIs on in a ring, and sleep in between.

use crate::protocol::VCPUS;
use crate::{desk, exception, gic, smp};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What goes round.
const TOKEN: u64 = 3;
/// What goes to all at the end.
const LAST: u64 = 15;

static COUNT: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static READY: AtomicUsize = AtomicUsize::new(0);
static PASSED: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];

/// Passes on each token that has come since.
fn pass_on(me: usize) {
    let count = COUNT.load(Ordering::Relaxed);
    let passed = PASSED[me].load(Ordering::Relaxed);
    // One token: it can't come again before it was passed on.
    assert!(gic::count(me, TOKEN as usize) <= passed + 1);
    if gic::count(me, TOKEN as usize) == passed {
        return;
    }
    PASSED[me].store(passed + 1, Ordering::Relaxed);
    if me == 0 && passed + 1 == ROUNDS.load(Ordering::Relaxed) {
        gic::send_sgi_to_others(LAST);
    } else {
        gic::send_sgi(TOKEN, 1 << ((me + 1) % count));
    }
}

fn work(me: usize) {
    gic::set_up();
    READY.fetch_add(1, Ordering::Release);
    smp::sleep_until(|| {
        pass_on(me);
        gic::count(me, LAST as usize) > 0
    });
}

/// Argument 0: rounds. Results: 0, how often vCPU 0 has had the token; 1, the sum of all; 2, how many have seen the end.
pub fn run() {
    let count = desk::vcpus();
    COUNT.store(count, Ordering::Relaxed);
    ROUNDS.store(desk::argument(0), Ordering::Relaxed);
    gic::set_up();
    exception::take_interrupts();
    (1..count).for_each(|cpu| smp::start(cpu, work));
    while READY.load(Ordering::Acquire) < count - 1 {
        smp::relax();
    }
    gic::send_sgi(TOKEN, 2);
    smp::sleep_until(|| {
        pass_on(0);
        PASSED[0].load(Ordering::Relaxed) == desk::argument(0)
    });
    (1..count).for_each(smp::wait_for);
    let sum = |intid: u64| (0..count).map(|cpu| gic::count(cpu, intid as usize)).sum();
    desk::set_result(0, gic::count(0, TOKEN as usize));
    desk::set_result(1, sum(TOKEN));
    desk::set_result(2, sum(LAST));
}
