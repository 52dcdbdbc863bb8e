// SPDX-License-Identifier: GPL-2.0-only
//! Random steps on the model and on the library, side by side, without end: where they part for a reason (a difference,
//! a halt, no result) the model goes on from the library's state.

use super::super::script::{Arg, Init, Step};
use super::{Ended, Lockstep, Next, Steps};
use crate::constants::{HOSTVISOR, INVALID64, PAGE_SIZE};
use crate::explore::random::Random;
use crate::invariants::{Strength, check_all};
use crate::library::correspondence::same_entry;
use crate::library::{View, complete};
use crate::rdata::{RData, S2Index};
use std::collections::BTreeMap;
use std::fmt;

/// What an argument can be.
#[derive(Clone, Copy)]
enum Kind {
    Vm,
    Principal,
    Vcpu,
    Pfn,
    Gfn,
    Gpa,
    Pa,
    Device,
    Level,
    Size,
    Image,
    Bank,
    Smmu,
    Iova,
    Prot,
    DirtyRegister,
    Word,
}

use Kind::{
    Bank, Device, DirtyRegister, Gfn, Gpa, Image, Iova, Level, Pa, Pfn, Principal, Prot, Size, Smmu, Vcpu, Vm, Word,
};

/// Steps, with how often they come and their arguments: what the host and VMs can bring about, and functions under it that
/// ask for themselves what they need.
const STEPS: [(&str, u64, &[Kind]); 36] = [
    ("register_kvm", 2, &[]),
    ("register_vcpu", 3, &[Vm, Vcpu]),
    ("set_boot_info", 2, &[Vm, Gpa, Size]),
    ("remap_vm_image", 6, &[Vm, Pfn, Image]),
    ("verify_and_load_images", 1, &[Vm]),
    ("set_vm_poweroff", 1, &[Vm]),
    ("get_vm_poweron", 1, &[Vm]),
    ("search_load_info", 1, &[Vm, Gpa]),
    ("set_vcpu_active", 3, &[Vm, Vcpu]),
    ("set_vcpu_inactive", 3, &[Vm, Vcpu]),
    ("clear_vm_stage2_range", 2, &[Vm, Pa, Size]),
    ("map_page_host", 8, &[Pa]),
    ("assign_pfn_to_vm", 4, &[Vm, Gfn, Pfn]),
    ("prot_and_map_vm_s2pt", 10, &[Vm, Gpa, Pa, Level]),
    ("grant_stage2_sg_gpa", 6, &[Vm, Gpa, Size]),
    ("revoke_stage2_sg_gpa", 5, &[Vm, Gpa, Size]),
    ("grant_vm_page", 2, &[Vm, Pfn]),
    ("revoke_vm_page", 2, &[Vm, Pfn]),
    ("kvm_phys_addr_ioremap", 3, &[Vm, Gpa, Device, Size]),
    ("map_io", 2, &[Vm, Gpa, Device]),
    ("clear_pfn_host", 1, &[Pfn]),
    ("walk_s2pt", 2, &[Principal, Gpa]),
    ("get_level_s2pt", 1, &[Principal, Gpa]),
    ("el2_alloc_smmu_pgd", 2, &[Bank, Principal, Smmu]),
    ("el2_free_smmu_pgd", 1, &[Bank, Smmu]),
    ("el2_arm_lpae_map", 6, &[Iova, Pa, Prot, Bank, Smmu]),
    ("el2_arm_lpae_iova_to_phys", 2, &[Iova, Bank, Smmu]),
    ("el2_arm_lpae_clear", 4, &[Iova, Bank, Smmu]),
    ("smmu_assign_page", 2, &[Bank, Smmu, Pfn, Gfn]),
    ("prep_wfx", 1, &[Vm, Vcpu]),
    ("prep_hvc", 1, &[Vm, Vcpu]),
    ("sync_dirty_to_shadow", 2, &[Vm, Vcpu]),
    ("reset_gp_regs", 1, &[Vm, Vcpu]),
    ("set_shadow_dirty_bit", 2, &[Vm, Vcpu, DirtyRegister]),
    ("get_shadow_ctxt", 1, &[Vm, Vcpu, Vcpu]),
    ("alloc_remap_addr", 1, &[Word]),
];

/// A number below `limit`.
fn below(random: &mut Random, limit: u64) -> u64 {
    random.number() % limit
}

/// A page in use by a run: few, so that steps meet.
fn pfn(random: &mut Random) -> u64 {
    match below(random, 8) {
        0..=4 => 0x4_1000 + below(random, 12),
        5 => 0x4_1200 + 512 * below(random, 2) + below(random, 4),
        6 => 0x8_FFFE + below(random, 4),
        _ => [0, 0x3_FFFF, 0x7_FFFF, 0x8_0000, 0xA00, 0xFFF_FFFF][below(random, 6) as usize],
    }
}

