// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv3s of the simulated machine: they carry commands out as these are written, keep what they have read of the stream
//! table and of translations for as long as nobody tells them to forget it and waits for that, and record events.

use super::{Fault, LEAF_SIZES, Leaf, SimMachine, State, Table, page};
use crate::addr::{Ipa, PAGE_SIZE, Range};
use crate::npt::HOST_DMA_VMID;
use crate::smmu3::registers::{
    CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, Cr0, EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD, GBPA, GERROR, GERRORN,
    Gbpa, Gerror, IDR0, IDR1, IDR3, IDR5, IDR5_GRAN4K, IRQ_CTRL, IRQ_CTRLACK, Idr0, Idr3, OVERFLOW, STRTAB_BASE,
    STRTAB_BASE_CFG, STRTAB_TWO_LEVEL, WINDOW,
};
use crate::smmu3::{Smmu3Config, opcode};
use core::sync::atomic::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::vec::Vec;

const ADDRESS: u64 = ((1 << 48) - 1) & !0x3F;
const C_BAD_STREAMID: u64 = 0x02;
const C_BAD_STE: u64 = 0x04;
const F_TRANSLATION: u64 = 0x10;

/// What an SMMU does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// It carries no commands out.
    pub stuck: bool,
    /// It can't carry commands with this opcode out.
    pub rejects: Option<u64>,
    /// But so many more of them.
    pub spares: u32,
    /// Changes of this register do not come into effect.
    pub deaf: Option<u64>,
}

/// A translation in the IOTLB: VMID, size, first address.
type Key = (u16, u64, u64);

/// What the next sync sees gone.
#[derive(Default)]
struct Asked {
    /// Streams; `None`: all.
    streams: BTreeSet<Option<u32>>,
    keys: BTreeSet<Key>,
    /// Slots whose descriptor had been removed.
    slots: BTreeSet<u64>,
}

/// An SMMUv3, but for its registers.
#[derive(Default)]
pub(super) struct Smmu3 {
    base: u64,
    faults: Faults,
    /// Entries of the stream table that it knows, by stream.
    entries: BTreeMap<u32, [u64; 8]>,
    /// Translations that it knows.
    tlb: BTreeMap<Key, u64>,
    asked: Asked,
    /// The tables of banks, by VMID.
    roots: BTreeMap<u16, Table>,
}

impl SimMachine {
    /// SMMUv3s as firmware leaves them: all that passes goes through.
    pub(super) fn attach_smmu3s(&self, smmus: &[Smmu3Config]) {
        for config in smmus {
            self.name_smmu3(config.window.start);
        }
    }

    /// There is an SMMUv3 with registers at `base`, as QEMU's, if it is not there already.
    pub fn name_smmu3(&self, base: u64) {
        let mut state = self.state();
        if state.smmu3s.iter().all(|smmu| smmu.base != base) {
            state.smmu3s.push(Smmu3 { base, ..Smmu3::default() });
            let idr0 = Idr0::S2P | Idr0::AARCH64 | Idr0::COHACC | Idr0::TWO_LEVEL;
            let ids = [
                (IDR0, idr0.bits()),
                (IDR1, 20 | 19 << 16 | 19 << 21),
                (IDR3, (Idr3::BBML_2 | Idr3::RIL).bits()),
                (IDR5, IDR5_GRAN4K | 4),
            ];
            for (register, value) in ids {
                state.set_word(base + register, value);
            }
        }
    }

    /// Has the SMMUv3 with registers at `base` be wrong in these ways from now on. It may be one that boot will find.
    pub fn set_smmu3_faults(&self, base: u64, faults: Faults) {
        self.name_smmu3(base);
        let mut state = self.state();
        let Some(index) = state.smmu3s.iter().position(|smmu| smmu.base == base) else { return };
        state.smmu3s[index].faults = faults;
        self.carry_out(&mut state, index);
    }

    /// The physical address that a device with stream id `stream` of the SMMUv3 `index` reaches at `iova`; `None`: the access
    /// ends in an abort.
    pub fn dma3(&self, index: usize, stream: u32, iova: Ipa) -> Option<u64> {
        let mut state = self.state();
        let state = &mut *state;
        let base = state.smmu3s[index].base;
        if state.word(base + CR0) & Cr0::SMMUEN.bits() == 0 {
            let aborts = state.word(base + GBPA) & (Gbpa::ABORT | Gbpa::UPDATE).bits() == Gbpa::ABORT.bits();
            return (!aborts).then_some(iova.as_u64());
        }
        match self.translate3(state, index, stream, iova) {
            Ok(leaf) => Some(leaf.pa(iova)),
            Err(event) => {
                self.record_event(state, index, [event | u64::from(stream) << 32, 0, iova.as_u64(), 0]);
                None
            }
        }
    }

