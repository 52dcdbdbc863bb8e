// SPDX-License-Identifier: GPL-2.0-only
//! A machine of one or two CPUs, step by step.

use super::action::Action;
use super::ghosts::Ghosts;
use super::rules::Rules;
use crate::invariants::{Strength, Violation, check_all, cpus, pointers_monotone};
use crate::rdata::RData;
use crate::registers::RegisterFile;
use std::collections::BTreeSet;
use std::mem::swap;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Done,
    /// The specification halts: undone.
    Halted,
    /// The specification has no result: undone.
    Undefined,
}

/// The state of a CPU that is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// What it is doing.
    pub cpu: cpus::Cpu,
    /// Its registers.
    pub regs: RegisterFile,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct World {
    /// Its state, as one CPU sees it.
    pub d: RData,
    /// The other CPU, if there is one.
    pub parked: Option<Parked>,
    /// What happened before.
    pub ghosts: Ghosts,
}

impl World {
    /// A machine of one CPU.
    pub fn new(d: RData) -> Self {
        Self { d, parked: None, ghosts: Ghosts::default() }
    }

    /// The same with a second CPU, on which the host runs.
    pub fn with_second_cpu(mut self) -> Self {
        let cpu = cpus::Cpu { curid: 1, icore: false, ihost: true, cur_vmid: 0, cur_vcpuid: 1 };
        self.parked = Some(Parked { cpu, regs: RegisterFile::default() });
        self
    }

    /// Goes on with the other CPU.
    fn switch(&mut self) -> Outcome {
        let Some(parked) = &mut self.parked else { return Outcome::Undefined };
        let d = &mut self.d;
        let here = cpus::Cpu::of(d);
        cpus::Cpu { curid: d.curid, icore: d.icore, ihost: d.ihost, cur_vmid: d.cur_vmid, cur_vcpuid: d.cur_vcpuid } =
            parked.cpu;
        parked.cpu = here;
        swap(&mut d.regs, &mut parked.regs);
        Outcome::Done
    }

    /// Takes a step, or leaves all as it was. `tags` gets the differences that it came to.
    pub fn step(&mut self, rules: &dyn Rules, action: &Action, tags: &mut BTreeSet<u32>) -> Outcome {
        if *action == Action::Switch {
            return self.switch();
        }
        let before = self.d.clone();
        let result = rules.step(&mut self.d, action);
        tags.extend(self.d.take_tags());
        if result.is_some() && !self.d.halt {
            self.ghosts.observe(&before, action, &self.d);
            assert!(pointers_monotone(&before, &self.d), "E4: {action:x?} took a bump pointer back");
            return Outcome::Done;
        }
        self.d = before;
        if result.is_some() { Outcome::Halted } else { Outcome::Undefined }
    }

    /// All that is broken, for a strength, on all CPUs and with all that happened before.
    pub fn check(&self, strength: Strength) -> BTreeSet<Violation> {
        let mut broken: BTreeSet<_> = check_all(&self.d, strength).into_iter().collect();
        let locks = self.d.locks.keys();
        broken.extend(locks.map(|id| Violation { id: "locks", detail: format!("lock {id} is held after a step") }));
        if strength == Strength::Strict {
            let here = [cpus::Cpu::of(&self.d)];
            let all: Vec<_> = here.into_iter().chain(self.parked.iter().map(|parked| parked.cpu)).collect();
            broken.extend(cpus::check(&self.d, &all));
            broken.extend(self.ghosts.check(&self.d));
        }
        broken
    }
}
