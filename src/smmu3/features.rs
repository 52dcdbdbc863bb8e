// SPDX-License-Identifier: GPL-2.0-only
//! What an SMMUv3 can do, as its identification registers say, and what keeps Corevisor from driving one.

use super::commands::{COMMANDS_LOG2, MIN_COMMANDS_LOG2};
use super::events::EVENTS_LOG2;
use super::registers::{
    IDR0, IDR1, IDR1_CMDQS_SHIFT, IDR1_EVENTQS_SHIFT, IDR1_SIDSIZE, IDR3, IDR5, IDR5_GRAN4K, IDR5_OAS, Idr0, Idr1,
    Idr3, Registers,
};
use crate::machine::Machine;
use core::fmt;

/// Why an SMMUv3 is not driven. Its streams abort, if it answers at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It was not opened yet.
    Closed,
    /// The device tree gives it fewer registers than one has.
    Window,
    /// A change of this register does not come into effect.
    NoAnswer(&'static str),
    /// A command is not carried out.
    NoCommands,
    /// It lacks this.
    Lacks(&'static str),
    /// No memory for its tables and queues.
    NoMemory,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("is closed"),
            Self::Window => f.write_str("has fewer registers than an SMMUv3"),
            Self::NoAnswer(register) => write!(f, "does not answer ({register})"),
            Self::NoCommands => f.write_str("does not carry commands out"),
            Self::Lacks(what) => write!(f, "has no {what}"),
            Self::NoMemory => f.write_str("finds no memory for its tables"),
        }
    }
}

/// What an SMMUv3 can do that differs between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// log2 of the physical addresses that it puts out, at most 48.
    pub address_bits: u32,
    /// IDR5.OAS, at most as for 48 bits: STE.S2PS.
    pub oas: u64,
    /// Bits of a stream's id.
    pub stream_bits: u32,
    /// Stream tables may have two levels.
    pub two_level: bool,
    /// A block of a table may be replaced by a table that says the same.
    pub splits_blocks: bool,
    /// Translations can be invalidated by ranges.
    pub ranges: bool,
    /// EL2's translations are told apart, and have a command of their own.
    pub hyp: bool,
    /// Devices can use translations that they have asked for, unless that is checked.
    pub ats: bool,
    /// log2 of the entries of the command queue: what it can have, and fits a page.
    pub commands_log2: u32,
    /// Likewise, of the event queue.
    pub events_log2: u32,
}

impl Features {
    /// Reads them.
    ///
    /// # Errors
    /// If something is missing that Corevisor can't do without.
    pub fn read<M: Machine>(registers: &Registers<'_, M>) -> Result<Self, Trouble> {
        let idr0 = Idr0::from_bits_retain(registers.read(IDR0));
        let idr1 = registers.read(IDR1);
        let idr3 = Idr3::from_bits_retain(registers.read(IDR3));
        let idr5 = registers.read(IDR5);
        let preset = Idr1::from_bits_retain(idr1).intersects(Idr1::QUEUES_PRESET | Idr1::TABLES_PRESET);
        let log2_at_most = |shift: u32, bound: u32| ((idr1 >> shift & 0x1F) as u32).min(bound);
        let commands_log2 = log2_at_most(IDR1_CMDQS_SHIFT, COMMANDS_LOG2);
        let needs = [
            (idr0.contains(Idr0::S2P), "stage 2"),
            (idr0.contains(Idr0::AARCH64), "tables in AArch64's format"),
            // Tables and queues are written through the caches, and not cleaned.
            (idr0.contains(Idr0::COHACC), "coherent access to tables"),
            // An access that faults would wait for somebody to decide about it.
            (!idr0.contains(Idr0::STALL_FORCED), "way to end accesses that fault"),
            (!preset, "tables and queues in memory of our choice"),
            (commands_log2 >= MIN_COMMANDS_LOG2, "command queue of 16 entries"),
            (idr5 & IDR5_GRAN4K != 0, "pages of 4 KiB"),
        ];
        if let Some((_, what)) = needs.into_iter().find(|(there, _)| !there) {
            return Err(Trouble::Lacks(what));
        }
        let oas = (idr5 & IDR5_OAS).min(5);
        let address_bits = [32, 36, 40, 42, 44, 48][oas as usize];
        Ok(Self {
            address_bits,
            oas,
            stream_bits: (idr1 & IDR1_SIDSIZE).min(32) as u32,
            two_level: idr0.contains(Idr0::TWO_LEVEL),
            splits_blocks: idr3.contains(Idr3::BBML_2),
            ranges: idr3.contains(Idr3::RIL),
            hyp: idr0.contains(Idr0::HYP),
            ats: idr0.contains(Idr0::ATS),
            commands_log2,
            events_log2: log2_at_most(IDR1_EVENTQS_SHIFT, EVENTS_LOG2),
        })
    }
}
