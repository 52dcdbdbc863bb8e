// SPDX-License-Identifier: GPL-2.0-only
//! Noninterference: two runs of the same steps that differ in one principal's secrets look the same to all others.
//!
//! Secret are the contents of a principal's pages, its registers in its shadow contexts and, if it runs, in the CPU, and
//! its position in its data stream. What decides a step is part of the step, and so the same in both runs: the choice to
//! make a call, and its arguments, are the principal's to publish.

use super::arena::Arena;
use super::deck::Deck;
use super::random::Random;
use super::rules::Rules;
use super::world::Outcome;
use crate::constants::{HOSTVISOR, VCPU_PER_VM, ctxt_id};
use crate::observe::{Item, observe, principals};
use crate::rdata::RData;
use crate::registers::{FP, GP, Reg, SWITCHED};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Steps before the runs part, at most, and after.
const EPISODE: usize = 100;

/// Whose secrets reached whom by which transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Whether they were the host's; else a VM's.
    pub from_host: bool,
    /// Whether the host saw them; else a VM did.
    pub to_host: bool,
    /// The transition.
    pub action: &'static str,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |host: bool| if host { "host" } else { "VM" };
        write!(f, "{} to {} by {}", name(self.from_host), name(self.to_host), self.action)
    }
}

/// What a number of pairs came to.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// Steps that both runs took.
    pub steps: u64,
    /// Of these, steps with a VM's secrets, and steps of which a VM took notice of the host's: while it ran.
    pub with_vm: [u64; 2],
    /// What leaked, with the first case: what was seen.
    pub leaks: BTreeMap<Flow, Vec<Item>>,
}

/// The registers that are a principal's.
fn registers() -> impl Iterator<Item = Reg> {
    GP.into_iter().chain(FP).chain(SWITCHED)
}

/// Changes a principal's secrets: among others the contents of those of `pages` that are its own.
pub fn scramble(d: &mut RData, secret: u32, pages: &[u64], random: &mut Random) {
    let records = d.s2page.changed().map(|(pfn, _)| pfn);
    let pages: BTreeSet<u64> = pages.iter().copied().chain(records).chain(d.flatmem.keys().copied()).collect();
    for pfn in pages.into_iter().filter(|pfn| d.s2page.get(*pfn).owner == secret) {
        d.flatmem.insert(pfn, random.number() | 1);
    }
    for vcpuid in 0..VCPU_PER_VM {
        if let Some(ctxt) = d.shadow_ctxts.get_mut(&ctxt_id(secret, vcpuid)) {
            registers().chain(["pc", "pstate"]).for_each(|reg| ctxt.set(reg, random.number()));
        }
    }
    if d.cur_vmid == secret && !d.icore {
        registers().for_each(|reg| d.regs.set(reg, random.number()));
    }
    *d.data_log.entry(secret).or_default() += random.number() % 7;
}

/// Who, other than the owner of the secrets, sees a difference.
pub fn seen(a: &RData, b: &RData, secret: u32) -> Vec<(u32, Vec<Item>)> {
    let others = principals(a).into_iter().filter(|principal| *principal != secret);
    let differences = others.map(|p| (p, observe(p, a).differences(&observe(p, b))));
    differences.filter(|(_, items)| !items.is_empty()).collect()
}

/// Makes pairs until they have taken a number of steps together.
pub fn run(rules: &dyn Rules, arena: &Arena, seed: u64, steps: u64) -> Pairs {
    let mut random = Random::new(seed);
    let deck = Deck::new(arena);
    let mut pairs = Pairs::default();
    while pairs.steps < steps {
        let mut a = arena.start();
        if !random.one_in(4) {
            for action in arena.boot() {
                a.step(rules, &action, &mut BTreeSet::new());
            }
        }
        for _ in 0..random.below(EPISODE) {
            let action = deck.draw(&a, &mut random);
            a.step(rules, &action, &mut BTreeSet::new());
        }
        let secret = random.pick(&principals(&a.d));
        let mut b = a.clone();
        scramble(&mut b.d, secret, &arena.ram, &mut random);
        assert_eq!(seen(&a.d, &b.d, secret), [], "{secret}'s secrets are no secrets");
        for _ in 0..EPISODE {
            let action = deck.draw(&a, &mut random);
            let outcomes = [&mut a, &mut b].map(|world| world.step(rules, &action, &mut BTreeSet::new()));
            let mut seen = seen(&a.d, &b.d, secret);
            if outcomes[0] != outcomes[1] && seen.is_empty() {
                let watching = principals(&a.d).into_iter().filter(|principal| *principal != secret);
                seen.extend(watching.map(|principal| (principal, vec![Item::Halt])));
            }
            let taken = u64::from(outcomes[0] == Outcome::Done);
            pairs.steps += taken;
            pairs.with_vm[0] += taken * u64::from(secret != HOSTVISOR);
            pairs.with_vm[1] += taken * u64::from(secret == HOSTVISOR && !a.d.ihost);
            if seen.is_empty() {
                continue;
            }
            for (principal, items) in seen {
                let (from_host, to_host) = (secret == HOSTVISOR, principal == HOSTVISOR);
                pairs.leaks.entry(Flow { from_host, to_host, action: action.name() }).or_insert(items);
            }
            break;
        }
    }
    pairs
}
