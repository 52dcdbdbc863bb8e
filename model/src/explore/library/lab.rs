// SPDX-License-Identifier: GPL-2.0-only
//! The library on a small machine, step by step.

use super::small::Small;
use super::state::{Everything, principals};
use crate::constants::{COREVISOR, INVALID, PAGE_SIZE, hvc, phys_page, smmu_ttbr, state::UNUSED};
use crate::explore::action::Action;
use crate::explore::ghosts::Ghosts;
use crate::explore::snapshot::Sums;
use crate::invariants::cpus::{self, Cpu};
use crate::invariants::{Strength, Violation, check_all};
use crate::library::{Core, Observer, contexts};
use crate::page_table::SptEntry;
use crate::rdata::RData;
use crate::registers::RegisterFile;
use corevisor::abi::{exit, run_page};
use corevisor::addr::{HOSTVISOR, Ipa, Pa, Range, VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::machine::{Machine, PageBytes, sim};
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::trap::Registers;
use corevisor::vcpu::Sys;
use corevisor::vm::VmState;
use std::collections::BTreeSet;
use std::mem::{forget, replace};

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Done,
    /// It was refused, or is none: an access that faults.
    Refused,
}

/// What the host has of a saved page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What ENCRYPT_BUF returned in x1 and the following.
    pub words: [u64; 6],
    /// The ciphertext.
    pub bytes: Box<PageBytes>,
    /// The VM that was saved has run since.
    pub past: bool,
}

impl Envelope {
    /// Which VM it is of.
    pub fn lineage(&self) -> u64 {
        self.words[4]
    }
}

/// The library on a small machine.
pub struct Lab<'a> {
    /// The machine.
    pub small: &'a Small,
    /// The library.
    pub core: Core,
    /// The CPU that takes the next step.
    pub cpu: usize,
    /// x0 to x30 of all CPUs.
    pub x: Vec<Registers>,
    /// x0 to x30 of the last call when it was made.
    pub(super) asked: Registers,
    observer: Observer,
    /// What happened before, as far as invariants ask for it.
    pub ghosts: Ghosts,
    /// The specification's state, as it was after the last step.
    pub d: RData,
    /// The whole state, as it was after the last step.
    pub everything: Everything,
    /// Saved pages, in order.
    pub envelopes: Vec<Envelope>,
}

impl<'a> Lab<'a> {
    /// Just booted.
    pub fn boot(small: &'a Small) -> Self {
        let core = small.boot();
        if small.recycled {
            let mut nothing = Held::nothing();
            let mut core_data = core.acquire_lock_core(&mut nothing).0;
            core_data.next_vmid = COREVISOR.into();
            core_data.recycled = 0xFFFE;
        }
        let x = vec![[0; 31]; small.cpus];
        let observer = Observer::new(&core);
        let everything = Everything::of(&core, &x);
        let d = observer.view().state();
        let envelopes = vec![];
        let mut lab = Self {
            small,
            core,
            cpu: 0,
            x,
            asked: [0; 31],
            observer,
            ghosts: Ghosts::default(),
            d,
            everything,
            envelopes,
        };
        lab.look();
        lab
    }

    /// After steps that are known to be taken, and what happened before as far as invariants ask for it.
    pub fn replay(small: &'a Small, steps: impl IntoIterator<Item = Action>, ghosts: Ghosts) -> Self {
        let mut lab = Self::boot(small);
        for step in steps {
            sim::set_cpu(lab.cpu);
            lab.execute(&step);
        }
        lab.ghosts = ghosts;
        lab.look();
        lab
    }

    /// After steps that are known to be taken.
    pub fn after_steps(small: &'a Small, steps: &[Action]) -> Self {
        let mut lab = Self::boot(small);
        steps.iter().for_each(|step| {
            lab.step(step);
        });
        lab
    }

    /// Reads the state.
    pub fn look(&mut self) {
        sim::set_cpu(self.cpu);
        self.everything = Everything::next(&self.everything, &self.core, &self.x);
        self.look_at_state();
    }

    /// Has [`Self::everything`] in the specification's terms.
    fn look_at_state(&mut self) {
        self.d = self.observer.look(&self.core).state();
        self.d.spts.pt.clear();
        for &(k, b, iova, descriptor) in &self.everything.dma {
            let pfn = phys_page(descriptor) / PAGE_SIZE;
            let place = (smmu_ttbr(k as u32, b as u32), iova / PAGE_SIZE);
            self.d.spts.pt.insert(place, SptEntry { pfn, pte: descriptor });
        }
        self.look_at_current();
    }

