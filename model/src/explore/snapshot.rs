// SPDX-License-Identifier: GPL-2.0-only
//! Canonical states: what of a world decides which steps can follow and what they break. The rest is made equal.
//!
//! Dropped are contents of pages and registers (they decide nothing: each step brings the registers that it looks at),
//! lengths of histories (all locks are free between steps) and positions in the streams (any value may come next, and
//! each step brings those that decide). Tables are counted as if lost ones were recycled, so that pools don't run dry.

use super::world::{Parked, World};
use crate::constants::model_only::{SMMU_PGD_START, SMMU_PMD_START};
use crate::constants::{PAGE_SIZE, pgd_start, pmd_start, pud_start};
use crate::page_table::{Npt, Spt};
use crate::rdata::{CoreData, RData, S2Page, VmInfo};
use crate::registers::RegisterFile;
use crate::{explore::ghosts::Ghosts, invariants::cpus::Cpu};
use std::collections::BTreeMap;
use std::fmt;

/// Two sums of the same numbers: equal for different states once in 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums(u64, u64);

impl Sums {
    /// Adds a number.
    pub fn add(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517C_C1B7_2722_0A95);
        let z = (self.1 ^ n).wrapping_mul(0xBF58_476D_1CE4_E5B9).wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.1 = (z ^ z >> 29).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.1 ^= self.1 >> 32;
    }

    /// Both as one number.
    pub fn key(&self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }

    /// Adds a list, with its length.
    pub fn list<const N: usize>(&mut self, items: impl Iterator<Item = [u64; N]>) {
        let mut length = 0;
        for item in items {
            item.into_iter().for_each(|n| self.add(n));
            length += 1;
        }
        self.add(length);
    }
}

/// Text is added, too.
impl fmt::Write for Sums {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        words.iter().for_each(|word| self.add(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.add(u64::from(*byte) | 1 << 63));
        Ok(())
    }
}

/// A world without what does not matter.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    cpu: Cpu,
    parked: Option<Cpu>,
    core_data: CoreData,
    s2page: Vec<(u64, S2Page)>,
    vminfos: BTreeMap<u32, VmInfo>,
    smmu_vmid: BTreeMap<u32, u32>,
    npts: Vec<(u32, Npt)>,
    spts: Spt,
    /// Of each shadow context, what the next entry looks at.
    ctxts: Vec<(u32, u64, u64)>,
    ghosts: Ghosts,
}

impl Snapshot {
    /// Of a world between two steps.
    pub(super) fn of(world: &World) -> Self {
        let d = &world.d;
        let mut npts = vec![];
        for (vmid, npt) in (0..).zip(&d.npts).filter(|(_, npt)| !npt.pgd_t.is_empty()) {
            let mut npt = npt.clone();
            npt.pgd_next = pgd_start(vmid) + npt.pgd_t.len() as u64 * PAGE_SIZE;
            npt.pud_next = pud_start(vmid) + npt.pud_t.len() as u64 * PAGE_SIZE;
            npt.pmd_next = pmd_start(vmid) + npt.pmd_t.len() as u64 * PAGE_SIZE;
            npts.push((vmid, npt));
        }
        let mut spts = d.spts.clone();
        spts.pt.retain(|_, entry| entry.pte != 0);
        spts.pgd_next = SMMU_PGD_START + spts.pgd_t.len() as u64 * PAGE_SIZE;
        spts.pmd_next = SMMU_PMD_START + spts.pmd_t.len() as u64 * PAGE_SIZE;
        let ctxts = d.shadow_ctxts.iter().map(|(id, ctxt)| (*id, ctxt.get("dirty"), ctxt.get("ec")));
        Self {
            cpu: Cpu::of(d),
            parked: world.parked.as_ref().map(|parked| parked.cpu),
            core_data: d.core_data,
            s2page: d.s2page.changed().collect(),
            vminfos: d.vminfos.clone(),
            smmu_vmid: d.smmu_vmid.clone(),
            npts,
            spts,
            ctxts: ctxts.filter(|(_, dirty, ec)| (*dirty, *ec) != (0, 0)).collect(),
            ghosts: world.ghosts.clone(),
        }
    }

