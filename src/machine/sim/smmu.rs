// SPDX-License-Identifier: GPL-2.0-only
//! SMMUs of the simulated machine: streams, context banks, and an IOTLB that knows translations by the VMID of the bank
//! alone, and forgets them when an invalidation is waited for.

use super::{Fault, LEAF_SIZES, Leaf, SimMachine, State, Table, page};
use crate::addr::{Ipa, PAGE_SIZE};
use crate::mmio::registers::{
    BANK_SHIFT, BANKS, CBA2R_VA64, CBAR_TYPE_SHIFT, IDR0_NUMSIDB_SHIFT, IDR0_SMS, S2CR_CBNDX, S2CR_FAULT,
    S2CR_TRANSLATE, S2CR_TYPE_SHIFT, SMR_MASK_SHIFT, SMR_VALID, STREAM_ID, Scr0, Sctlr, TCR_STAGE_2, VMID, cb, gr0,
    gr1,
};
use crate::mmio::{ContextBank, SmmuConfig, SmmuIndex};
use crate::spt::IOVA_BITS;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

/// Entries of the stream mapping table.
const STREAM_ENTRIES: u64 = 16;

/// A translation in the IOTLB: VMID, size, first address.
type Key = (u64, u64, u64);

/// An SMMU, but for its registers.
#[derive(Default)]
pub(super) struct Smmu {
    base: u64,
    /// The root that each bank was given.
    roots: BTreeMap<usize, u64>,
    tlb: BTreeMap<Key, u64>,
    /// What the next sync sees gone: translations, and slots whose descriptor had been removed.
    asked: (BTreeSet<Key>, BTreeSet<u64>),
    watched: Vec<(usize, Ipa)>,
    stuck: bool,
}

impl State {
    /// The 4 bytes of a device register.
    pub(super) fn word(&self, at: u64) -> u64 {
        (self.registers.get(&(at & !7)).copied().unwrap_or(0) >> (8 * (at & 4))) & 0xFFFF_FFFF
    }

    pub(super) fn set_word(&mut self, at: u64, value: u64) {
        let shift = 8 * (at & 4);
        let double = self.registers.entry(at & !7).or_default();
        *double = *double & !(0xFFFF_FFFF << shift) | value << shift;
    }
}

/// The offset of register `register` of bank `b`.
fn bank_register(b: usize, register: u64) -> u64 {
    BANKS + ((b as u64) << BANK_SHIFT) + register
}

impl SimMachine {
    /// SMMUs as boot leaves them: every stream faults, no bank translates.
    pub(super) fn attach_smmus(&self, smmus: &[SmmuConfig]) {
        let mut state = self.state();
        for config in smmus {
            let base = config.window.start;
            state.set_word(base + gr0::IDR0, IDR0_SMS | 15 << IDR0_NUMSIDB_SHIFT | STREAM_ENTRIES);
            state.set_word(base + gr0::SCR0, (Scr0::USFCFG | Scr0::SMCFCFG).bits());
            for entry in 0..STREAM_ENTRIES {
                state.set_word(base + gr0::S2CR.start + 4 * entry, S2CR_FAULT << S2CR_TYPE_SHIFT);
            }
            state.smmus.push(Smmu { base, ..Smmu::default() });
        }
    }

    /// From now on (or not any more) SMMU `k` never ends an invalidation.
    pub fn stick_smmu(&self, k: SmmuIndex, stuck: bool) {
        self.state().smmus[k.index()].stuck = stuck;
    }

    /// Has the IOTLB look `iova` up for bank `b` after every change of a table from now on, as a prefetch may.
    pub fn watch_dma(&self, k: SmmuIndex, b: ContextBank, iova: Ipa) {
        self.state().smmus[k.index()].watched.push((b.index(), iova));
    }

    pub(super) fn speculate_dma(&self, state: &mut State) {
        for k in 0..state.smmus.len() {
            for i in 0..state.smmus[k].watched.len() {
                let (b, iova) = state.smmus[k].watched[i];
                let _ = self.look_up_dma(state, k, b, iova);
            }
        }
    }

