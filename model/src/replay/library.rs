// SPDX-License-Identifier: GPL-2.0-only
//! Scripts on the model and on the library, in lock step.
//!
//! Each step is taken in both, from states that correspond; then the results must be equal and the states correspond.
//! Where the specification halts the library must refuse with nothing changed, and the script is over: no later step does
//! anything. Where it has no result the library may do what it likes, but not panic, nor do what hardware would punish.
//!
//! The tables by layer in the modules below say what of the library a step is. Rows are [`Did::Nothing`] where the
//! library has no such thing as the step works on: such a step is the model's alone.

mod args;
pub mod conform;
mod memory;
mod npt;
mod smmu;
mod traps;
mod vcpu;
mod vm;

use super::dispatch::{Outcome, dispatch};
use super::script::{Arg, Init, Script, Step};
use super::show;
use crate::constants::{HOSTVISOR, PAGE_SIZE, phys_page};
use crate::library::correspondence::{corresponds, mm1, same_pte};
use crate::library::{Core, Observer, world};
use crate::oracle::Environment;
use crate::rdata::RData;
use args::Args;
use corevisor::addr::{Pfn, Vmid};
use corevisor::lock::Held;
use corevisor::npt::Desc;
use corevisor::refused::Refused;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

/// What a function of the library gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value.
    None,
    /// A number.
    Number(u64),
    /// A leaf of an SMMU's table: the page counts.
    SmmuDesc(Desc),
    /// What the host's call returned in x0.
    X0(u64),
    /// A descriptor of this principal's table, for this page.
    Desc(Vmid, u64, Desc),
    /// The level at which this principal has this page mapped, or 0.
    Level(Vmid, u64, u64),
}

/// What the library did for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    /// It has no such thing as the step works on.
    Nothing,
    /// No function of this name is among the tables.
    Unknown,
    /// It ran.
    Ran(Result<Value, Refused>),
    /// It has no function for what the step does to shadow contexts: they get what the specification gives.
    Copied,
    /// It did a part, and was refused the rest when it went on (G9).
    Partly(Refused),
}

/// What a table's row gives: nothing where the library's types do not allow the arguments.
pub type Row = Option<Did>;

/// A function of the library that has run.
fn ran<T>(result: Result<T, Refused>, value: impl FnOnce(T) -> Value) -> Row {
    Some(Did::Ran(result.map(value)))
}

/// A function without a value.
fn done(result: Result<(), Refused>) -> Row {
    ran(result, |()| Value::None)
}

/// A number.
fn number(value: impl Into<u64>) -> Row {
    Some(Did::Ran(Ok(Value::Number(value.into()))))
}

/// The library in the middle of a script.
pub struct Library {
    core: Core,
    /// The model's state before the step: what comes from outside comes from there, the same for both.
    before: RData,
    /// What the host has in the page that it shares with a vCPU, by offset.
    shared: Arc<Mutex<BTreeMap<u64, u64>>>,
    /// Which images are authentic.
    environment: Arc<Mutex<Environment>>,
}

impl Library {
    /// Just booted.
    fn new(before: RData) -> Self {
        let core = world::boot();
        let (shared, environment) = (Arc::<Mutex<BTreeMap<u64, u64>>>::default(), Arc::<Mutex<Environment>>::default());
        let claims = shared.clone();
        core.machine().on_shared_load(move |at| {
            let inside = world::RUN_PAGES.contains(at.as_u64());
            inside.then(|| claims.lock().expect("nobody panicked").get(&(at.as_u64() % PAGE_SIZE)).copied()).flatten()
        });
        let images = environment.clone();
        core.machine().on_verify_image(move |v, at| {
            images.lock().expect("nobody panicked").verify_img(v.index() as u32, at.as_u64()) != 0
        });
        Self { core, before, shared, environment }
    }

    /// What the step called `name` is in the library.
    fn step(&mut self, name: &str, args: &[Arg]) -> Row {
        let args = &Args(args);
        if name.starts_with("env.") {
            return self.environment(name, args);
        }
        for table in [npt::call, memory::call, vm::call, smmu::call, vcpu::call, traps::call] {
            match table(self, name, args) {
                Some(Did::Unknown) => {}
                row => return row,
            }
        }
        Some(Did::Unknown)
    }

    /// What a script does beside calling functions. Streams and registers are the model's, and read from there.
    fn environment(&mut self, name: &str, args: &Args) -> Row {
        if name == "env.cpu" {
            corevisor::machine::sim::set_cpu(args.number(0)? as usize);
        }
        Some(Did::Nothing)
    }

    /// The specification's tables are there from the start, the library's come with their VMs: `v`'s, if it has none.
    fn table(&self, v: Vmid) {
        if v.is_vm() && self.core.root(v).is_none() {
            self.core.new_npt(v, &mut Held::nothing()).expect("few tables");
        }
    }
}

