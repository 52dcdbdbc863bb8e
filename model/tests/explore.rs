// SPDX-License-Identifier: GPL-2.0-only
//! Random walks, exhaustive exploration and noninterference: of the model to the letter, of the careful one, and of wrong
//! variants, which must be found out.

use model::explore::arena::Arena;
use model::explore::careful::{Assembled, Careful};
use model::explore::pairs::{self, Flow};
use model::explore::rules::{Literal, Rules};
use model::explore::search::{Limits, booted, explore};
use model::explore::walk::walk;
use model::invariants::Strength;
use std::collections::BTreeSet;

#[path = "explore/sabotage.rs"]
mod sabotage;

use sabotage::{By, Sabotage};

/// Steps of a walk in the short form.
const STEPS: usize = 50_000;

/// Cases: `short`, or more in the proportion in which COREVISOR_CASES is more than the steps of a walk.
fn cases(short: usize) -> usize {
    let steps: usize = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(STEPS);
    short * (steps / STEPS).max(1)
}

/// A transition by which the model breaks an invariant to the letter.
struct Exception {
    strength: Strength,
    invariant: &'static str,
    action: &'static str,
    /// The difference, if the model tags it on the way.
    tag: Option<u32>,
}

/// All such transitions.
const EXCEPTIONS: [Exception; 12] = {
    use Strength::{Literal, Strict};
    const fn row(strength: Strength, invariant: &'static str, action: &'static str, tag: Option<u32>) -> Exception {
        Exception { strength, invariant, action, tag }
    }
    [
        // D-01: the host maps a page that a VM got through the SMMU; when the VM faults the page in, its count becomes 0,
        // and the host's mapping stays. The second half breaks the published invariant.
        row(Literal, "I6", "TH-3 host_vcpu_run_handler", Some(1)),
        row(Strict, "I6", "TH-3 host_vcpu_run_handler", Some(1)),
        row(Strict, "I6", "MM-1 map_page_host", Some(1)),
        row(Strict, "E3", "MM-1 map_page_host", Some(1)),
        row(Strict, "E5", "MM-1 map_page_host", Some(1)),
        // D-07: a block replaces a table, which is lost.
        row(Strict, "E4", "TH-3 host_vcpu_run_handler", Some(7)),
        // D-68: a bank is freed with all it maps.
        row(Strict, "E2", "call 18 SMMU_FREE_PGD", Some(68)),
        row(Strict, "E5", "call 18 SMMU_FREE_PGD", Some(68)),
        // D-68, D-75: pages of a VM are reclaimed while a bank is its or a vCPU of it runs. D-13: a VM that is off gets a
        // bank.
        row(Strict, "E2", "call 14 CLEAR_VM_S2_RANGE", None),
        row(Strict, "E2", "call 19 SMMU_ALLOC_PGD", None),
        // No number of its own: a reclaimed page stays in the table of the VM that is off, and goes to another VM.
        row(Strict, "E5", "TH-3 host_vcpu_run_handler", None),
        row(Strict, "E5", "IO-4 smmu_assign_page", None),
    ]
};

#[test]
fn the_letter_breaks_what_is_listed_and_nothing_else() {
    let report = walk(&Literal, &Arena::all(), &[Strength::Literal, Strength::Strict], 7, cases(STEPS));
    let found: BTreeSet<_> = report.findings.0.keys().copied().collect();
    let listed: BTreeSet<_> = EXCEPTIONS.iter().map(|e| (e.strength, e.invariant, e.action)).collect();
    assert_eq!(found.difference(&listed).collect::<Vec<_>>(), [&(Strength::Literal, "", ""); 0], "{}", report.findings);
    assert_eq!(listed.difference(&found).collect::<Vec<_>>(), [&(Strength::Literal, "", ""); 0], "listed in vain");
    for Exception { strength, invariant, action, tag } in EXCEPTIONS {
        let finding = &report.findings.0[&(strength, invariant, action)];
        assert!(tag.is_none_or(|tag| finding.tags.contains(&tag)), "{invariant}, {action}: {finding:?}");
    }
    for (action, [done, _, _]) in &report.steps {
        // By the letter these never come about: D-25, and D-12 with the state that TH-7 and TH-8 ask for.
        let never = ["call 26 ENCRYPT_BUF", "call 27 DECRYPT_BUF", "TH-7 dev_load", "TH-8 dev_store"];
        assert_eq!(*done == 0, never.contains(action), "{action}");
    }
}

#[test]
fn the_rulings_keep_every_strict_invariant() {
    let report = walk(&Assembled(Careful), &Arena::all(), &[Strength::Strict], 7, cases(STEPS));
    assert!(report.findings.0.is_empty(), "{}", report.findings);
    let idle: Vec<_> = report.steps.iter().filter(|(_, n)| n[0] == 0).map(|(action, _)| *action).collect();
    assert_eq!(idle, [""; 0], "never done");
}