    /// Has the specification's state be that of the CPU that takes the next step.
    fn look_at_current(&mut self) {
        let Cpu { curid, icore, ihost, cur_vmid, cur_vcpuid } = self.cpu_state(self.cpu);
        (self.d.curid, self.d.icore, self.d.ihost) = (curid, icore, ihost);
        (self.d.cur_vmid, self.d.cur_vcpuid) = (cur_vmid, cur_vcpuid);
    }

    /// What a CPU does, in the specification's terms.
    fn cpu_state(&self, cpu: usize) -> Cpu {
        let curid = cpu as u32;
        match self.everything.cpus[cpu].current {
            None => Cpu { curid, icore: false, ihost: true, cur_vmid: 0, cur_vcpuid: curid },
            Some((v, c)) => {
                let (cur_vmid, cur_vcpuid) = (v.index() as u32, c.index() as u32);
                Cpu { curid, icore: false, ihost: false, cur_vmid, cur_vcpuid }
            }
        }
    }

    /// Who runs on the CPU that takes the next step.
    pub fn current(&self) -> Option<(Vmid, VcpuId)> {
        self.everything.cpus[self.cpu].current
    }

    /// The registers of the CPU that takes the next step, as whoever runs sees them.
    pub fn registers(&self) -> RegisterFile {
        let cpu = &self.everything.cpus[self.cpu];
        let mut context = cpu.others.registers.clone();
        // EL2's own, which nobody below sees; and the switch leaves MDCCINT_EL1 to the debugger.
        (context.sys[Sys::ElrEl2], context.sys[Sys::MdccintEl1]) = (0, 0);
        (context.esr_el2, context.far_el2, context.hpfar_el2) = (0, 0, 0);
        context.x = cpu.x;
        contexts::of(&context)
    }

    /// Takes a step. What is wrong with it, apart from the state that it leads to: a refusal that changed something,
    /// and what hardware would punish.
    pub fn step(&mut self, action: &Action) -> (Outcome, BTreeSet<Violation>) {
        sim::set_cpu(self.cpu);
        let mut wrong = BTreeSet::new();
        let before = self.x.clone();
        let past = self.is_past(action);
        let outcome = self.execute(action);
        if past && outcome == Outcome::Done {
            let detail = "a saved page of a VM that has run since was loaded".to_string();
            wrong.insert(Violation { id: "rollback", detail });
        }
        if outcome == Outcome::Refused {
            if matches!(action, Action::Call { .. } | Action::Run { .. }) && self.x[self.cpu][1..] != self.asked[1..] {
                let detail = format!("refused, but changed {:x?} to {:x?}", self.asked, self.x[self.cpu]);
                wrong.insert(Violation { id: "refusal", detail });
            }
            // But for the result, as it was before the call was prepared.
            self.x = before;
        }
        let punished = self.core.machine().take_violations();
        wrong.extend(punished.into_iter().map(|detail| Violation { id: "hardware", detail }));
        let now = Everything::next(&self.everything, &self.core, &self.x);
        let before = replace(&mut self.everything, now);
        if self.everything == before {
            self.look_at_current();
            return (outcome, wrong);
        }
        if outcome == Outcome::Refused {
            let detail = format!("refused, but changed {:?}", before.difference(&self.everything));
            wrong.insert(Violation { id: "refusal", detail });
        }
        let before = self.d.clone();
        self.look_at_state();
        self.ghosts.observe(&before, action, &self.d);
        let state = |v: &u32| self.d.vminfos.get(v).map_or(0, |info| info.vm_state);
        self.ghosts.cleared.retain(|v| state(v) != UNUSED);
        (outcome, wrong)
    }

    /// Ends it without another look at what was found.
    pub fn abandon(self) {
        forget(self.core);
    }

    /// Whether a step loads what is not the latest any more.
    fn is_past(&self, action: &Action) -> bool {
        let Action::Unseal { envelope, .. } = *action else { return false };
        self.envelopes.iter().rev().nth(envelope).is_some_and(|envelope| envelope.past)
    }

    /// The key of the state.
    pub fn key(&self) -> u128 {
        let mut sums: Sums = self.everything.key();
        sums.add(self.cpu as u64);
        if self.small.encryption {
            // What the host has of saved VMs.
            let saved = self.envelopes.iter().rev().take(2);
            sums.list(saved.map(|envelope| [envelope.lineage(), envelope.past.into()]));
            let header = |pfn: u64, word: u64| {
                let at = Pa::new(pfn * PAGE_SIZE + run_page::SEALED + 8 * word).expect("an address");
                self.core.machine().shared_load(at)
            };
            sums.list(self.small.run_pages().map(|pfn| [header(pfn, 0), header(pfn, 1)]));
        }
        sums.list(self.ghosts.cleared.iter().map(|vmid| [u64::from(*vmid)]));
        sums.list(self.ghosts.grants.iter().map(|((vmid, pfn), n)| [u64::from(*vmid), *pfn, u64::from(*n)]));
        sums.key()
    }

