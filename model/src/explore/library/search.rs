// SPDX-License-Identifier: GPL-2.0-only
//! Exhaustive exploration of a small machine, breadth first.
//!
//! A state is kept as the steps that lead to it. To take a step from it the library is booted, and led there; it is used
//! again as long as steps are refused, or lead back to the same state.

use super::lab::{Lab, Outcome};
use super::small::Small;
use crate::explore::action::Action;
use crate::explore::ghosts::Ghosts;
use crate::invariants::Violation;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most steps from a start.
    pub depth: usize,
    /// Most states.
    pub states: usize,
}

/// No limits.
pub const NONE: Limits = Limits { depth: usize::MAX, states: usize::MAX };

/// Something broken, with the shortest way to it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub broken: Violation,
    /// The steps, from the machine as it was booted.
    pub trace: Vec<Action>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.broken)?;
        self.trace.iter().try_for_each(|step| writeln!(f, "    {}: {step:x?}", step.name()))
    }
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Steps tried, by transition: taken, refused.
    pub steps: BTreeMap<&'static str, [u64; 2]>,
    /// Most steps from the start to a state.
    pub depth: usize,
    /// Whether no state is left to go on from.
    pub closed: bool,
    /// What was found first. The exploration ends there.
    pub finding: Option<Finding>,
}

impl Explored {
    /// All steps: taken, refused.
    pub fn transitions(&self) -> [u64; 2] {
        self.steps.values().fold([0; 2], |sum, n| [sum[0] + n[0], sum[1] + n[1]])
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [taken, refused] = self.transitions();
        let end = if self.closed { "closed" } else { "not closed" };
        write!(f, "{} states, {} transitions ({taken} taken, {refused} refused), ", self.states, taken + refused)?;
        write!(f, "depth {}, {end}", self.depth)
    }
}

/// How a state was reached: from which, by which step.
type Parent = (u32, u16);

/// The steps to a state.
fn way(parents: &[Parent], mut state: u32) -> Vec<u16> {
    let mut steps = vec![];
    while state != 0 {
        let (parent, action) = parents[state as usize];
        steps.push(action);
        state = parent;
    }
    steps.reverse();
    steps
}

/// What came of the steps from one state.
#[derive(Default)]
struct Outcomes {
    steps: BTreeMap<&'static str, [u64; 2]>,
    /// New states: by which step, with which key and ghosts.
    new: Vec<(u16, u128, Ghosts)>,
    /// The step, if there was one, and what it broke.
    finding: Option<(Option<u16>, Violation)>,
}

/// Takes every step from the state at the end of `way`.
fn expand(
    small: &Small,
    (start, way, actions): (&[Action], &[u16], &[Action]),
    seen: &HashSet<u128>,
    ghosts: &Ghosts,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let steps = || start.iter().copied().chain(way.iter().map(|n| actions[*n as usize]));
    let mut lab = Lab::replay(small, steps(), ghosts.clone());
    let here = lab.key();
    let mut new = HashSet::new();
    for (number, action) in (0..).zip(actions) {
        if !lab.allows(action) {
            continue;
        }
        let (outcome, wrong) = lab.step(action);
        outcomes.steps.entry(action.name()).or_default()[outcome as usize] += 1;
        if let Some(broken) = wrong.into_iter().next() {
            outcomes.finding = Some((Some(number), broken));
            lab.abandon();
            return outcomes;
        }
        if outcome == Outcome::Refused {
            continue;
        }
        let key = lab.key();
        if key == here {
            continue;
        }
        if !seen.contains(&key) && new.insert(key) {
            if let Some(broken) = lab.check().into_iter().next() {
                outcomes.finding = Some((Some(number), broken));
                lab.abandon();
                return outcomes;
            }
            outcomes.new.push((number, key, lab.ghosts.clone()));
        }
        lab = Lab::replay(small, steps(), ghosts.clone());
    }
    outcomes
}

/// Explores `small` from the state that `start` leads to. Ends with the first finding.
pub fn explore(small: &Small, start: &[Action], limits: Limits) -> Explored {
    let actions = small.actions();
    let mut found = Explored { closed: true, ..Explored::default() };
    let mut lab = Lab::after_steps(small, start);
    if let Some(broken) = lab.check().into_iter().next() {
        found.finding = Some(Finding { broken, trace: start.to_vec() });
        return found;
    }
    let mut seen = HashSet::from([lab.key()]);
    let ghosts = lab.ghosts.clone();
    drop(lab);
    let mut parents: Vec<Parent> = vec![(0, 0)];
    let mut layer = vec![(0u32, ghosts)];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    while !layer.is_empty() {
        if found.depth == limits.depth || parents.len() >= limits.states {
            found.closed = false;
            break;
        }
        let next_state = AtomicUsize::new(0);
        let work = || {
            let mut done = vec![];
            loop {
                let i = next_state.fetch_add(1, Ordering::Relaxed);
                let Some((state, ghosts)) = layer.get(i) else { return done };
                done.push((i, expand(small, (start, &way(&parents, *state), &actions), &seen, ghosts)));
            }
        };
        let mut all: Vec<(usize, Outcomes)> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.min(layer.len())).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
        });
        all.sort_unstable_by_key(|(i, _)| *i);
        let mut next = vec![];
        for (i, outcomes) in all {
            for (name, n) in outcomes.steps {
                let sum = found.steps.entry(name).or_default();
                *sum = [sum[0] + n[0], sum[1] + n[1]];
            }
            for (number, key, ghosts) in outcomes.new {
                if seen.insert(key) {
                    next.push((parents.len() as u32, ghosts));
                    parents.push((layer[i].0, number));
                }
            }
            if let (None, Some((last, broken))) = (&found.finding, outcomes.finding) {
                let steps = way(&parents, layer[i].0).into_iter().chain(last);
                let trace = start.iter().copied().chain(steps.map(|n| actions[n as usize])).collect();
                found.finding = Some(Finding { broken, trace });
            }
        }
        found.states = parents.len();
        if found.finding.is_some() {
            found.closed = false;
            return found;
        }
        found.depth += usize::from(!next.is_empty());
        layer = next;
    }
    found.states = parents.len();
    found
}