impl Library {
    /// The library's table of the host is full from the start, the specification's is empty. A page that the host has not
    /// touched in the specification leaves the library's table, too, before a step makes it another's behind its back.
    fn settle(&self, pfn: Pfn) {
        if self.before.npts[HOSTVISOR as usize].get(pfn.as_u64()).pte == 0 {
            let _ = self.core.clear_pfn_host(pfn, &mut Held::nothing());
        }
    }
}

/// D-99: a step gave the specification's state a value that the library's types can't hold.
const UNREPRESENTABLE: u32 = 99;

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// At its end, at a halt, or where the specification has no result.
    Passed,
    /// At a step to which these differences apply, with rulings not to follow the high specification.
    Deviation(BTreeSet<u32>),
    /// At a function that no table has.
    Unknown(String),
    /// In disagreement: the step, what was expected, and what came.
    Failed(super::Failure),
}

/// Steps, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    /// All until the scripts' ends.
    pub all: usize,
    /// Those that the library took, too.
    pub library: usize,
}

/// Functions of the table words: the library's words are its own (D-71).
const WORDS: [&str; 34] = [
    "low.get_npt_level",
    "low.walk_npt",
    "low.set_npt",
    "walk_pgd",
    "walk_pud",
    "walk_pmd",
    "walk_pte",
    "set_pmd",
    "set_pte",
    "alloc_pgd_page",
    "alloc_pud_page",
    "alloc_pmd_page",
    "low.walk_pgd",
    "low.walk_pud",
    "low.walk_pmd",
    "low.walk_pte",
    "low.set_pmd",
    "low.set_pte",
    "low.alloc_pgd_page",
    "low.alloc_pud_page",
    "low.alloc_pmd_page",
    "low.clear_smmu_pt",
    "low.walk_smmu_pt",
    "low.set_smmu_pt",
    "walk_smmu_pgd",
    "walk_smmu_pmd",
    "walk_smmu_pte",
    "set_smmu_pte",
    "alloc_smmu_pgd_page",
    "alloc_smmu_pmd_page",
    "low.walk_smmu_pgd",
    "low.walk_smmu_pmd",
    "low.walk_smmu_pte",
    "low.set_smmu_pte",
];

/// Low forms that the library follows (ruling L).
const LOW_FOLLOWED: [&str; 5] =
    ["low.assign_smmu", "low.alloc_smmu", "low.el2_alloc_smmu_pgd", "low.is_inc_exe", "low.restore_shadow_kvm_regs"];

/// A script on both.
struct Lockstep {
    library: Library,
    model: RData,
    observer: Observer,
    init: Init,
}

/// What became of a step.
enum Next {
    /// The next one.
    On,
    /// The script is over.
    End(Ended),
    /// Both disagree: what was expected, and what came.
    Wrong(String, String),
}

impl Lockstep {
    /// Both at the beginning.
    fn start(init: Init) -> Self {
        let model = RData::new(init.into());
        let library = Library::new(model.clone());
        let observer = Observer::new(&library.core);
        Self { library, model, observer, init }
    }

    /// The model's step, and the numbers of the differences that it comes to.
    fn model_step(&mut self, step: &Step) -> (Outcome, BTreeSet<u32>) {
        let outcome = dispatch(&mut self.model, &step.name, &step.args);
        let mut tags = self.model.take_tags();
        let Some(name) = step.name.strip_prefix("low.") else { return (outcome, tags) };
        if self.init == Init::LowPage || LOW_FOLLOWED.contains(&&*step.name) || WORDS.contains(&&*step.name) {
            return (outcome, tags);
        }
        // A low form that does something else than the high one, which is the one that counts.
        let mut high = self.library.before.clone();
        let wanted = dispatch(&mut high, name, &step.args);
        tags.extend(high.take_tags());
        if !alike(&outcome, &self.model, &wanted, &high) {
            tags.extend(low_difference(name));
        }
        (outcome, tags)
    }

