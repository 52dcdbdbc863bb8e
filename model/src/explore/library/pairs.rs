// SPDX-License-Identifier: GPL-2.0-only
//! Noninterference: two machines that differ in one principal's secrets take the same steps, and look the same to all
//! others after each, except where the specification lets something cross (§11.3).
//!
//! Secret are the contents of a principal's pages and its registers, in the CPU while it runs, else in its contexts. What
//! decides a step is part of the step, and so the same on both: the words of run pages that the host writes, x0 to x3 of
//! a VM that exits.

use super::lab::{Lab, Outcome};
use super::small::Small;
use super::walk::Deck;
use crate::constants::{HOSTVISOR, PAGE_SIZE, ctxt_id, hvc};
use crate::explore::action::Action;
use crate::explore::pairs::Flow;
use crate::explore::random::Random;
use crate::observe::{Item, observe, principals};
use crate::rdata::RData;
use corevisor::addr::{Pfn, VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::machine::sim;
use corevisor::vcpu::ShadowContext;
use std::collections::{BTreeMap, BTreeSet};

/// Most steps before the machines part, and after.
const EPISODE: usize = 100;

/// What a number of pairs came to.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// Steps that both took.
    pub steps: u64,
    /// Of these, steps with a VM's secrets, and steps with the host's while a VM ran.
    pub with_vm: [u64; 2],
    /// What leaked, with the first case: what was seen, after which steps.
    pub leaks: BTreeMap<Flow, (Vec<Item>, Vec<Action>)>,
}

/// Fills the registers that a principal has to itself.
fn scramble_registers(context: &mut ShadowContext, random: &mut Random) {
    let ShadowContext { x, pc, pstate, sys, elr_el1, spsr_el1, sp_el0, sp_el1, fp, .. } = context;
    x.iter_mut().for_each(|register| *register = random.number());
    sys.0.iter_mut().for_each(|register| *register = random.number());
    for register in [pc, pstate, elr_el1, spsr_el1, sp_el0, sp_el1, &mut fp.fpsr, &mut fp.fpcr] {
        *register = random.number();
    }
    fp.q.iter_mut().for_each(|q| *q = u128::from(random.number()) << 64 | u128::from(random.number()));
}

/// Changes a principal's secrets.
fn scramble(lab: &mut Lab<'_>, secret: u32, random: &mut Random) {
    let v = Vmid::new(secret.into()).expect("a principal");
    let machine = lab.core.machine();
    let run_pages = lab.small.run_pages();
    // Of the 512 pages of a block the first two: they all go the same way.
    let first = |pfn: &u64| !lab.small.images || *pfn < lab.small.block(1) || pfn % 512 < 2;
    for pfn in lab.small.all_pages().filter(first).filter(|pfn| lab.owner(*pfn) == Some(v) && !run_pages.contains(pfn))
    {
        let mut bytes = [0; PAGE_SIZE as usize];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = (random.number() | 1).to_le_bytes());
        machine.write_page(Pfn::new(pfn).expect("a page"), &bytes);
    }
    for cpu in 0..lab.small.cpus {
        sim::set_cpu(cpu);
        let current = lab.core.current().map_or(HOSTVISOR, |(v, _)| v.index() as u32);
        if current == secret {
            machine.with_cpu(|cpu| scramble_registers(&mut cpu.registers, random));
            lab.x[cpu].iter_mut().for_each(|register| *register = random.number());
        } else if secret == HOSTVISOR {
            scramble_registers(&mut lab.core.host_context(&mut Held::nothing()).0, random);
        }
    }
    sim::set_cpu(lab.cpu);
    for c in (0..lab.small.vcpus).filter_map(VcpuId::new).filter(|_| secret != HOSTVISOR) {
        if let Ok((mut context, _)) = lab.core.context(v, c, &mut Held::nothing())
            && context.dirty != ShadowContext::NEVER_RUN
            && *context != ShadowContext::ZERO
        {
            scramble_registers(&mut context, random);
        }
    }
    lab.look();
}

/// Two machines.
struct Pair<'a> {
    labs: [Lab<'a>; 2],
    secret: u32,
    /// Pages in which a ciphertext is, which is another on each: what the host sees of a VM that was saved.
    ciphertexts: BTreeSet<u64>,
}

