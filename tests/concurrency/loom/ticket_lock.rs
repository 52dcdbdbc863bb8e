// SPDX-License-Identifier: GPL-2.0-only
//! The ticket lock.

use super::check;
use corevisor::lock::{Held, Lock, rank};
use corevisor::sync::{spin_loop, weaken};
use loom::sync::Arc;
use loom::thread;

type Number = Lock<u32, { rank::PT }>;

/// Adds one, in two steps that others must not get between. Loom sees both as accesses to the object.
fn increment(lock: &Number) {
    let mut nothing = Held::nothing();
    let (mut object, _) = lock.lock(&mut nothing);
    let seen = *object;
    *object = seen + 1;
}

/// `threads` CPUs take the lock once each; what they did to the object is all there.
fn all_increments_count(threads: u32, times_used: u32) {
    let lock = Arc::new(Number::used(0, times_used));
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let lock = lock.clone();
            thread::spawn(move || increment(&lock))
        })
        .collect();
    increment(&lock);
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(*lock.lock(&mut Held::nothing()).0, threads);
    assert_eq!(lock.tickets(), times_used.wrapping_add(threads + 1));
}

// Tests: LO-1, LO-2, LQ-1, LQ-2, LH-1, LH-2
#[test]
fn holders_exclude_each_other_and_see_each_others_work() {
    check(4, || all_increments_count(2, 0));
}

// Tests: LO-1, LO-2, LQ-1, LQ-2, LH-1, LH-2
#[test]
fn three_cpus_exclude_each_other() {
    check(2, || all_increments_count(3, 0));
}

// Tests: LO-1, LO-2
#[test]
fn tickets_wrap_around() {
    check(3, || all_increments_count(2, u32::MAX));
    check(2, || all_increments_count(3, u32::MAX - 1));
}

// Tests: LO-1, LQ-1
#[test]
fn the_lock_is_passed_on_in_the_order_of_arrival() {
    type Order = Lock<Vec<u32>, { rank::PT }>;
    fn wait_for_tickets(lock: &Order, tickets: u32) {
        while lock.tickets() != tickets {
            spin_loop();
        }
    }
    check(2, || {
        let lock = Arc::new(Order::used(Vec::new(), 0));
        let mut nothing = Held::nothing();
        let (first, _) = lock.lock(&mut nothing);
        let others: Vec<_> = (1..3)
            .map(|cpu| {
                let other = {
                    let lock = lock.clone();
                    thread::spawn(move || lock.lock(&mut Held::nothing()).0.push(cpu))
                };
                wait_for_tickets(&lock, cpu + 1);
                other
            })
            .collect();
        drop(first);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(*lock.lock(&mut Held::nothing()).0, [1, 2]);
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_lock_that_does_not_order_is_found_out() {
    weaken(true);
    check(2, || all_increments_count(2, 0));
}