    /// Takes a step.
    fn step(&mut self, step: &Step, steps: &mut Steps) -> Next {
        self.library.before = self.model.clone();
        let (outcome, tags) = self.model_step(step);
        steps.all += 1;
        let words = WORDS.contains(&&*step.name);
        let name = step.name.strip_prefix("low.").unwrap_or(&step.name);
        let did = if words { Some(Did::Nothing) } else { self.library.step(name, &step.args) };
        if matches!(did, Some(Did::Ran(_) | Did::Partly(_))) {
            steps.library += 1;
        }
        let violations = self.library.core.machine().take_violations();
        if !violations.is_empty() {
            return Next::Wrong("what hardware allows".into(), violations.join("; "));
        }
        if !tags.is_empty() && outcome != Outcome::Undefined {
            return Next::End(Ended::Deviation(tags));
        }
        if name == "env.verify_img" {
            *self.library.environment.lock().expect("nobody panicked") = self.model.env.clone();
        }
        match did {
            Some(Did::Copied) if !self.model.halt => self.library.copy_contexts(&self.model),
            Some(Did::Ran(Ok(_))) => self.library.settle_vectors(&self.model),
            _ => {}
        }
        let before = self.observer.view().clone();
        let view = self.observer.look(&self.library.core);
        match (outcome, did) {
            (_, Some(Did::Unknown)) => Next::End(Ended::Unknown(name.to_owned())),
            (Outcome::Undefined, _) => Next::End(Ended::Passed),
            (Outcome::Defined(_), Some(Did::Ran(got))) if self.model.halt => match got {
                Ok(value) => Next::Wrong("halt".into(), format!("{value:?}")),
                Err(_) if *view != before => Next::Wrong("nothing changed".into(), "a change".into()),
                Err(_) => Next::End(Ended::Passed),
            },
            (Outcome::Defined(_), _) if self.model.halt => Next::End(Ended::Passed),
            (Outcome::Defined(_), Some(Did::Ran(Err(Refused::LevelConflict)))) if is_host_block(step) => {
                Next::End(Ended::Deviation(BTreeSet::from([7])))
            }
            (Outcome::Defined(wanted), Some(Did::Partly(why))) => Next::Wrong(show(wanted), format!("refused: {why}")),
            (Outcome::Defined(wanted), Some(Did::Ran(Ok(got)))) => {
                let shown = show(wanted);
                if let Err(got) = compare(&self.model, wanted, got) {
                    return Next::Wrong(shown, got);
                }
                match corresponds(&self.model, view) {
                    Ok(()) => Next::On,
                    Err(why) => Next::Wrong("states that correspond".into(), why),
                }
            }
            (Outcome::Defined(wanted), Some(Did::Ran(Err(why)))) => {
                Next::Wrong(show(wanted), format!("refused: {why}"))
            }
            (Outcome::Defined(_), _) => match corresponds(&self.model, view) {
                Ok(()) => Next::On,
                Err(_) => Next::End(Ended::Deviation(BTreeSet::from([UNREPRESENTABLE]))),
            },
            (Outcome::BadArguments | Outcome::Unknown, _) => Next::Wrong("a step".into(), "a mistake".into()),
        }
    }
}

/// Whether two forms of a function did the same, as far as it is compared.
fn alike(a: &Outcome, d: &RData, b: &Outcome, e: &RData) -> bool {
    if a != b || d.halt != e.halt {
        return false;
    }
    if *a == Outcome::Undefined || d.halt {
        return true;
    }
    let entries = |d: &RData| d.npts.iter().map(|npt| npt.pt.clone()).collect::<Vec<_>>();
    d.s2page == e.s2page
        && d.vminfos == e.vminfos
        && d.core_data == e.core_data
        && d.smmu_vmid == e.smmu_vmid
        && d.shadow_ctxts == e.shadow_ctxts
        && d.spts.pt == e.spts.pt
        && entries(d) == entries(e)
}

/// The row of `DIFFERENCES.md` that makes the low form of `name` another one than the high form that the library follows.
fn low_difference(name: &str) -> Option<u32> {
    Some(match name {
        "clear_vm_page" => 3,
        "assign_pfn_to_smmu" => 4,
        "sync_dirty_to_shadow" | "prep_abort" => 30,
        "restore_shadow_kvm_regs" => 36,
        "assign_pfn_to_vm" | "set_boot_info" => 81,
        _ => return None,
    })
}

/// Whether the step maps a block for the host. The pages there may be mapped one by one in the library since boot: it
/// never makes a block of them.
fn is_host_block(step: &Step) -> bool {
    let numbers = |i: usize| matches!(step.args.get(i), Some(Arg::Number(n)) if *n == [0, 0, 2][i]);
    step.name.ends_with("map_s2pt") && numbers(0) && numbers(2)
        || step.name.ends_with("set_npt") && numbers(0) && numbers(2)
}

