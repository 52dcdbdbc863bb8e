// SPDX-License-Identifier: GPL-2.0-only
//! A sequence of steps on the model and on the library, side by side.

use crate::invariants;
use crate::step::{Step, Value, entry, fault_address};
use crate::world::{library, model, owned, withheld};
use corevisor::addr::{HOSTVISOR, Ipa, PAGE_SIZE, Range};
use corevisor::lock::Held;
use corevisor::refused::Refused;
use model::RData;
use model::invariants::{Strength, check_all};
use model::library::{Core, Observer, View, corresponds};
use model::mem_manager::map_page_host;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why a sequence can't be compared any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// A difference with this number, on which the library is not to follow the high specification.
    Deviation(u32),
    /// A block in the host's table: for the specification it is one for good, the library may split it.
    Block,
    /// An access to an SMMU: the library has no SMMU emulation yet.
    Smmu,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deviation(number) => write!(f, "D-{number:02}"),
            Self::Block => f.write_str("NPTWalk: a block"),
            Self::Smmu => f.write_str("SMMU emulation not in the library yet"),
        }
    }
}

/// What many sequences came to.
#[derive(Default)]
pub struct Counts {
    /// By name of the step: taken, of them refused by both, of them without result in the model and refused.
    pub steps: BTreeMap<&'static str, [usize; 3]>,
    /// How many sequences were compared up to here.
    pub ends: BTreeMap<End, usize>,
    /// Sequences compared to their last step.
    pub whole: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |i: usize| self.steps.values().map(|counts| counts[i]).sum::<usize>();
        writeln!(f, "{} steps agree; {} refused by both, {} undefined and refused", total(0), total(1), total(2))?;
        for (name, [taken, refused, undefined]) in &self.steps {
            writeln!(f, "  {name}: {taken}, {refused}, {undefined}")?;
        }
        write!(f, "sequences: {} to their end", self.whole)?;
        self.ends.iter().try_for_each(|(end, count)| write!(f, ", {count} to {end}"))
    }
}

/// Model and library in the middle of a sequence.
pub struct Run {
    core: Core,
    model: RData,
    /// The library's abstract state.
    view: View,
    observer: Observer,
    ipa_bits: u32,
}

/// What the model made of a step.
enum Seen {
    Done(Value),
    Halted,
    Undefined,
}

fn within(ranges: &[Range], address: u64) -> bool {
    ranges.iter().any(|r| r.contains(address))
}

impl Run {
    /// Both just booted. The library's table of the host is filled; the model's is empty but for what MM-1 maps at
    /// `touched`, pages of the host's.
    pub fn new(ipa_bits: u32, touched: impl IntoIterator<Item = u64>) -> Self {
        let (core, mut model) = (library(ipa_bits), model());
        for pfn in touched {
            if model.s2page.get(pfn).owner == 0 {
                map_page_host(&mut model, pfn * PAGE_SIZE).expect("defined");
            }
        }
        let observer = Observer::new(&core);
        Self { core, model, view: observer.view().clone(), observer, ipa_bits }
    }

    /// Lets the TLB know, as soon as it can, what is mapped at `pages`.
    pub fn watch(&self, pages: impl IntoIterator<Item = u64>) {
        for address in pages.into_iter().map(|pfn| pfn * PAGE_SIZE).filter(|a| a >> self.ipa_bits == 0) {
            self.core.machine().watch(HOSTVISOR, Ipa::new(address).expect("in reach"));
        }
    }

    /// The invariants once more, by their common definition, on the library's whole abstract state page by page. Not those
    /// about what the library does not have: VMs and SMMUs, and so the mappings that a count of the host's counts (I10).
    pub fn check_whole(&self) -> Result<(), String> {
        const ASKED: [&str; 8] = ["I2", "I3", "I4", "I5", "I6", "E1", "E3", "E4"];
        let broken = check_all(&self.view.state(), Strength::Strict);
        broken.iter().find(|broken| ASKED.contains(&broken.id)).map_or(Ok(()), |broken| Err(broken.to_string()))
    }

    /// Model and library.
    pub fn states(&self) -> (&RData, &Core) {
        (&self.model, &self.core)
    }