/// Explores and prints how far it went.
fn explored(rules: &dyn Rules, arena: &Arena, boot: bool, limits: Limits) -> model::explore::search::Explored {
    let start = if boot { booted(rules, arena) } else { arena.start() };
    let found = explore(rules, arena, &start, &[Strength::Strict], limits);
    println!("{found}");
    found
}

#[test]
fn a_tiny_world_is_explored_to_the_end() {
    let limits = Limits { depth: usize::MAX, states: usize::MAX, first: false };
    let found = explored(&Assembled(Careful), &Arena::tiny(), false, limits);
    assert!(found.closed && found.findings.0.is_empty(), "{}", found.findings);
    // With another CPU, and with a bank.
    let tiny = Arena::tiny();
    let arena = Arena { cpus: 2, ..tiny.clone() };
    let found = explored(&Assembled(Careful), &arena, false, limits);
    assert!(found.closed && found.findings.0.is_empty(), "{}", found.findings);
    let arena = Arena { banks: Arena::small(1).banks, ..tiny };
    let found = explored(&Assembled(Careful), &arena, false, limits);
    assert!(found.closed && found.findings.0.is_empty(), "{}", found.findings);
}

#[test]
fn a_small_world_is_explored_to_some_depth() {
    let limits = Limits { depth: usize::MAX, states: cases(1500), first: false };
    for (boot, cpus) in [(false, 1), (true, 1), (true, 2)] {
        let found = explored(&Assembled(Careful), &Arena { cpus, ..Arena::small(2) }, boot, limits);
        assert!(found.findings.0.is_empty(), "{}", found.findings);
    }
}

/// Flows that were found.
fn flows(rules: &dyn Rules, arena: &Arena, steps: u64) -> BTreeSet<Flow> {
    let found = pairs::run(rules, arena, 7, steps);
    println!("{} steps, {:?} with a VM", found.steps, found.with_vm);
    assert!(found.with_vm.iter().all(|n| *n > steps / 500), "{found:?}");
    found.leaks.into_keys().collect()
}

/// The worlds for pairs.
fn pair_arena() -> Arena {
    Arena { encryption: true, ..Arena::small(2) }
}

#[test]
fn secrets_stay_secret() {
    // AM-139 is a declassification point: what the host has decrypted is the VM's.
    let decrypted = Flow { from_host: true, to_host: false, action: "call 27 DECRYPT_BUF" };
    assert_eq!(flows(&Assembled(Careful), &pair_arena(), cases(5000) as u64), BTreeSet::from([decrypted]));
    // D-40: a VM starts with what the host has in its registers.
    let entered = Flow { from_host: true, to_host: false, action: "TH-3 host_vcpu_run_handler" };
    assert_eq!(flows(&Literal, &pair_arena(), cases(5000) as u64), BTreeSet::from([entered]));
}

/// What finds a wrong variant, if anything does.
fn caught(wrong: &Sabotage) -> BTreeSet<&'static str> {
    let rules = wrong.rules.as_ref();
    let limits = Limits { depth: usize::MAX, states: 30_000, first: true };
    let small = Arena::small(2);
    match wrong.by {
        By::Exploration => explore(rules, &small, &small.start(), &[Strength::Strict], limits).findings.ids(),
        By::Booted => {
            let arena = Arena { banks: small.banks, vms: 2, grants: 2, ..Arena::tiny() };
            explore(rules, &arena, &booted(rules, &arena), &[Strength::Strict], limits).findings.ids()
        }
        By::Tiny => {
            let tiny = Arena { vms: 2, ..Arena::tiny() };
            explore(rules, &tiny, &booted(rules, &tiny), &[Strength::Strict], limits).findings.ids()
        }
        By::Bank => {
            let arena = Arena { banks: small.banks, ..Arena::tiny() };
            explore(rules, &arena, &arena.start(), &[Strength::Strict], limits).findings.ids()
        }
        By::TwoCpus => {
            let arena = Arena { cpus: 2, vcpus: 2, ..Arena::tiny() };
            explore(rules, &arena, &booted(rules, &arena), &[Strength::Strict], limits).findings.ids()
        }
        By::Walk => walk(rules, &Arena::all(), &[Strength::Strict], 7, 5000).findings.ids(),
        By::Pairs => pairs::run(rules, &small, 7, 1500).leaks.into_keys().map(|flow| flow.action).collect(),
    }
}

/// Runs wrong variants.
fn all_caught(variants: Vec<Sabotage>) {
    for wrong in variants {
        let by = caught(&wrong);
        println!("without \"{}\": {:?} finds {by:?}", wrong.what, wrong.by);
        assert!(by.contains(wrong.expected), "without \"{}\": {by:?} instead of {}", wrong.what, wrong.expected);
    }
}

#[test]
fn wrong_memory_is_caught() {
    all_caught(sabotage::of_memory());
}

#[test]
fn wrong_banks_are_caught() {
    all_caught(sabotage::of_smmu());
}

#[test]
fn wrong_vms_are_caught() {
    all_caught(sabotage::of_vms());
}