/// Compares a value.
fn compare(d: &RData, wanted: Option<u64>, got: Value) -> Result<(), String> {
    let same = match (wanted, got) {
        (Some(wanted), Value::Number(got)) => wanted == got,
        (Some(wanted), Value::SmmuDesc(desc)) => phys_page(wanted) == desc.pp().as_u64(),
        // The result of a call, for those that have one; it is no value of the function's.
        (None, Value::X0(got)) => {
            let x0 = d.shadow_ctxts.get(&d.curid).map_or(0, |context| context.get("x0"));
            return if x0 == got { Ok(()) } else { Err(format!("x0 {got:#x}, not {x0:#x}")) };
        }
        (Some(_), Value::X0(_)) => false,
        (None, got) => got == Value::None,
        // The library's table of the host is full from the start.
        (Some(0), Value::Desc(v, gfn, desc)) if v.index() == HOSTVISOR as usize && d.npts[0].get(gfn).pte == 0 => {
            mm1(d, gfn).is_none_or(|entry| same_pte(entry.pte, gfn, desc)) || !desc.is_valid()
        }
        // Of page 0 the specification can't tell whether it is mapped (D-05).
        (Some(0), Value::Level(v, 0, _)) if v.index() == HOSTVISOR as usize => true,
        (Some(0), Value::Level(v, gfn, _)) if v.index() == HOSTVISOR as usize && d.npts[0].get(gfn).pte == 0 => true,
        (Some(wanted), Value::Level(v, _, got)) if v.index() == HOSTVISOR as usize => (wanted == 0) == (got == 0),
        (Some(wanted), Value::Level(_, _, got)) => wanted == got,
        (Some(wanted), Value::Desc(v, gfn, desc)) => {
            let page = if v.index() == HOSTVISOR as usize { gfn } else { phys_page(wanted) / PAGE_SIZE };
            same_pte(wanted, page, desc)
        }
        (Some(_), Value::None) => false,
    };
    if same { Ok(()) } else { Err(format!("{got:x?}")) }
}

/// Runs a script.
pub fn run(script: &Script, steps: &mut Steps) -> Ended {
    let mut lockstep = Lockstep::start(script.init);
    for (number, step) in script.steps.iter().chain(&script.undefined).enumerate() {
        if lockstep.model.halt {
            break;
        }
        super::library_panics::note(&script.id, number, step);
        match lockstep.step(step, steps) {
            Next::On => {}
            Next::End(ended) => return ended,
            Next::Wrong(expected, got) => {
                let step = Some((number, step.to_string()));
                return Ended::Failed(super::Failure { id: script.id.clone(), step, expected, got });
            }
        }
    }
    Ended::Passed
}

/// How the scripts of a file ended.
#[derive(Clone, Debug, Default)]
pub struct LibraryTally {
    /// Those that passed.
    pub passed: usize,
    /// Those that did not.
    pub failures: Vec<super::Failure>,
    /// Those that ended at a deviation.
    pub deviated: usize,
    /// By number of the difference; a step may come to several.
    pub deviations: BTreeMap<u32, usize>,
    /// Those that ended at a function that no table has, by function.
    pub unknown: BTreeMap<String, usize>,
    /// Steps.
    pub steps: Steps,
}

impl LibraryTally {
    /// Counts a script's end.
    pub fn add(&mut self, ended: Ended) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::Failed(failure) => self.failures.push(failure),
            Ended::Deviation(numbers) => {
                self.deviated += 1;
                numbers.into_iter().for_each(|number| *self.deviations.entry(number).or_default() += 1);
            }
            Ended::Unknown(name) => *self.unknown.entry(name).or_default() += 1,
        }
    }

    /// Runs all scripts of a file's text. Lines that are no scripts are the model's failures.
    pub fn of(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let share = lines.len().div_ceil(std::thread::available_parallelism().map_or(1, Into::into)).max(1);
        let mut tally = Self::default();
        std::thread::scope(|scope| {
            let shares: Vec<_> = lines.chunks(share).map(|lines| scope.spawn(move || Self::of_lines(lines))).collect();
            for share in shares {
                tally.extend(share.join().expect("a panic ends the program"));
            }
        });
        tally
    }

    /// Runs the scripts of some lines, one after the other.
    fn of_lines(lines: &[&str]) -> Self {
        let mut tally = Self::default();
        for script in lines.iter().filter_map(|line| Script::parse(line).ok()) {
            let ended = run(&script, &mut tally.steps);
            tally.add(ended);
        }
        tally
    }

    /// Counts another tally's, too.
    pub fn extend(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.deviated += other.deviated;
        other.deviations.into_iter().for_each(|(number, n)| *self.deviations.entry(number).or_default() += n);
        other.unknown.into_iter().for_each(|(name, n)| *self.unknown.entry(name).or_default() += n);
        self.steps.all += other.steps.all;
        self.steps.library += other.steps.library;
    }
}

impl fmt::Display for LibraryTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} ended at a deviation", self.passed, self.failures.len(), self.deviated)?;
        match self.unknown.values().sum() {
            0usize => Ok(()),
            count => write!(f, ", {count} ended at a function that the library does not have"),
        }
    }
}
