// SPDX-License-Identifier: GPL-2.0-only
//! ITSs and redistributors of the simulated machine: their registers, and an ITS that does the commands in its queue as far
//! as they touch memory.

use super::{SimMachine, State};
use crate::addr::Pa;
use crate::gic::Config;
use crate::gic::registers::{COMMAND, command, gicr, gits};
use crate::machine::{Machine, Width};
use std::collections::BTreeMap;
use std::format;
use std::vec::Vec;

/// Bytes of an entry of an ITT.
pub const ITT_ENTRY: u64 = 12;
/// GITS_TYPER: 16 bits of events and devices; GICv4.
pub const ITS_TYPER: u64 = 1 | gits::TYPER_V4 | (ITT_ENTRY - 1) << 4 | 15 << 8 | 15 << 13;
/// What the BASERs are: devices, vPEs, collections, nothing, with entries of 8 bytes.
const KINDS: [u64; 8] = [gits::DEVICES, 2, gits::COLLECTIONS, 0, 0, 0, 0, 0];

/// An ITS, but for its registers.
#[derive(Default)]
pub(super) struct Its {
    base: u64,
    /// It does nothing, and so never becomes quiet.
    stuck: bool,
    /// It takes no commands for the time being.
    slow: bool,
    /// Page size of its tables, as BASER has it, if it is not the host's choice.
    page_size: Option<u64>,
    flat: bool,
    /// It shares nobody's caches.
    alone: bool,
    /// Commands done.
    done: Vec<[u64; 4]>,
    /// Each device's ITT.
    itts: BTreeMap<u64, u64>,
    /// Where it has written to memory that is not Corevisor's.
    written: Vec<u64>,
}

impl State {
    fn double(&self, at: u64) -> u64 {
        self.registers.get(&at).copied().unwrap_or(0)
    }
}

impl SimMachine {
    /// Interrupt controllers as an unkind bootloader leaves them: on.
    pub fn attach_gic(&self, config: &Config) {
        let mut state = self.state();
        for window in &config.its {
            let base = window.start;
            state.registers.insert(base + gits::CTLR, gits::ENABLED);
            state.registers.insert(base + gits::TYPER, ITS_TYPER);
            for (baser, kind) in gits::BASER.step_by(8).zip(KINDS) {
                let value = if kind == 0 { 0 } else { kind << 56 | 7 << 48 };
                state.registers.insert(base + baser, value | 0x4000_0000);
            }
            state.its.push(Its { base, ..Its::default() });
        }
        for region in &config.redistributors {
            for n in 0..region.count {
                let last = if n + 1 == region.count { gicr::LAST } else { 0 };
                let vlpis = if region.stride > gicr::VLPI_FRAME { gicr::VLPIS | gicr::TYPER_V4 } else { 0 };
                let at = region.first + n * region.stride;
                state.registers.insert(at + gicr::TYPER, gicr::PLPIS | vlpis | last | n << 8);
            }
        }
    }

    /// ITS `n` does not take commands any more, or goes on to.
    pub fn slow_its(&self, n: usize, slow: bool) {
        self.state().its[n].slow = slow;
        if !slow {
            self.run_its(n, usize::MAX);
        }
    }

    /// ITS `n` has this page size only (as BASER has it), or no tables of tables.
    pub fn limit_its(&self, n: usize, page_size: Option<u64>, flat: bool) {
        let its = &mut self.state().its[n];
        (its.page_size, its.flat) = (page_size, flat);
    }

    /// ITS `n` does not look into caches.
    pub fn leave_its_alone(&self, n: usize) {
        self.state().its[n].alone = true;
    }

    /// LPIs can't be turned off any more at the redistributor at `at`.
    pub fn stick_lpis(&self, at: u64) {
        self.state().lpis_on.insert(at);
    }

    /// ITS `n` never becomes quiet.
    pub fn stick_its(&self, n: usize) {
        self.state().its[n].stuck = true;
    }

    /// The commands that ITS `n` has done since this was asked last.
    pub fn take_its_commands(&self, n: usize) -> Vec<[u64; 4]> {
        core::mem::take(&mut self.state().its[n].done)
    }

    /// Where it has written to memory of others than Corevisor since then.
    pub fn take_its_writes(&self, n: usize) -> Vec<u64> {
        core::mem::take(&mut self.state().its[n].written)
    }