/// An argument.
fn arg(kind: Kind, random: &mut Random) -> Arg {
    let odd = below(random, 64) == 0;
    Arg::Number(match kind {
        // Others have no table in the library before they exist.
        Vm if odd => [0, 16, 17][below(random, 3) as usize],
        Vm => 1 + below(random, 3),
        Principal => below(random, 4),
        Vcpu if odd => below(random, 9),
        Vcpu => below(random, 2),
        Pfn => pfn(random),
        Gfn => below(random, 24),
        Gpa => below(random, 24) * PAGE_SIZE + if below(random, 8) == 0 { 0x4000_0000 } else { 0 },
        Pa => pfn(random) * PAGE_SIZE,
        Device => 0x900_0000 + below(random, 4) * PAGE_SIZE + if odd { 0x3800_0000 } else { 0 },
        Level => 3 - u64::from(below(random, 16) == 0),
        Size => below(random, 4) * PAGE_SIZE + [0, 0, 1][below(random, 3) as usize],
        Image => below(random, 3),
        Bank => below(random, if odd { 8 } else { 3 }),
        Smmu => u64::from(odd),
        Iova => below(random, 16) * PAGE_SIZE,
        Prot => [0xC0, 0x40, 0xFC, 0][below(random, 4) as usize],
        DirtyRegister => [0, 1, 1 << 3, INVALID64][below(random, 4) as usize],
        Word => 1,
    })
}

/// The step called `name`.
fn named(name: &str, args: Vec<Arg>) -> Step {
    Step { name: name.to_owned(), args, ret: None, halt: false }
}

/// A random step.
fn step(random: &mut Random) -> Step {
    let total: u64 = STEPS.iter().map(|(_, weight, _)| weight).sum();
    let mut at = below(random, total);
    for (name, weight, kinds) in STEPS {
        if at < weight {
            let args = kinds.iter().map(|&kind| arg(kind, random)).collect();
            return named(name, args);
        }
        at -= weight;
    }
    unreachable!("below the sum of the weights")
}

/// What many steps came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Steps taken.
    pub steps: u64,
    /// Of them, those in which both did the same.
    pub agreed: u64,
    /// Halts and steps without result in the model, with nothing changed in the library.
    pub refused: u64,
    /// Ends at differences, by number.
    pub deviations: BTreeMap<u32, u64>,
    /// Times that all invariants were checked on the library's state.
    pub checks: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, agreed, refused, checks, deviations } = self;
        write!(f, "{steps} steps: {agreed} agree, {refused} refused by both, {checks} checks of all invariants; ")?;
        f.write_str("parted for")?;
        deviations.iter().try_for_each(|(number, count)| write!(f, " D-{number:02}: {count}"))
    }
}

/// Steps until both start anew: ids, banks and the image window run out.
const LIFE: u64 = 400;

/// Takes `steps` random steps.
///
/// # Errors
/// What was wrong, and the steps since the last fresh start.
pub fn conform(steps: u64, seed: u64) -> Result<Report, String> {
    let mut random = Random::new(seed);
    let mut report = Report::default();
    while report.steps < steps {
        let mut both = Lockstep::start(Init::High);
        let mut trace = vec![];
        for n in 0..LIFE.min(steps - report.steps) {
            let step = if n < 3 { named("register_kvm", vec![]) } else { step(&mut random) };
            trace.push(step.to_string());
            super::super::library_panics::note("conform", n as usize, &step);
            report.steps += 1;
            let failed = |why: String| format!("seed {seed}: {why}; after:\n{}", trace.join("\n"));
            let mut changed = true;
            match both.step(&step, &mut Steps::default()) {
                Next::On => report.agreed += 1,
                Next::End(Ended::Passed) => {
                    report.refused += 1;
                    changed = false; // `Lockstep::step` has seen to that
                    both.resume();
                }
                Next::End(Ended::Deviation(numbers)) => {
                    numbers.into_iter().for_each(|number| *report.deviations.entry(number).or_default() += 1);
                    both.resume();
                }
                Next::End(end) => return Err(failed(format!("{end:?}"))),
                Next::Wrong(expected, got) => return Err(failed(format!("expected {expected}, got {got}"))),
            }
            if changed {
                report.checks += 1;
                let state = state(both.observer.view(), &both.model);
                // The specification's tables of VMs are there before their VMs, and so are those of banks here.
                let broken = check_all(&state, Strength::Strict);
                if let Some(broken) = broken.first() {
                    return Err(failed(broken.to_string()));
                }
            }
        }
    }
    Ok(report)
}

/// The library's state in the specification's terms; of the host's table, what `d` has of it too.
fn state(view: &View, d: &RData) -> RData {
    let mut lean = view.clone();
    lean.npts[HOSTVISOR as usize] = Default::default();
    let mut state = lean.state();
    let touched = d.npts[HOSTVISOR as usize].pt.iter();
    let there = touched.filter(|(gfn, entry)| same_entry(entry, &view.host_entry(**gfn)));
    state.npts[HOSTVISOR as usize].pt = there.map(|(&gfn, &entry)| (gfn, entry)).collect();
    complete(&mut state.npts[HOSTVISOR as usize], HOSTVISOR);
    // A block is one in both.
    for (vmid, (npt, known)) in (0..).zip(state.npts.iter_mut().zip(&d.npts)).skip(1) {
        for (gfn, entry) in &mut npt.pt {
            let model = known.get(*gfn);
            if model.level == 2 && same_entry(&model, entry) {
                *entry = model;
            }
        }
        complete(npt, vmid);
    }
    state
}

impl Lockstep {
    /// The model goes on from the library's state.
    fn resume(&mut self) {
        let view = self.observer.look(&self.library.core).clone();
        let mut next = state(&view, &self.library.before);
        next.env = std::mem::take(&mut self.model.env);
        next.regs = self.model.regs.clone();
        (next.curid, next.cur_vmid, next.cur_vcpuid) = (self.model.curid, self.model.cur_vmid, self.model.cur_vcpuid);
        debug_assert_eq!(next.s2page.index(), S2Index::Pfn);
        self.model = next;
    }
}
