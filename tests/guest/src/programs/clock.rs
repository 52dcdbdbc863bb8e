// SPDX-License-Identifier: GPL-2.0-only
//! All vCPUs have their timers wake them.

use crate::{desk, exception, gic, smp, timer};
use core::sync::atomic::{AtomicU64, Ordering};

static TIMES: AtomicU64 = AtomicU64::new(0);
static PERIOD: AtomicU64 = AtomicU64::new(0);
/// Interrupts that came before their time.
static EARLY: AtomicU64 = AtomicU64::new(0);
static TAKEN: AtomicU64 = AtomicU64::new(0);

fn work(me: usize) {
    gic::set_up();
    let intid = timer::INTID as usize;
    for time in 1..=TIMES.load(Ordering::Relaxed) {
        let at = timer::now() + timer::ticks(PERIOD.load(Ordering::Relaxed));
        timer::set(at);
        if time % 2 == 0 {
            smp::sleep_until(|| gic::count(me, intid) >= time);
        } else {
            // Awake, with interrupts let in.
            exception::unmask_interrupts();
            while gic::count(me, intid) < time {
                core::hint::spin_loop();
            }
            exception::mask_interrupts();
        }
        EARLY.fetch_add((timer::now() < at).into(), Ordering::Relaxed);
        assert_eq!(gic::count(me, intid), time);
    }
    TAKEN.fetch_add(gic::count(me, intid), Ordering::Relaxed);
}

/// Arguments: 0, how often on each vCPU; 1, microseconds. Results: 0, interrupts in all; 1, those that came early; 2, ticks
/// that the whole took; 3, the virtual count in the end.
pub fn run() {
    TIMES.store(desk::argument(0), Ordering::Relaxed);
    PERIOD.store(desk::argument(1), Ordering::Relaxed);
    let start = timer::now();
    (1..desk::vcpus()).for_each(|cpu| smp::start(cpu, work));
    work(0);
    (1..desk::vcpus()).for_each(smp::wait_for);
    desk::set_result(0, TAKEN.load(Ordering::Relaxed));
    desk::set_result(1, EARLY.load(Ordering::Relaxed));
    desk::set_result(2, timer::now() - start);
    desk::set_result(3, timer::now());
}