impl Pair<'_> {
    /// The state that principals look at, with the contents of pages and the CPU's registers.
    fn state(&self, lab: &Lab<'_>) -> RData {
        let mut d = lab.d.clone();
        let contents = lab.everything.contents.iter().filter(|(pfn, _)| !self.ciphertexts.contains(pfn));
        d.flatmem = contents.map(|(pfn, sum)| (*pfn, *sum as u64)).collect();
        d.regs = lab.registers();
        // While the host runs, its context is not what its registers will be.
        let host = |vcpuid: u32| ctxt_id(HOSTVISOR, vcpuid);
        let idle = (0..lab.small.cpus as u32).filter(|cpu| lab.everything.cpus[*cpu as usize].current.is_none());
        idle.for_each(|cpu| _ = d.shadow_ctxts.remove(&host(cpu)));
        d
    }

    /// Who, other than the owner of the secrets, sees a difference.
    fn seen(&self) -> Vec<(u32, Vec<Item>)> {
        let [a, b] = self.labs.each_ref().map(|lab| self.state(lab));
        let others = principals(&a).into_iter().filter(|principal| *principal != self.secret);
        let differences = others.map(|p| (p, observe(p, &a).differences(&observe(p, &b))));
        differences.filter(|(_, items)| !items.is_empty()).collect()
    }

    /// Takes a step on both. Whether it can go on: not when a saved VM went on as another one.
    fn step(&mut self, action: &Action) -> (Outcome, Vec<(u32, Vec<Item>)>, bool) {
        let owners = self.labs[0].d.s2page.clone();
        let outcomes = self.labs.each_mut().map(|lab| lab.step(action).0);
        self.declassify(action, &owners);
        let mut seen = self.seen();
        if outcomes[0] != outcomes[1] && seen.is_empty() {
            let watching = principals(&self.labs[0].d).into_iter().filter(|principal| *principal != self.secret);
            seen.extend(watching.map(|principal| (principal, vec![Item::Halt])));
        }
        let resumed = match *action {
            Action::Unseal { .. } => true,
            Action::Call { x } => x[0] == hvc::LOAD_CRYPT_VCPU,
            _ => false,
        };
        (outcomes[0], seen, !(resumed && outcomes[0] == Outcome::Done && self.secret != HOSTVISOR))
    }

    /// §11.3: what crosses by this step is made equal, or not looked at.
    fn declassify(&mut self, action: &Action, owners: &crate::rdata::S2Table) {
        let [a, b] = &mut self.labs;
        // MM-3, MM-8, BO-8, BO-18: what the host left in a page that a VM takes over.
        let taken = |pfn: &u64| {
            let now = a.d.s2page.get(*pfn).owner;
            owners.get(*pfn).owner == HOSTVISOR && now != HOSTVISOR
        };
        let taken: Vec<u64> = a.small.all_pages().filter(taken).collect();
        let changed = !taken.is_empty() || matches!(action, Action::Call { x } if x[0] == hvc::ENCRYPT_BUF);
        for pfn in taken {
            if self.secret == HOSTVISOR {
                let page = Pfn::new(pfn).expect("a page");
                let mut bytes = [0; PAGE_SIZE as usize];
                a.core.machine().read_page(page, &mut bytes);
                b.core.machine().write_page(page, &bytes);
            }
            self.ciphertexts.remove(&pfn);
        }
        // AM-94, AM-95, AM-138: ciphertexts, and what belongs to them.
        if let Action::Call { x } = *action
            && self.secret != HOSTVISOR
        {
            match x[0] {
                hvc::ENCRYPT_BUF => {
                    self.ciphertexts.insert(x[3] / PAGE_SIZE);
                    let (from, to) = (&a.x[a.cpu], &mut b.x[b.cpu]);
                    to[1..7].copy_from_slice(&from[1..7]);
                }
                hvc::SAVE_CRYPT_VCPU => {
                    self.ciphertexts.insert(a.small.run_page(x[1], x[2]));
                }
                _ => {}
            }
        }
        let reads = match *action {
            Action::Load { gfn, .. } => self.ciphertexts.contains(&gfn),
            Action::DevLoad { .. } => !self.ciphertexts.is_empty(),
            _ => false,
        };
        if let (true, Action::Load { reg, .. } | Action::DevLoad { reg, .. }) = (reads && a.current().is_none(), action)
        {
            b.x[b.cpu][*reg as usize] = a.x[a.cpu][*reg as usize];
        }
        let changed = changed || reads;
        if let Action::Unseal { pfn, .. } = *action {
            self.ciphertexts.insert(pfn);
        }
        if changed {
            a.look();
            b.look();
        }
    }
}

/// Makes pairs until they have taken a number of steps together.
pub fn run(small: &Small, seed: u64, steps: u64) -> Pairs {
    let mut random = Random::new(seed);
    let deck = Deck::new(small);
    let mut pairs = Pairs::default();
    while pairs.steps < steps {
        let mut trace = small.beginning(&mut random);
        let mut a = Lab::after_steps(small, &trace);
        for _ in 0..random.below(EPISODE) {
            let action = deck.draw(&a, &mut random);
            a.step(&action);
            trace.push(action);
        }
        let secret = if random.one_in(2) { HOSTVISOR } else { random.pick(&principals(&a.d)) };
        let mut b = Lab::after_steps(small, &trace);
        assert!(
            a.key() == b.key(),
            "the same steps lead to another state: {:?}",
            a.everything.difference(&b.everything)
        );
        scramble(&mut b, secret, &mut random);
        let mut pair = Pair { labs: [a, b], secret, ciphertexts: BTreeSet::new() };
        assert_eq!(pair.seen(), [], "{secret}'s secrets are no secrets");
        for _ in 0..EPISODE {
            let action = deck.draw(&pair.labs[0], &mut random);
            let (outcome, seen, go_on) = pair.step(&action);
            trace.push(action);
            let taken = u64::from(outcome == Outcome::Done);
            pairs.steps += taken;
            pairs.with_vm[0] += taken * u64::from(secret != HOSTVISOR);
            pairs.with_vm[1] += taken * u64::from(secret == HOSTVISOR && pair.labs[0].current().is_some());
            for (principal, items) in &seen {
                let flow =
                    Flow { from_host: secret == HOSTVISOR, to_host: *principal == HOSTVISOR, action: action.name() };
                pairs.leaks.entry(flow).or_insert_with(|| (items.clone(), trace.clone()));
            }
            if !seen.is_empty() || !go_on {
                break;
            }
        }
    }
    pairs
}