    /// The world again. `empty` is a machine to which nothing has happened.
    pub(super) fn world(&self, empty: &RData) -> World {
        let mut d = empty.clone();
        Cpu { curid: d.curid, icore: d.icore, ihost: d.ihost, cur_vmid: d.cur_vmid, cur_vcpuid: d.cur_vcpuid } =
            self.cpu;
        d.core_data = self.core_data;
        self.s2page.iter().for_each(|(pfn, page)| d.s2page.set(*pfn, *page));
        d.vminfos = self.vminfos.clone();
        d.smmu_vmid = self.smmu_vmid.clone();
        self.npts.iter().for_each(|(vmid, npt)| d.npts[*vmid as usize] = npt.clone());
        d.spts = self.spts.clone();
        for (id, dirty, ec) in &self.ctxts {
            let ctxt = d.shadow_ctxts.entry(*id).or_default();
            ctxt.set("dirty", *dirty);
            ctxt.set("ec", *ec);
        }
        let parked = self.parked.map(|cpu| Parked { cpu, regs: RegisterFile::default() });
        World { d, parked, ghosts: self.ghosts.clone() }
    }

    /// The same number for the same state.
    pub(super) fn key(&self) -> u128 {
        let mut sums = Sums::default();
        sums.list([Some(self.cpu), self.parked].into_iter().flatten().map(|cpu| {
            let flags = u64::from(cpu.icore) | u64::from(cpu.ihost) << 1;
            [cpu.curid.into(), cpu.cur_vmid.into(), cpu.cur_vcpuid.into(), flags]
        }));
        sums.add(self.core_data.next_vmid.into());
        sums.add(self.core_data.next_remap_ptr);
        sums.list(self.s2page.iter().map(|(pfn, page)| [*pfn, page.owner.into(), page.count.into(), page.gfn]));
        for (vmid, info) in &self.vminfos {
            sums.list([[u64::from(*vmid), info.vm_state.into(), info.inc_exe.into()]].into_iter());
            let vcpus = info.vcpu_state.iter().filter(|(_, state)| **state != 0);
            sums.list(vcpus.map(|(vcpuid, state)| [u64::from(*vcpuid), u64::from(*state)]));
            let images = (0..info.next_load_info).map(|i| info.image(i));
            sums.list(images.map(|i| [i.load_addr, i.load_size, i.remap_addr, i.mapped_pages]));
        }
        let banks = self.smmu_vmid.iter().filter(|(_, owner)| **owner != u32::MAX);
        sums.list(banks.map(|(bank, owner)| [u64::from(*bank), u64::from(*owner)]));
        for (vmid, npt) in &self.npts {
            sums.add(u64::from(*vmid));
            sums.list(npt.pt.iter().map(|(gfn, e)| [*gfn, e.pfn, e.level.into(), e.pte]));
            sums.list(npt.pmd_t.iter().map(|(a, b, c)| [*a, *b, *c]));
            sums.list(npt.pud_t.iter().map(|(a, b)| [*a, *b]));
        }
        sums.list(self.spts.pt.iter().map(|((ttbr, gfn), e)| [*ttbr, *gfn, e.pfn, e.pte]));
        sums.list(self.spts.pmd_t.iter().map(|(a, b, c)| [*a, *b, *c]));
        sums.list(self.ctxts.iter().map(|(id, dirty, ec)| [u64::from(*id), *dirty, *ec]));
        sums.list(self.ghosts.cleared.iter().map(|vmid| [u64::from(*vmid)]));
        sums.list(self.ghosts.grants.iter().map(|((vmid, pfn), n)| [u64::from(*vmid), *pfn, u64::from(*n)]));
        sums.key()
    }
}