    fn translate3(&self, state: &mut State, index: usize, stream: u32, iova: Ipa) -> Result<Leaf, u64> {
        let ste = match state.smmu3s[index].entries.get(&stream) {
            Some(ste) => *ste,
            None => {
                let at = self.find_entry(state, index, stream).ok_or(C_BAD_STREAMID)?;
                let ste = self.words(at);
                if ste[0] & 1 == 0 {
                    return Err(C_BAD_STE);
                }
                state.smmu3s[index].entries.insert(stream, ste);
                ste
            }
        };
        let Some((vmid, table)) = table_of(ste) else {
            state.violations.push(format!("entry of stream {stream:#x} of SMMUv3 {index}: {ste:#x?}"));
            return Err(C_BAD_STE);
        };
        let cached = LEAF_SIZES.into_iter().find_map(|size| {
            let first = iova.as_u64() & !(size - 1);
            let descriptor = *state.smmu3s[index].tlb.get(&(vmid, size, first))?;
            Some(Leaf { ipa: first, size, descriptor })
        });
        if let Some(leaf) = cached {
            return Ok(leaf);
        }
        let leaf = self.walk_slots(table, iova).1.map_err(|_: Fault| F_TRANSLATION)?;
        state.smmu3s[index].tlb.insert((vmid, leaf.size, leaf.ipa), leaf.descriptor);
        Ok(leaf)
    }

    /// How many translations the IOTLB of the SMMUv3 `index` holds.
    pub fn cached_dma3(&self, index: usize) -> usize {
        self.state().smmu3s[index].tlb.len()
    }

    fn words(&self, at: u64) -> [u64; 8] {
        core::array::from_fn(|n| self.word(at + 8 * n as u64).load(Ordering::Acquire))
    }

    /// Where the stream table has the entry of `stream`.
    fn find_entry(&self, state: &State, index: usize, stream: u32) -> Option<u64> {
        let base = state.smmu3s[index].base;
        let table = state.registers.get(&(base + STRTAB_BASE)).copied().unwrap_or(0) & ADDRESS;
        let format = state.word(base + STRTAB_BASE_CFG);
        if u64::from(stream) >> (format & 0x3F) != 0 {
            return None;
        }
        if format & STRTAB_TWO_LEVEL == 0 {
            return Some(table + 64 * u64::from(stream));
        }
        let split = format >> 6 & 0x1F;
        let descriptor = self.word(table + 8 * u64::from(stream >> split)).load(Ordering::Acquire);
        let (second, n) = (descriptor & ADDRESS, u64::from(stream) & ((1 << split) - 1));
        let spans = descriptor & 0x1F != 0 && n < 1 << ((descriptor & 0x1F) - 1);
        spans.then_some(second + 64 * n)
    }

    fn record_event(&self, state: &mut State, index: usize, event: [u64; 4]) {
        let base = state.smmu3s[index].base;
        let queue = state.registers.get(&(base + EVENTQ_BASE)).copied().unwrap_or(0);
        let entries = 1 << (queue & 0x1F);
        let (prod, cons) = (state.word(base + EVENTQ_PROD), state.word(base + EVENTQ_CONS));
        if state.word(base + CR0) & Cr0::EVENTQEN.bits() == 0 {
            return;
        }
        let mask = 2 * entries - 1;
        if (prod ^ cons) & mask == entries {
            let lost = prod & mask | (cons & OVERFLOW ^ OVERFLOW);
            return state.set_word(base + EVENTQ_PROD, lost);
        }
        let at = (queue & ADDRESS) + 32 * (prod & (entries - 1));
        for (n, word) in event.into_iter().enumerate() {
            self.word(at + 8 * n as u64).store(word, Ordering::Release);
        }
        state.set_word(base + EVENTQ_PROD, (prod + 1) & mask | prod & OVERFLOW);
    }

