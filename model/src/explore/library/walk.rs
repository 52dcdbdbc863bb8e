// SPDX-License-Identifier: GPL-2.0-only
//! Random walks on small machines.

use super::lab::Lab;
use super::search::Finding;
use super::small::Small;
use crate::constants::hvc;
use crate::explore::action::Action;
use crate::explore::random::Random;
use corevisor::abi::host_call;
use std::collections::BTreeMap;

/// Most steps between two boots.
const EPISODE: u64 = 200;

/// The steps of a small machine, by transition: each kind is as likely as any other, but for those that nearly always
/// fail.
pub struct Deck(Vec<Vec<Action>>);

impl Deck {
    /// Of a machine.
    pub fn new(small: &Small) -> Self {
        let mut kinds = BTreeMap::<_, Vec<_>>::new();
        for action in small.actions() {
            let plain = matches!(action, Action::Run { offer: None, .. });
            kinds.entry((action.name(), plain)).or_default().push(action);
        }
        let mut deck = vec![];
        for actions in kinds.into_values() {
            let times = match actions[0] {
                Action::Run { .. } => 6,
                Action::Exit { .. } => 3,
                Action::Touch { .. } | Action::Load { .. } => 2,
                Action::Unseal { .. } => 6,
                Action::Call { x } if x[0] == hvc::LOAD_CRYPT_VCPU => 6,
                Action::Call { x } if x[0] == u64::from(host_call::DESTROY_VM) => 1,
                _ => 2,
            };
            (0..times).for_each(|_| deck.push(actions.clone()));
        }
        Self(deck)
    }

    /// Draws a step that the machine allows.
    pub fn draw(&self, lab: &Lab<'_>, random: &mut Random) -> Action {
        loop {
            let kind = random.below(self.0.len());
            let action = random.pick(&self.0[kind]);
            if lab.allows(&action) {
                return action;
            }
        }
    }
}

/// What a walk came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps, by transition: taken, refused.
    pub steps: BTreeMap<&'static str, [u64; 2]>,
    /// What was found first. The walk ends there.
    pub finding: Option<Finding>,
}

impl Report {
    /// All steps: taken, refused.
    pub fn total(&self) -> [u64; 2] {
        self.steps.values().fold([0; 2], |sum, n| [sum[0] + n[0], sum[1] + n[1]])
    }
}

/// Takes a number of steps, on the machines by turns, and checks after each.
pub fn walk(machines: &[Small], seed: u64, steps: u64) -> Report {
    let mut random = Random::new(seed);
    let mut report = Report::default();
    let decks: Vec<Deck> = machines.iter().map(Deck::new).collect();
    let mut left = steps;
    for episode in 0.. {
        let (small, deck) = (&machines[episode % machines.len()], &decks[episode % machines.len()]);
        let mut trace = small.beginning(&mut random);
        let mut lab = Lab::after_steps(small, &trace);
        for _ in 0..EPISODE {
            if left == 0 {
                return report;
            }
            left -= 1;
            let action = deck.draw(&lab, &mut random);
            trace.push(action);
            let (outcome, wrong) = lab.step(&action);
            report.steps.entry(action.name()).or_default()[outcome as usize] += 1;
            if let Some(broken) = wrong.into_iter().chain(lab.check()).next() {
                report.finding = Some(Finding { broken, trace });
                lab.abandon();
                return report;
            }
        }
    }
    report
}
