// SPDX-License-Identifier: GPL-2.0-only
//! Random walks.

use super::arena::Arena;
use super::deck::Deck;
use super::findings::Findings;
use super::random::Random;
use super::rules::Rules;
use super::world::Outcome;
use crate::invariants::Strength;
use std::collections::{BTreeMap, BTreeSet};

/// Steps between two new worlds.
const EPISODE: usize = 120;

/// What a walk came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps, by transition: taken, halted, undefined.
    pub steps: BTreeMap<&'static str, [u64; 3]>,
    /// What was broken.
    pub findings: Findings,
}

impl Report {
    /// All steps: taken, halted, undefined.
    pub fn total(&self) -> [u64; 3] {
        self.steps.values().fold([0; 3], |sum, n| [sum[0] + n[0], sum[1] + n[1], sum[2] + n[2]])
    }
}

/// Walks through a number of steps, in arenas by turns, most of the worlds booted at first, and checks after each.
pub fn walk(rules: &dyn Rules, arenas: &[Arena], strengths: &[Strength], seed: u64, steps: usize) -> Report {
    let mut random = Random::new(seed);
    let mut report = Report::default();
    let decks: Vec<Deck<'_>> = arenas.iter().map(Deck::new).collect();
    for episode in 0..steps.div_ceil(EPISODE) {
        let arena = &arenas[episode % arenas.len()];
        let mut world = arena.start();
        let (mut tags, mut trace) = (BTreeSet::new(), vec![]);
        if !random.one_in(4) {
            for action in arena.boot() {
                world.step(rules, &action, &mut tags);
                trace.push(action);
            }
        }
        let mut broken: Vec<_> = strengths.iter().map(|strength| world.check(*strength)).collect();
        for _ in 0..EPISODE.min(steps - episode * EPISODE) {
            let action = decks[episode % arenas.len()].draw_odd(&world, &mut random);
            let outcome = world.step(rules, &action, &mut tags);
            let counts = report.steps.entry(action.name()).or_default();
            counts[outcome as usize] += 1;
            if outcome != Outcome::Done {
                continue;
            }
            trace.push(action);
            for (strength, broken) in strengths.iter().zip(&mut broken) {
                let now = world.check(*strength);
                report.findings.note(*strength, (broken, &now), (&action, &tags), || trace.clone());
                *broken = now;
            }
        }
    }
    report
}