    /// What the hardware does when a register of an SMMUv3 at `at` was written. Whether it is one.
    pub(super) fn smmu3_written(&self, at: u64) -> bool {
        let mut state = self.state();
        let found = state.smmu3s.iter().position(|smmu| (smmu.base..smmu.base + WINDOW).contains(&at));
        let Some(index) = found else { return false };
        let offset = at - state.smmu3s[index].base;
        let base = state.smmu3s[index].base;
        if state.smmu3s[index].faults.deaf == Some(offset) {
            return true;
        }
        let value = state.word(at);
        match offset {
            CR0 => state.set_word(base + CR0ACK, value),
            IRQ_CTRL => state.set_word(base + IRQ_CTRLACK, value),
            GBPA => state.set_word(at, value & !Gbpa::UPDATE.bits()),
            CMDQ_PROD | GERRORN => self.carry_out(&mut state, index),
            _ => {}
        }
        true
    }

    /// Carries out the commands that are there.
    fn carry_out(&self, state: &mut State, index: usize) {
        let base = state.smmu3s[index].base;
        if state.word(base + CR0) & Cr0::CMDQEN.bits() == 0 || state.smmu3s[index].faults.stuck {
            return;
        }
        let queue = state.registers.get(&(base + CMDQ_BASE)).copied().unwrap_or(0);
        let mask = (2 << (queue & 0x1F)) - 1;
        loop {
            let halted = (state.word(base + GERROR) ^ state.word(base + GERRORN)) & Gerror::CMDQ_ERR.bits() != 0;
            let cons = state.word(base + CMDQ_CONS);
            if halted || cons & mask == state.word(base + CMDQ_PROD) & mask {
                return;
            }
            let at = (queue & ADDRESS) + 16 * (cons & (mask >> 1));
            if state.unpublished.contains(&page(at)) {
                state.violations.push(format!("SMMUv3 {index} was told of a command that was not published"));
            }
            let command = [at, at + 8].map(|at| self.word(at).load(Ordering::Acquire));
            let faults = &mut state.smmu3s[index].faults;
            let spared = faults.spares > 0;
            let rejected = faults.rejects == Some(command[0] & 0xFF) && !spared;
            faults.spares -= u32::from(spared && faults.rejects == Some(command[0] & 0xFF));
            if rejected || !self.execute(state, index, command) {
                state.set_word(base + CMDQ_CONS, cons & mask | 1 << 24);
                let errors = state.word(base + GERROR) ^ Gerror::CMDQ_ERR.bits();
                return state.set_word(base + GERROR, errors);
            }
            state.set_word(base + CMDQ_CONS, cons & !mask | (cons + 1) & mask);
        }
    }

    /// Whether that is a command.
    fn execute(&self, state: &mut State, index: usize, command: [u64; 2]) -> bool {
        let vmid = (command[0] >> 32) as u16;
        let ranges = Idr3::from_bits_retain(state.word(state.smmu3s[index].base + IDR3)).contains(Idr3::RIL);
        match command[0] & 0xFF {
            opcode::CFGI_STE => _ = state.smmu3s[index].asked.streams.insert(Some((command[0] >> 32) as u32)),
            opcode::CFGI_STE_RANGE if command[1] & 0x1F == 31 => _ = state.smmu3s[index].asked.streams.insert(None),
            opcode::TLBI_NSNH_ALL => self.ask(state, index, None, Range { start: 0, end: 1 << 48 }),
            opcode::TLBI_S12_VMALL => self.ask(state, index, Some(vmid), Range { start: 0, end: 1 << 48 }),
            opcode::TLBI_S2_IPA => {
                let pages = 1u64 << (command[0] >> 20 & 0x1F);
                if pages > 1 && !(ranges && command[1] >> 10 & 3 == 1) {
                    return false;
                }
                let start = command[1] & !(PAGE_SIZE - 1);
                self.ask(state, index, Some(vmid), Range { start, end: start + pages * PAGE_SIZE });
            }
            opcode::SYNC => self.sync3(state, index),
            _ => return false,
        }
        true
    }