    /// Whether the model can be asked about `step`: its physical addresses have 40 bits, and where the library's table
    /// translates more the two can't agree.
    fn is_comparable(&self, step: &Step) -> bool {
        let is_boot = |pfn| within(&owned(), pfn * PAGE_SIZE);
        let mapped = !matches!(step, Step::MapPage(_) | Step::MapBlock(_)) && self.ipa_bits == 40;
        (mapped || step.page() < 1 << 28) && step.is_legal(&self.model, is_boot)
    }

    /// Takes `step` in both. The comparison's end, if it must end here; an error if the two disagree.
    pub fn step(&mut self, step: &Step, counts: &mut Counts) -> Result<Option<End>, String> {
        if !self.is_comparable(step) {
            return Ok(None);
        }
        let before = self.model.clone();
        let seen = match step.in_model(&mut self.model) {
            None => Seen::Undefined,
            Some(_) if self.model.halt => Seen::Halted,
            Some(value) => Seen::Done(value),
        };
        let mut tags = self.model.take_tags();
        tags.remove(&5); // see `departure`
        let got = step.in_library(&self.core, &before);
        let view = self.observer.look(&self.core).clone();
        let old = std::mem::replace(&mut self.view, view);
        let violations = self.core.machine().take_violations();
        if !violations.is_empty() {
            return Err(format!("{step:x?}: {violations:?}"));
        }
        invariants::check(&self.view, &self.core).map_err(|broken| format!("after {step:x?}: {broken}"))?;
        if got.is_err() && self.view != old {
            return Err(format!("{step:x?}: refused ({got:?}), but the state has changed"));
        }
        if matches!(step, Step::Walk { .. } | Step::Search(_) | Step::Index(_) | Step::Get(_)) && self.view != old {
            return Err(format!("{step:x?}: a query has changed the state"));
        }
        // The model's halted state is thrown away, and the sequence goes on from before.
        let end = self.departure(step, &before, &tags, &seen, &got)?;
        if !matches!(seen, Seen::Done(_)) || end.is_some() {
            self.model = before;
        }
        let column = match (&seen, &got) {
            _ if end.is_some() => return Ok(end),
            (Seen::Done(wanted), Ok(got)) => {
                self.compare_values(step, wanted, got)?;
                0
            }
            // Beyond the table's reach nothing is mapped: the library says so by refusing the walk.
            (Seen::Done(Value::Entry(entry)), Err(Refused::OutOfReach)) if *entry == Default::default() => 0,
            (Seen::Halted, Err(_)) => 1,
            (Seen::Undefined, Err(_)) => 2,
            (Seen::Done(value), Err(why)) => {
                return Err(format!("{step:x?}: model {value:x?}, library refused: {why}"));
            }
            (Seen::Halted, Ok(value)) => return Err(format!("{step:x?}: model halted, library {value:x?}")),
            (Seen::Undefined, Ok(value)) => return Err(format!("{step:x?}: model undefined, library {value:x?}")),
        };
        corresponds(&self.model, &self.view).map_err(|why| format!("after {step:x?}: {why}"))?;
        let counters = counts.steps.entry(step.name()).or_default();
        counters[0] += 1;
        if column > 0 {
            counters[column] += 1;
        }
        if matches!(step, Step::MapBlock(_)) { Ok(Some(End::Block)) } else { Ok(None) }
    }