    /// What a device reaches at `iova` through bank `b`: by the IOTLB, if that knows; else by a walk of the table that TTBR0
    /// of the bank points to, which it will then know.
    pub fn dma_access(&self, k: SmmuIndex, b: ContextBank, iova: Ipa) -> Result<Leaf, Fault> {
        self.look_up_dma(&mut self.state(), k.index(), b.index(), iova)
    }

    /// The physical address that a device with stream id `stream` reaches at `iova`; `None`: the access faults.
    pub fn dma(&self, k: SmmuIndex, stream: u64, iova: Ipa) -> Option<u64> {
        let mut state = self.state();
        let base = state.smmus[k.index()].base;
        let scr0 = Scr0::from_bits_retain(state.word(base + gr0::SCR0));
        let untranslated = Some(iova.as_u64());
        if scr0.contains(Scr0::CLIENTPD) {
            return untranslated;
        }
        let matching = |smr: u64| {
            let differs = (smr ^ stream) & STREAM_ID & !(smr >> SMR_MASK_SHIFT);
            smr & SMR_VALID != 0 && differs == 0
        };
        let mut entries = (0..STREAM_ENTRIES).filter(|n| matching(state.word(base + gr0::SMR.start + 4 * n)));
        let s2cr = match (entries.next(), entries.next()) {
            (Some(n), None) => state.word(base + gr0::S2CR.start + 4 * n),
            (Some(n), Some(_)) if !scr0.contains(Scr0::SMCFCFG) => state.word(base + gr0::S2CR.start + 4 * n),
            (None, _) if !scr0.contains(Scr0::USFCFG) => return untranslated,
            _ => return None,
        };
        match (s2cr >> S2CR_TYPE_SHIFT) & 3 {
            S2CR_TRANSLATE => match self.look_up_dma(&mut state, k.index(), (s2cr & S2CR_CBNDX) as usize, iova) {
                Ok(leaf) => Some(leaf.pa(iova)),
                Err(Fault::Bypass) => untranslated,
                Err(_) => None,
            },
            S2CR_FAULT => None,
            _ => untranslated,
        }
    }

    /// How many translations the IOTLB of SMMU `k` holds.
    pub fn cached_dma(&self, k: SmmuIndex) -> usize {
        self.state().smmus[k.index()].tlb.len()
    }

    fn look_up_dma(&self, state: &mut State, k: usize, b: usize, iova: Ipa) -> Result<Leaf, Fault> {
        let base = state.smmus[k].base;
        let bank = |register| base + bank_register(b, register);
        let sctlr = Sctlr::from_bits_retain(state.word(bank(cb::SCTLR)));
        if !sctlr.contains(Sctlr::M) {
            return Err(Fault::Bypass);
        }
        let cbar = state.word(base + gr1::CBAR.start + 4 * b as u64);
        let cba2r = state.word(base + gr1::CBA2R.start + 4 * b as u64);
        let stage_2 = (cbar >> CBAR_TYPE_SHIFT) & 3 == 0 && cba2r & CBA2R_VA64 != 0;
        let known = Sctlr::M | Sctlr::CFRE | Sctlr::CFIE | Sctlr::CFCFG | Sctlr::HUPCF;
        let root = state.registers.get(&bank(cb::TTBR0)).copied().unwrap_or(0);
        let ours = state.word(bank(cb::TCR)) == TCR_STAGE_2 && known.contains(sctlr) && self.pool.contains(root);
        if !stage_2 || !ours {
            state.violations.push(format!("bank {b} of SMMU {k} reads a table that is none"));
            return Err(Fault::Malformed(0));
        }
        let vmid = cbar & VMID;
        let cached = LEAF_SIZES.into_iter().find_map(|size| {
            let first = iova.as_u64() & !(size - 1);
            let descriptor = *state.smmus[k].tlb.get(&(vmid, size, first))?;
            Some(Leaf { ipa: first, size, descriptor })
        });
        if let Some(leaf) = cached {
            return Ok(leaf);
        }
        let leaf = self.walk_slots(Table { root, ipa_bits: IOVA_BITS }, iova).1?;
        state.smmus[k].tlb.insert((vmid, leaf.size, leaf.ipa), leaf.descriptor);
        Ok(leaf)
    }

