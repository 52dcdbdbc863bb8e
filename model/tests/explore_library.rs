// SPDX-License-Identifier: GPL-2.0-only
//! Exhaustive exploration, random walks and noninterference of the library itself, in their short form. The long form is
//! the program `explore-library`; that all of them can fail is what `tools/sabotage` shows.

use model::constants::hvc;
use model::explore::action::{Action, call};
use model::explore::library::lab::{Lab, Outcome};
use model::explore::library::pairs;
use model::explore::library::search::{Explored, Limits, explore};
use model::explore::library::small::Small;
use model::explore::library::walk::walk;
use std::collections::BTreeSet;

/// Steps of a walk in the short form.
const STEPS: u64 = 6000;

/// Cases: `short`, or more in the proportion in which COREVISOR_CASES is more than the steps of a walk.
fn cases(short: u64) -> u64 {
    let steps: u64 = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(STEPS);
    short * (steps / STEPS).max(1)
}

/// Explores, and prints how far it went.
fn explored(small: &Small, ready: bool, limits: Limits) -> Explored {
    let start = if ready { small.ready() } else { vec![] };
    let found = explore(small, &start, limits);
    println!("{}: {found}", small.name);
    assert!(found.finding.is_none(), "{}", found.finding.expect("one"));
    found
}

#[test]
fn the_smallest_machine_is_explored_to_the_end() {
    let found = explored(&Small::tiny(), false, Limits { depth: usize::MAX, states: usize::MAX });
    assert!(found.closed);
}

#[test]
fn small_machines_are_explored_to_some_depth() {
    for small in [Small::running(), Small::cpus(), Small::two(), Small::bank(), Small::saved(), Small::four_pages()] {
        explored(&small, true, Limits { depth: usize::MAX, states: cases(60) as usize });
    }
}

#[test]
fn walks_break_nothing() {
    let all = Small::all();
    let report = walk(&all, 7, cases(4 * STEPS));
    assert!(report.finding.is_none(), "{}", report.finding.expect("one"));
    let idle: Vec<_> = report.steps.iter().filter(|(_, n)| n[0] == 0).map(|(name, _)| *name).collect();
    println!("{:?}", report.steps);
    assert_eq!(idle, [""; 0], "never done");
    let kinds: BTreeSet<_> = all.iter().flat_map(Small::actions).map(|action| action.name()).collect();
    assert_eq!(kinds.into_iter().filter(|name| !report.steps.contains_key(name)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn secrets_stay_secret() {
    for small in [Small::two(), Small::full()] {
        let found = pairs::run(&small, 7, cases(600));
        println!("{}: {} steps, {:?} with a VM", small.name, found.steps, found.with_vm);
        assert!(found.with_vm.iter().all(|n| *n > found.steps / 200), "{found:?}");
        assert!(found.leaks.is_empty(), "{:x?}", found.leaks);
    }
}

/// Machines start with all ids used, without the steps that take them there.
#[test]
fn used_ids_are_what_15_vms_leave() {
    let short = Lab::boot(&Small::tiny()).key();
    let small = Small { recycled: false, ..Small::tiny() };
    let mut lab = Lab::boot(&small);
    for number in [hvc::REGISTER_KVM, 34] {
        for vmid in 1..=15 {
            let arguments = if number == 34 { vec![vmid] } else { vec![] };
            assert_eq!(lab.step(&call(number, &arguments)).0, Outcome::Done);
        }
    }
    assert!(lab.key() == short, "{:?}", lab.everything.difference(&Lab::boot(&small).everything));
}

#[test]
fn a_saved_vm_goes_on() {
    let small = Small::saved();
    let mut lab = Lab::boot(&small);
    for step in small.saved_before() {
        assert_eq!(lab.step(&step).0, Outcome::Done, "{step:x?}");
    }
    let again = Action::Unseal { vmid: 1, pfn: small.ram[1], envelope: 0 };
    for (step, outcome) in [
        (Action::Unseal { vmid: 1, pfn: small.ram[1], envelope: 1 }, Outcome::Refused),
        (again, Outcome::Done),
        (again, Outcome::Refused),
        (call(hvc::LOAD_CRYPT_VCPU, &[2, 0]), Outcome::Refused),
        (call(hvc::LOAD_CRYPT_VCPU, &[1, 0]), Outcome::Done),
    ] {
        assert_eq!(lab.step(&step).0, outcome, "{step:x?}");
    }
    assert_eq!(lab.check(), BTreeSet::new());
}
