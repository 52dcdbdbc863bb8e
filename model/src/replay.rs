// SPDX-License-Identifier: GPL-2.0-only
//! Replay of test vectors: scripts of calls with what the specification gives for each.

mod call;
mod dispatch;
mod final_state;
mod library;
mod library_panics;
mod model;
mod script;

pub use dispatch::{Outcome, dispatch, is_modelled};
pub use final_state::Final;
pub use library::conform;
pub use library::{Ended, LibraryTally, Steps, run as run_on_library};
pub use model::Model;
pub use script::{Arg, Init, Script, Step};

use std::fmt;

/// Something that scripts can run on: the model, or an implementation of the specification.
pub trait Subject {
    /// Starts anew.
    fn start(init: Init) -> Self;

    /// Executes one call.
    fn step(&mut self, step: &Step) -> Outcome;

    /// Whether the machine has halted.
    fn halted(&self) -> bool;

    /// The whole state, in the vectors' terms.
    fn final_state(&self) -> Final;
}

/// What became of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything agreed.
    Passed,
    /// Something did not.
    Failed(Failure),
    /// The function with this name is unknown.
    NotModelled(String),
}

/// Where, and how, a script went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The script.
    pub id: String,
    /// The step, from 0, and its call; none: the final state.
    pub step: Option<(usize, String)>,
    /// What the vectors say.
    pub expected: String,
    /// What came out.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some((number, call)) => write!(f, "{} step {number} {call}", self.id)?,
            None => write!(f, "{} final state", self.id)?,
        }
        write!(f, ": expected {}, got {}", self.expected, self.got)
    }
}

/// Runs a script.
pub fn run<S: Subject>(script: &Script) -> Verdict {
    let mut subject = S::start(script.init);
    let fail = |step: Option<(usize, &Step)>, expected: String, got: String| {
        let step = step.map(|(number, step)| (number, step.to_string()));
        Verdict::Failed(Failure { id: script.id.clone(), step, expected, got })
    };
    for (number, step) in script.steps.iter().enumerate() {
        let expected = format!("{}, halt {}", show(step.ret), step.halt);
        match subject.step(step) {
            Outcome::Unknown => return Verdict::NotModelled(step.name.clone()),
            Outcome::BadArguments => return fail(Some((number, step)), expected, "arguments that do not fit".into()),
            Outcome::Undefined => return fail(Some((number, step)), expected, "undefined".into()),
            Outcome::Defined(ret) => {
                if ret != step.ret || subject.halted() != step.halt {
                    let got = format!("{}, halt {}", show(ret), subject.halted());
                    return fail(Some((number, step)), expected, got);
                }
            }
        }
    }
    if let Some(step) = &script.undefined {
        let number = script.steps.len();
        match subject.step(step) {
            Outcome::Unknown => return Verdict::NotModelled(step.name.clone()),
            Outcome::BadArguments => {
                return fail(Some((number, step)), "undefined".into(), "arguments that do not fit".into());
            }
            Outcome::Undefined => {}
            Outcome::Defined(ret) => {
                let got = format!("{}, halt {}", show(ret), subject.halted());
                return fail(Some((number, step)), "undefined".into(), got);
            }
        }
    }
    if let Some(expected) = &script.final_state
        && let Some((expected, got)) = expected.difference(&subject.final_state())
    {
        return fail(None, expected, got);
    }
    Verdict::Passed
}

/// A result, for people.
fn show(ret: Option<u64>) -> String {
    ret.map_or_else(|| "no value".into(), |value| value.to_string())
}

/// Verdicts, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Scripts in which everything agreed.
    pub passed: usize,
    /// Scripts in which something did not.
    pub failures: Vec<Failure>,
    /// Unknown functions, one for each script that stopped at one.
    pub not_modelled: Vec<String>,
}

impl Tally {
    /// Runs all scripts of a file's text. A line that is no script counts as failed.
    pub fn of<S: Subject>(text: &str) -> Self {
        let mut tally = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            tally.add(match Script::parse(line) {
                Ok(script) => run::<S>(&script),
                Err(got) => {
                    let id = format!("line {}", number + 1);
                    Verdict::Failed(Failure { id, step: None, expected: "a script".into(), got })
                }
            });
        }
        tally
    }

    /// Counts one verdict.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(failure) => self.failures.push(failure),
            Verdict::NotModelled(name) => self.not_modelled.push(name),
        }
    }

    /// Counts another tally's verdicts, too.
    pub fn extend(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.not_modelled.extend(other.not_modelled);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} not modelled", self.passed, self.failures.len(), self.not_modelled.len())
    }
}
