// SPDX-License-Identifier: GPL-2.0-only
//! Exhaustive exploration, breadth first.

use super::action::Action;
use super::arena::Arena;
use super::findings::Findings;
use super::rules::Rules;
use super::snapshot::Snapshot;
use super::world::{Outcome, World};
use crate::invariants::Strength;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::mem::replace;

/// Where to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most steps from a start.
    pub depth: usize,
    /// Most states.
    pub states: usize,
    /// Whether to stop at the first finding.
    pub first: bool,
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps tried: taken, halted, undefined.
    pub transitions: [u64; 3],
    /// Most steps from a start to a state.
    pub depth: usize,
    /// Whether no state is left to go on from.
    pub closed: bool,
    /// What was broken.
    pub findings: Findings,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [done, halted, undefined] = self.transitions;
        let end = if self.closed { "closed" } else { "not closed" };
        write!(f, "{} states, {} transitions ", self.states, done + halted + undefined)?;
        write!(f, "({done} taken, {halted} refused, {undefined} undefined), depth {}, {end}", self.depth)
    }
}

/// How a state was reached: from which, by which action.
type Parent = (u32, u16);

/// The steps to a state.
fn trace(parents: &[Parent], mut state: u32, last: u16, actions: &[Action]) -> Vec<Action> {
    let mut steps = vec![actions[last as usize]];
    while state != 0 {
        let (parent, action) = parents[state as usize];
        steps.push(actions[action as usize]);
        state = parent;
    }
    steps.reverse();
    steps
}

/// Explores an arena from `start`, which must be between two steps.
pub fn explore(rules: &dyn Rules, arena: &Arena, start: &World, strengths: &[Strength], limits: Limits) -> Explored {
    let actions: Vec<Action> = arena.actions().into_values().flatten().collect();
    let empty = arena.start().d;
    let mut found = Explored { closed: true, ..Explored::default() };
    let first = Snapshot::of(start);
    let mut seen = HashSet::from([first.key()]);
    let mut parents: Vec<Parent> = vec![(0, 0)];
    let mut layer = vec![(0u32, first)];
    while !layer.is_empty() {
        if found.depth == limits.depth {
            found.closed = false;
            break;
        }
        let mut next = vec![];
        for (state, snapshot) in &layer {
            let mut world = snapshot.world(&empty);
            let here = world.clone();
            let before: Vec<_> = strengths.iter().map(|strength| world.check(*strength)).collect();
            for (number, action) in (0u16..).zip(&actions) {
                if !arena.allows(&world, action) {
                    continue;
                }
                let mut tags = BTreeSet::new();
                let outcome = world.step(rules, action, &mut tags);
                found.transitions[outcome as usize] += 1;
                if outcome != Outcome::Done {
                    continue;
                }
                let after = replace(&mut world, here.clone());
                let snapshot = Snapshot::of(&after);
                if !seen.insert(snapshot.key()) {
                    continue;
                }
                for (strength, before) in strengths.iter().zip(&before) {
                    let now = after.check(*strength);
                    let trace = || trace(&parents, *state, number, &actions);
                    found.findings.note(*strength, (before, &now), (action, &tags), trace);
                }
                if limits.first && !found.findings.0.is_empty() || parents.len() >= limits.states {
                    found.closed = false;
                    found.states = parents.len();
                    return found;
                }
                next.push((parents.len() as u32, snapshot));
                parents.push((*state, number));
            }
        }
        found.depth += usize::from(!next.is_empty());
        layer = next;
    }
    found.states = parents.len();
    found
}

/// The world after an arena's boot.
pub fn booted(rules: &dyn Rules, arena: &Arena) -> World {
    let mut world = arena.start();
    for action in arena.boot() {
        let outcome = world.step(rules, &action, &mut BTreeSet::new());
        assert_eq!(outcome, Outcome::Done, "{action:x?}");
    }
    world
}