    /// Whether a step is one of whoever runs, and does not make the world larger than it is to be.
    pub fn allows(&self, action: &Action) -> bool {
        let vms =
            || self.everything.vms.iter().skip(1).take(15).filter(|vm| vm.state != VmState::Unused).count() as u64;
        let vm = |v: u64| Vmid::new_vm(v).map(|v| self.everything.vm(v));
        let host = self.current().is_none();
        match *action {
            Action::Call { x } if x[0] == hvc::REGISTER_KVM => host && vms() < self.small.vms,
            Action::Call { x } if x[0] == hvc::SET_BOOT_INFO => host && vm(x[1]).is_none_or(|vm| vm.images.is_empty()),
            Action::Call { .. } | Action::Fault { .. } | Action::Touch { .. } | Action::Run { .. } => host,
            Action::Unseal { .. } => host,
            Action::Exit { ec: exit::TRAP, x: [hvc::SET_DESC_PFN, _, addr, _], .. } => {
                let Some((v, _)) = self.current() else { return false };
                let pfn = self.d.npts[v.index()].get(addr / PAGE_SIZE).pfn;
                let page = self.d.s2page.get(pfn);
                pfn == 0 || page.count.wrapping_add(1) <= self.small.grants
            }
            Action::Exit { .. } => !host,
            Action::Load { .. } | Action::Store { .. } | Action::DevLoad { .. } | Action::DevStore { .. } => true,
            Action::Switch => self.small.cpus > 1,
            Action::Assign { .. } | Action::Map { .. } => false,
        }
    }

    /// Enters the library, or does what an access does.
    fn execute(&mut self, action: &Action) -> Outcome {
        match *action {
            Action::Call { x } => self.call(x),
            Action::Touch { addr } => self.touch(addr),
            Action::Fault { hpfar, far, esr, data } => self.fault(hpfar, far, esr, data),
            Action::Run { vmid, vcpuid, pc, offer } => self.run(vmid, vcpuid, pc, offer),
            Action::Exit { ec, esr, hpfar, x } => self.exit(ec, esr, hpfar, x),
            Action::Unseal { vmid, pfn, envelope } => self.unseal(vmid, pfn, envelope),
            Action::Load { gfn, reg } => self.access(gfn, reg as usize, false),
            Action::Store { gfn, reg } => self.access(gfn, reg as usize, true),
            Action::DevLoad { bank, gfn, reg } => self.dev_access(bank, gfn, reg as usize, false),
            Action::DevStore { bank, gfn, reg } => self.dev_access(bank, gfn, reg as usize, true),
            Action::Switch => {
                self.cpu = (self.cpu + 1) % self.small.cpus;
                Outcome::Done
            }
            Action::Assign { .. } | Action::Map { .. } => Outcome::Refused,
        }
    }

    /// All that is broken.
    pub fn check(&mut self) -> BTreeSet<Violation> {
        let mut broken: BTreeSet<_> = check_all(&self.d, Strength::Strict).into_iter().collect();
        let all: Vec<_> = (0..self.small.cpus).map(|cpu| self.cpu_state(cpu)).collect();
        broken.extend(cpus::check(&self.d, &all));
        broken.extend(self.ghosts.check(&self.d));
        broken.extend(self.hardware());
        broken.extend(self.own_pages());
        broken
    }