    /// What the hardware does when the register at `at` was written.
    pub(super) fn gic_written(&self, at: u64) {
        let mut state = self.state();
        if state.lpis_on.contains(&at) {
            *state.registers.entry(at).or_default() |= gicr::ENABLE_LPIS;
        }
        let Some(n) = state.its.iter().position(|its| (its.base..its.base + 0x1000).contains(&at)) else { return };
        let base = state.its[n].base;
        let register = (at - base) & !7;
        let value = state.double(base + register);
        let quiet =
            |state: &State| state.double(base + gits::CTLR) & (gits::ENABLED | gits::QUIESCENT) == gits::QUIESCENT;
        match register {
            gits::CTLR => {
                let on = value & gits::ENABLED != 0 || state.its[n].stuck;
                let value = value & !gits::QUIESCENT | if on { 0 } else { gits::QUIESCENT };
                state.registers.insert(base + gits::CTLR, value);
            }
            gits::TYPER => _ = state.registers.insert(base + gits::TYPER, ITS_TYPER),
            gits::CBASER => {
                if !quiet(&state) {
                    state.violations.push(format!("the queue of ITS {n} changes while it is on"));
                }
                if state.its[n].alone {
                    state.registers.insert(base + register, value & !gits::SHAREABILITY);
                }
                state.registers.insert(base + gits::CREADR, 0);
            }
            _ if gits::BASER.contains(&register) => {
                if !quiet(&state) {
                    state.violations.push(format!("a table of ITS {n} changes while it is on"));
                }
                let kind = KINDS[((register - gits::BASER.start) / 8) as usize];
                let its = &state.its[n];
                let mut new = value & !gits::READ_ONLY | kind << 56 | 7 << 48;
                if let Some(size) = its.page_size {
                    new = new & !(0b11 << gits::PAGE_SIZE_SHIFT) | size << gits::PAGE_SIZE_SHIFT;
                }
                if its.alone {
                    new &= !gits::SHAREABILITY;
                }
                if its.flat {
                    new &= !gits::INDIRECT;
                }
                state.registers.insert(base + register, if kind == 0 { 0 } else { new });
            }
            _ => {}
        }
        drop(state);
        self.run_its(n, usize::MAX);
    }

    /// ITS `n` does up to `commands` commands.
    pub fn run_its(&self, n: usize, mut commands: usize) {
        let mut state = self.state();
        let base = state.its[n].base;
        let on = state.double(base + gits::CTLR) & gits::ENABLED != 0;
        if !on || state.its[n].stuck || (state.its[n].slow && commands == usize::MAX) {
            return;
        }
        let cbaser = state.double(base + gits::CBASER);
        let (start, size) = (cbaser & 0xF_FFFF_FFFF_F000, ((cbaser & 0xFF) + 1) * 0x1000);
        while state.double(base + gits::CREADR) != state.double(base + gits::CWRITER) & gits::OFFSET && commands > 0 {
            let reader = state.double(base + gits::CREADR);
            if !self.pool.contains(start + reader) || state.unpublished.contains(&start) {
                state.violations.push(format!("ITS {n} reads commands that are not Corevisor's, or not complete"));
                return;
            }
            let words = core::array::from_fn(|i| self.pool_word(start + reader + 8 * i as u64));
            self.do_command(&mut state, n, words);
            state.its[n].done.push(words);
            state.registers.insert(base + gits::CREADR, (reader + COMMAND) % size);
            commands -= 1;
        }
    }

    fn do_command(&self, state: &mut State, n: usize, words: [u64; 4]) {
        let device = words[0] >> 32;
        match words[0] & 0xFF {
            command::MAPD => {
                let Some(entry) = self.device_entry(state, n, device) else {
                    state.violations.push(format!("device {device:#x} is not in the table of ITS {n}"));
                    return;
                };
                if !self.pool.contains(entry) {
                    state.violations.push(format!("ITS {n} writes its table at {entry:#x}"));
                }
                if words[2] & command::VALID != 0 {
                    state.its[n].itts.insert(device, words[2] & command::ITT);
                } else {
                    state.its[n].itts.remove(&device);
                }
            }
            command::MAPTI => {
                if let Some(itt) = state.its[n].itts.get(&device) {
                    let at = itt + (words[1] & 0xFFFF_FFFF) * ITT_ENTRY;
                    state.its[n].written.push(at);
                }
            }
            _ => {}
        }
    }

    /// Where the entry of `device` is.
    fn device_entry(&self, state: &State, n: usize, device: u64) -> Option<u64> {
        let baser = state.double(state.its[n].base + gits::BASER.start);
        let (page, start) = (gits::page_size(baser), baser & 0xFFFF_FFFF_F000);
        let all = ((baser & 0xFF) + 1) * page;
        if baser & gits::VALID == 0 {
            return None;
        }
        if baser & gits::INDIRECT == 0 {
            return (device * 8 < all).then_some(start + device * 8);
        }
        let slot = device / (page / 8) * 8;
        let first = (slot < all && !state.unpublished.contains(&super::page(start + slot)))
            .then(|| self.pool_word(start + slot))
            .filter(|first| first & gits::VALID != 0)?;
        Some((first & 0xFFFF_FFFF_F000) + device % (page / 8) * 8)
    }

    fn pool_word(&self, at: u64) -> u64 {
        self.word(at).load(core::sync::atomic::Ordering::Relaxed)
    }

    /// The 8 bytes of the register at `at`, as hardware has them.
    pub fn gic_register(&self, at: u64) -> u64 {
        self.mmio_read(Pa::low_48(at), Width::Double)
    }
}
