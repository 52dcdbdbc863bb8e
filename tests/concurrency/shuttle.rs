// SPDX-License-Identifier: GPL-2.0-only
//! Under shuttle: CPUs of a hostile host, and VMs, all call Corevisor at the same time, in an order of steps that is
//! drawn at random or by priorities (PCT). What must hold whatever the order is checked when all are done.
//!
//! COREVISOR_CASES: how many orders each test tries; COREVISOR_SEED: which ones. A failure prints the order, too.

#[path = "shuttle/actions.rs"]
mod actions;
#[path = "shuttle/invariants.rs"]
mod invariants;
#[path = "shuttle/vms.rs"]
mod vms;
mod world;

use actions::Actor;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use std::sync::Arc;
use world::Core;

const CPUS: usize = 3;
/// Of a CPU, in one run.
const STEPS: usize = 12;
/// Orders that a test tries.
const CASES: usize = 150;
/// Times that PCT lets a CPU of low priority go first.
const CHANGES: usize = 4;

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn cases() -> usize {
    variable("COREVISOR_CASES", CASES as u64) as usize
}

fn seed() -> u64 {
    let seed = variable("COREVISOR_SEED", 0xC04E);
    println!("COREVISOR_SEED={seed}, {} orders", cases());
    seed
}

/// Runs `body` in the orders that `scheduler` says.
fn check(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 1 << 22;
    Runner::new(scheduler, config).run(body);
    for (what, [refused, done]) in &*actions::TALLY.lock().unwrap() {
        println!("{what}: {done} done, {refused} refused");
    }
}

/// CPUs that do what comes to their minds.
fn race() {
    race_on(vms::boot_with_vms());
}

fn race_on(core: Core) {
    let core = Arc::new(core);
    let cpus: Vec<_> = (0..CPUS)
        .map(|cpu| {
            let core = core.clone();
            thread::spawn(move || {
                corevisor::machine::sim::set_cpu(cpu);
                let mut actor = Actor::new(&core);
                for _ in 0..STEPS {
                    actor.step();
                }
                actor.leave();
            })
        })
        .collect();
    for cpu in cpus {
        cpu.join().unwrap();
    }
    invariants::check(&core);
}

// Tests: MM-1, MM-2, MM-3, MM-4, MM-6, MM-7, MO-1, MO-2, MO-3, MO-4, MH-1, TD-1, TH-1, TH-3, TH-4
#[test]
fn orders_drawn_at_random() {
    check(RandomScheduler::new_from_seed(seed(), cases()), race);
}

// Tests: MM-1, MM-2, MM-3, MM-4, MM-6, MM-7, MO-1, MO-2, MO-3, MO-4, MH-1, TD-1, TH-1, TH-3, TH-4
#[test]
fn orders_by_priorities() {
    check(PctScheduler::new_from_seed(seed(), CHANGES, cases()), race);
}

#[test]
fn each_invariant_can_fail() {
    for (sabotage, expected) in invariants::SABOTAGES {
        let found = std::panic::catch_unwind(|| {
            check(RandomScheduler::new_from_seed(1, 1), move || {
                let core = vms::boot_with_vms();
                sabotage(&core);
                invariants::check(&core);
            });
        });
        let found = found.expect_err("not found out");
        let message = found.downcast_ref::<String>().expect("a message");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
#[should_panic(expected = "reaches")]
fn a_transfer_in_two_sections_is_found_out() {
    check(RandomScheduler::new_from_seed(seed(), CASES), || {
        let core = Arc::new(vms::boot_with_vms());
        let cpus = vms::VMS.map(|v| {
            let core = core.clone();
            thread::spawn(move || vms::take_carelessly(&core, v))
        });
        for cpu in cpus {
            cpu.join().unwrap();
        }
        invariants::check(&core);
    });
}