    /// E1, for the pages that were Corevisor's at boot, whatever the records say of them now; and I7, for VMs that are off,
    /// too: a page leaves their tables before it leaves them.
    fn own_pages(&self) -> Vec<Violation> {
        let mut broken = vec![];
        for (v, npt) in (0..COREVISOR).zip(&self.d.npts).skip(1) {
            for (gfn, entry) in npt.pt.iter().filter(|(_, entry)| entry.pfn != 0) {
                let owner = self.d.s2page.get(entry.pfn).owner;
                if ![INVALID, v].contains(&owner) {
                    let detail = format!("page {:#x} of {owner} is at {gfn:#x} of VM {v}", entry.pfn);
                    broken.push(Violation { id: "I7", detail });
                }
            }
        }
        for &pfn in &self.small.core {
            let mut say = |detail: String| broken.push(Violation { id: "E1", detail });
            let owner = self.d.s2page.get(pfn).owner;
            if owner != COREVISOR {
                say(format!("page {pfn:#x} of Corevisor has owner {owner}"));
            }
            let tables = (0..).zip(&self.d.npts).filter(|(_, npt)| npt.pt.values().any(|entry| entry.pfn == pfn));
            tables.for_each(|(v, _): (u32, _)| say(format!("page {pfn:#x} of Corevisor is in the table of {v}")));
            if self.d.spts.pt.values().any(|entry| entry.pfn == pfn) {
                say(format!("page {pfn:#x} of Corevisor is in a table of an SMMU"));
            }
        }
        broken
    }

    /// What is wrong with devices: one that reaches a page which the table of no bank that is in use has at this address;
    /// by whatever the IOTLB knows.
    fn devices(&self) -> Vec<Violation> {
        let machine = self.core.machine();
        let mut broken = vec![];
        for bank in &self.small.banks {
            let (Some(k), Some(b)) = (SmmuIndex::new(bank.index.into()), ContextBank::new(bank.cbndx.into())) else {
                continue;
            };
            for page in self.small.gfns.iter().copied().chain(self.small.pages()) {
                let iova = Ipa::new(page * PAGE_SIZE).expect("an address");
                let mut look = |who: &str, reached: u64| {
                    let entry = |&(k, b, at, to): &(u64, u64, u64, u64)| {
                        let owner = ContextBank::new(b).zip(SmmuIndex::new(k));
                        let owned = owner.is_some_and(|(b, k)| self.everything.banks.owner(k, b).is_some());
                        owned && at == iova.as_u64() && to & 1 != 0 && to & ((1 << 48) - PAGE_SIZE) == reached
                    };
                    if !self.everything.dma.iter().any(entry) {
                        let detail = format!("{who} reaches {reached:#x} at {iova}");
                        broken.push(Violation { id: "DMA", detail });
                    }
                };
                for stream in 0..2 {
                    if let Some(reached) = machine.dma(k, stream, iova) {
                        look("a stream", reached);
                    }
                }
                // What can be cached is, from now on.
                if let Ok(leaf) = machine.dma_access(k, b, iova) {
                    look("a bank", leaf.pa(iova));
                }
            }
        }
        broken
    }

    /// What is wrong with the hardware: translations that are cached but not those of the tables, and mappings of pages
    /// that are nobody's but Corevisor's.
    fn hardware(&mut self) -> Vec<Violation> {
        let machine = self.core.machine();
        let mut broken = vec![];
        let mut say = |id, detail: String| broken.push(Violation { id, detail });
        for v in principals() {
            let leaves = &self.everything.leaves[v.index()];
            for cached in machine.cached(v) {
                if !leaves.contains(&cached) {
                    say("TLB", format!("{v}: {cached:x?} is cached, but not in its table"));
                }
            }
            for leaf in leaves {
                // All that can be cached is, from now on.
                if let Some(ipa) = Ipa::new(leaf.ipa) {
                    let _ = machine.access(v, ipa);
                }
                let start = leaf.pa(Ipa::new(leaf.ipa).expect("an address"));
                if leaf.descriptor & 1 != 0 && machine.pool().overlaps(Range { start, end: start + leaf.size }) {
                    say("E1", format!("{v}: {leaf:x?} is a page table"));
                }
            }
        }
        broken.extend(self.devices());
        let all = self.small.regions().into_iter().flat_map(|range| self.core.host_dma_wrong_about(range));
        let wrong = all.map(|page| format!("the host's DMA table is wrong about {page:#x}"));
        broken.extend(wrong.map(|detail| Violation { id: "DMA", detail }));
        let mut say = |id, detail: String| broken.push(Violation { id, detail });
        for (i, cpu) in self.everything.cpus.iter().enumerate() {
            let runs = cpu.current.map_or(HOSTVISOR, |(v, _)| v);
            let stage2 = cpu.others.stage2.or(self.core.root(HOSTVISOR).map(|(root, _)| (HOSTVISOR, root)));
            if stage2 != self.core.root(runs).map(|(root, _)| (runs, root)) {
                say("hardware", format!("CPU {i} runs {runs}, with the table {stage2:?}"));
            }
            if cpu.others.traps != (runs != HOSTVISOR) {
                say("hardware", format!("CPU {i} runs {runs}, traps: {}", cpu.others.traps));
            }
        }
        broken
    }
}