    /// Whether the comparison ends at `step`, and if so, that the library did what the ruling says.
    fn departure(
        &self,
        step: &Step,
        before: &RData,
        tags: &BTreeSet<u32>,
        seen: &Seen,
        got: &Result<Value, Refused>,
    ) -> Result<Option<End>, String> {
        let first = step.page() & !511;
        let wrong = |what: &str| Err(format!("{step:x?}: {what}, but the library gave {got:x?}"));
        if let Step::Fault(hpfar) = *step {
            if within(&withheld(), fault_address(hpfar)) && !tags.contains(&54) {
                return if got.is_err() { Ok(Some(End::Smmu)) } else { wrong("an SMMU's registers") };
            }
            if tags.contains(&54) {
                // The whole address counts: the library must have done MM-1 there.
                let address = fault_address(hpfar);
                let mut whole = before.clone();
                let mapped = map_page_host(&mut whole, address).is_some_and(|()| !whole.halt);
                let strict = whole.take_tags().contains(&1) || within(&withheld(), address);
                let mapped = mapped && !strict && address >> self.ipa_bits == 0;
                if mapped != got.is_ok() && address < 1 << 40 {
                    return wrong(if mapped { "MM-1 maps it" } else { "MM-1 refuses it" });
                }
                if mapped {
                    corresponds(&whole, &self.view)?;
                }
                return Ok(Some(End::Deviation(54)));
            }
        }
        if tags.contains(&1) {
            return match got {
                Err(Refused::NotHostPage(_)) => Ok(Some(End::Deviation(1))),
                _ => wrong("D-01: the page is not shared"),
            };
        }
        if tags.contains(&7) {
            // The block takes the place of a table; the one that the filling at boot has put there may stay.
            let whole = self
                .view
                .host()
                .iter()
                .any(|run| run.is_mapping() && run.gfn <= first && first + 512 <= run.gfn + run.pages);
            return match got {
                Err(Refused::LevelConflict) => Ok(Some(End::Deviation(7))),
                Ok(_) if whole => Ok(Some(End::Deviation(7))),
                _ => wrong("D-07: a block over a table"),
            };
        }
        if let Some(other) = tags.first() {
            return Err(format!("{step:x?}: a difference that is none of these functions': D-{other}"));
        }
        match (seen, got) {
            // D-07, and the table that the block would replace may have come from the filling at boot.
            (Seen::Done(_), Err(Refused::LevelConflict)) => {
                let exists = (first..first + 512).any(|gfn| self.view.host_entry(gfn) != Default::default());
                if exists { Ok(Some(End::Deviation(7))) } else { wrong("nothing is there") }
            }
            // D-71: the library's tables for devices are fewer than the specification's.
            (Seen::Done(_), Err(Refused::NoTables(_))) => Ok(Some(End::Deviation(71))),
            // D-05: page 0 counts as not mapped wherever it is mapped; the library takes it away like any other.
            (Seen::Done(_), Ok(_)) if step.page() == 0 && self.view.host_entry(0) != before.npts[0].get(0) => {
                let taken = matches!(step, Step::ClearPfnHost(_) | Step::Set { .. } | Step::SetCount { .. });
                let mapped = before.npts[0].get(0) != Default::default();
                if taken && mapped && !self.view.host().iter().any(|run| run.is_mapping() && run.gfn == 0) {
                    return Ok(Some(End::Deviation(5)));
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// Whether the results agree.
    fn compare_values(&self, step: &Step, wanted: &Value, got: &Value) -> Result<(), String> {
        match (wanted, got) {
            (Value::Entry(wanted), Value::Entry(got)) => {
                // The library's own walk against what hardware makes of the table ...
                let there = self.view.host_entry(step.page());
                if (got.pfn, got.pte) != (there.pfn, there.pte) {
                    return Err(format!("{step:x?}: library {got:x?}, its table {there:x?}"));
                }
                // ... and against the model's, unless that is empty there: see `corresponds`.
                if *wanted != Default::default() && wanted != got {
                    return Err(format!("{step:x?}: model {wanted:x?}, library {got:x?}"));
                }
                Ok(())
            }
            _ if wanted == got => Ok(()),
            _ => Err(format!("{step:x?}: model {wanted:x?}, library {got:x?}")),
        }
    }

    /// Compares the library's own walk with its table, as hardware reads it, at `pages`.
    pub fn compare_walks(&self, pages: impl IntoIterator<Item = u64>) -> Result<(), String> {
        for pfn in pages.into_iter().filter(|pfn| pfn >> (self.ipa_bits - 12) == 0) {
            let ipa = Ipa::new(pfn * PAGE_SIZE).expect("in reach");
            let mut nothing = Held::nothing();
            let pt = self.core.acquire_lock_pt(HOSTVISOR, &mut nothing);
            let mapping = pt.and_then(|mut pt| pt.mapping(ipa)).map_err(|why| why.to_string())?;
            let (got, there) = (entry(mapping, ipa), self.view.host_entry(pfn));
            if (got.pfn, got.pte) != (there.pfn, there.pte) {
                return Err(format!("page {pfn:#x}: library's walk {got:x?}, its table {there:x?}"));
            }
        }
        Ok(())
    }
}