    /// The translations of `vmid`, or of all, in `range`, and what was removed from their tables there, are gone after the next
    /// sync.
    fn ask(&self, state: &mut State, index: usize, vmid: Option<u16>, range: Range) {
        let smmu = &state.smmu3s[index];
        let meant = |of: u16| vmid.is_none_or(|vmid| vmid == of);
        let met = |first: u64, size: u64| first < range.end && range.start < first + size;
        let keys: Vec<_> = smmu.tlb.keys().copied().filter(|key| meant(key.0) && met(key.2, key.1)).collect();
        let mut slots = BTreeSet::new();
        for (_, &table) in smmu.roots.iter().filter(|(of, _)| meant(**of)) {
            if range.size() > MAX_RANGE {
                let tables = self.tables_of(state, table);
                slots.extend(state.pending.keys().filter(|slot| tables.contains(&page(**slot))));
            } else {
                let pages = (range.start..range.end).step_by(PAGE_SIZE as usize);
                slots.extend(pages.flat_map(|at| self.walk_slots(table, Ipa::low_48(at)).0));
            }
        }
        slots.retain(|slot| state.pending.contains_key(slot));
        let asked = &mut state.smmu3s[index].asked;
        asked.keys.extend(keys);
        asked.slots.extend(slots);
    }

    /// What was asked for is done; and the tables that the stream table leads to now are in use, but for the host's, whose
    /// blocks become tables in a way of its own.
    fn sync3(&self, state: &mut State, index: usize) {
        let Asked { streams, keys, slots } = core::mem::take(&mut state.smmu3s[index].asked);
        let smmu = &mut state.smmu3s[index];
        smmu.tlb.retain(|key, _| !keys.contains(key));
        smmu.entries.retain(|stream, _| !streams.contains(&None) && !streams.contains(&Some(*stream)));
        state.pending.retain(|at, _| !slots.contains(at));
        if streams.is_empty() {
            return;
        }
        let now: BTreeMap<u16, Table> = self.entries_in_use(state, index).filter_map(table_of).collect();
        let old = core::mem::take(&mut state.smmu3s[index].roots);
        for (vmid, table) in &old {
            if now.get(vmid).map(|table| table.root) != Some(table.root) {
                let tables = self.tables_of(state, *table);
                state.live.retain(|table| !tables.contains(table));
            }
        }
        for (vmid, table) in now.into_iter().filter(|(vmid, _)| *vmid != HOST_DMA_VMID) {
            if old.get(&vmid).map(|table| table.root) != Some(table.root) {
                if state.smmu3s[index].tlb.keys().any(|key| key.0 == vmid) {
                    state.violations.push(format!("SMMUv3 {index} knows translations of VMID {vmid:#x} from before"));
                }
                self.make_live(state, table.root);
                self.make_live(state, table.root + PAGE_SIZE);
            }
            state.smmu3s[index].roots.insert(vmid, table);
        }
    }

    /// All entries of the stream table, each once.
    fn entries_in_use(&self, state: &State, index: usize) -> impl Iterator<Item = [u64; 8]> {
        let base = state.smmu3s[index].base;
        let format = state.word(base + STRTAB_BASE_CFG);
        let streams = 0..1u32 << (format & 0x3F);
        let places: BTreeSet<u64> = streams.filter_map(|stream| self.find_entry(state, index, stream)).collect();
        places.into_iter().map(|at| self.words(at))
    }

    /// The tables of the banks of all SMMUv3s.
    pub(super) fn smmu3_roots(&self, state: &State) -> impl Iterator<Item = Table> {
        state.smmu3s.iter().flat_map(|smmu| smmu.roots.values().copied())
    }
}

/// More than this is invalidated whole.
const MAX_RANGE: u64 = 1 << 30;

/// The VMID and the table of an entry that is as Corevisor's have to be: of stage 2 only, with the fields of IHI 0070, 5.2.
fn table_of(ste: [u64; 8]) -> Option<(u16, Table)> {
    let ipa_bits = 64 - (ste[2] >> 32 & 0x3F) as u32;
    let start = ste[2] >> 38 & 3;
    let stage_2 = ste[0] & 0xF == 0b1101 && ste[1] == 1 << 44 && ste[4..] == [0; 4];
    let recorded_and_ended = ste[2] >> 51 & 0xFF == 0b1000_0001;
    let walks = ste[2] >> 40 & 0xFF == 0b0011_0101 && start == if ipa_bits > 42 { 2 } else { 1 };
    let table = Table { root: ste[3], ipa_bits };
    (stage_2 && recorded_and_ended && walks && (32..=48).contains(&ipa_bits)).then_some((ste[2] as u16, table))
}
