// SPDX-License-Identifier: GPL-2.0-only
//! What a search found: which transition breaks which invariant.

use super::action::Action;
use crate::invariants::{Strength, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How an invariant came to be broken by a transition.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How often.
    pub count: u64,
    /// The differences that the first such step, and the steps before it, came to.
    pub tags: BTreeSet<u32>,
    /// What the first one broke.
    pub first: Violation,
    /// The steps to it, if they were kept.
    pub trace: Vec<Action>,
}

/// All findings, by strength, invariant and transition.
#[derive(Clone, Debug, Default)]
pub struct Findings(pub BTreeMap<(Strength, &'static str, &'static str), Finding>);

impl Findings {
    /// Notes what a step has newly broken. `trace` is asked for the steps when this is the first time.
    pub fn note(
        &mut self,
        strength: Strength,
        (before, after): (&BTreeSet<Violation>, &BTreeSet<Violation>),
        (action, tags): (&Action, &BTreeSet<u32>),
        trace: impl Fn() -> Vec<Action>,
    ) {
        for broken in after.difference(before) {
            let finding = self.0.entry((strength, broken.id, action.name())).or_insert_with(|| Finding {
                count: 0,
                tags: tags.clone(),
                first: broken.clone(),
                trace: trace(),
            });
            finding.count += 1;
        }
    }

    /// Adds another search's.
    pub fn extend(&mut self, other: Findings) {
        for (key, finding) in other.0 {
            self.0.entry(key).and_modify(|known| known.count += finding.count).or_insert(finding);
        }
    }

    /// The invariants found broken.
    pub fn ids(&self) -> BTreeSet<&'static str> {
        self.0.keys().map(|key| key.1).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((strength, id, action), finding) in &self.0 {
            let form = if *strength == Strength::Literal { "literal" } else { "strict" };
            writeln!(f, "{id} ({form}) by {action}, {} times, first: {}", finding.count, finding.first.detail)?;
            writeln!(f, "    differences on the way: {:?}", finding.tags)?;
            finding.trace.iter().try_for_each(|step| writeln!(f, "    {step:x?}"))?;
        }
        Ok(())
    }
}