    /// The value of a device register, of which some tell a state.
    pub(super) fn device_register(&self, at: u64) -> u64 {
        let state = self.state();
        let stuck = state.smmus.iter().any(|smmu| smmu.stuck && at == smmu.base + gr0::STLBGSYNC);
        let value = state.registers.get(&at).copied().unwrap_or(0);
        value | u64::from(stuck) << 32 // STLBGSTATUS.GSACTIVE
    }

    /// What the hardware does when the register at `at` was written.
    pub(super) fn smmu_written(&self, at: u64) {
        let mut state = self.state();
        let found = state.smmus.iter().rposition(|smmu| (smmu.base..smmu.base + 2 * BANKS).contains(&at));
        let Some(k) = found else { return };
        let offset = at - state.smmus[k].base;
        match offset {
            gr0::TLBIVMID => {
                let vmid = state.word(at) & VMID;
                let keys: Vec<_> = state.smmus[k].tlb.keys().copied().filter(|key| key.0 == vmid).collect();
                let tables = self.smmu_tables(&state, k, vmid);
                let slots: Vec<_> = state.pending.keys().copied().filter(|at| tables.contains(&page(*at))).collect();
                let asked = &mut state.smmus[k].asked;
                asked.0.extend(keys);
                asked.1.extend(slots);
            }
            gr0::STLBGSYNC if !state.smmus[k].stuck => {
                let (keys, slots) = core::mem::take(&mut state.smmus[k].asked);
                state.smmus[k].tlb.retain(|key, _| !keys.contains(key));
                state.pending.retain(|at, _| !slots.contains(at));
                self.speculate_dma(&mut state);
            }
            _ if offset >= BANKS && matches!(offset & 0xFFF, cb::TTBR0 | cb::TTBR0_HIGH) => {
                self.root_written(&mut state, k, ((offset - BANKS) >> BANK_SHIFT) as usize);
            }
            _ => {}
        }
    }

    /// A bank's TTBR0 was written: the table that it left is not live any more, the new one is.
    fn root_written(&self, state: &mut State, k: usize, b: usize) {
        let base = state.smmus[k].base;
        let root = state.registers.get(&(base + bank_register(b, cb::TTBR0))).copied().unwrap_or(0);
        if state.smmus[k].roots.get(&b) == Some(&root) {
            return;
        }
        if let Some(old) = state.smmus[k].roots.remove(&b) {
            let vmid = state.word(base + gr1::CBAR.start + 4 * b as u64) & VMID;
            if state.word(base + bank_register(b, cb::SCTLR)) & Sctlr::M.bits() != 0 {
                state.violations.push(format!("bank {b} of SMMU {k} changes its table while it translates"));
            }
            if state.smmus[k].tlb.keys().any(|key| key.0 == vmid) {
                state.violations.push(format!("the table of bank {b} of SMMU {k} is gone, but not from the IOTLB"));
            }
            let tables = self.tables_of(state, Table { root: old, ipa_bits: IOVA_BITS });
            state.live.retain(|table| !tables.contains(table));
        }
        if root != 0 {
            state.smmus[k].roots.insert(b, root);
            self.make_live(state, root);
            self.make_live(state, root + PAGE_SIZE);
        }
    }

    /// The tables of all banks.
    pub(super) fn smmu_roots(&self, state: &State) -> impl Iterator<Item = Table> {
        state.smmus.iter().flat_map(|smmu| smmu.roots.values().map(|&root| Table { root, ipa_bits: IOVA_BITS }))
    }

    /// The tables of all banks of SMMU `k` with VMID `vmid`.
    fn smmu_tables(&self, state: &State, k: usize, vmid: u64) -> BTreeSet<u64> {
        let smmu = &state.smmus[k];
        let theirs = smmu.roots.iter().filter(|(b, _)| {
            let cbar = state.word(smmu.base + gr1::CBAR.start + 4 * **b as u64);
            cbar & VMID == vmid
        });
        theirs.flat_map(|(_, &root)| self.tables_of(state, Table { root, ipa_bits: IOVA_BITS })).collect()
    }
}
