// SPDX-License-Identifier: GPL-2.0-only
//! What an SMMUv3 has ended, as it tells it in its event queue (IHI 0070, chapter 7).

use super::registers::{EVENTQ_CONS, EVENTQ_PROD, GERROR, GERRORN, Gerror, OVERFLOW, Registers};
use crate::addr::Pa;
use crate::machine::Machine;
use core::fmt;

/// log2 of the entries of a queue of one page.
pub const EVENTS_LOG2: u32 = 7;
/// Bytes of an event.
const EVENT_SIZE: u64 = 32;

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// What has happened (7.3).
    pub number: u8,
    /// The stream.
    pub stream: u32,
    /// The address that the device gave, in events that have one.
    pub address: Option<u64>,
    /// Whether it was a read, likewise.
    pub read: bool,
}

impl Event {
    /// The event of these four words.
    pub const fn new(words: [u64; 4]) -> Self {
        const READ: u64 = 1 << 35; // RnW
        let number = words[0] as u8;
        let has_address = matches!(number, 0x05 | 0x07 | 0x0B | 0x10..=0x13 | 0x20 | 0x24);
        Self {
            number,
            stream: (words[0] >> 32) as u32,
            address: if has_address { Some(words[2]) } else { None },
            read: words[1] & READ != 0,
        }
    }

    const fn reason(&self) -> &'static str {
        match self.number {
            0x02 => "no such stream",
            0x03 => "its entry can't be read",
            0x04 => "it may not access memory",
            0x05..=0x07 => "it may not do that",
            0x0B => "the table can't be read",
            0x10 => "nothing mapped there",
            0x11 => "beyond the addresses that there are",
            0x12 => "no access flag",
            0x13 => "no permission",
            0x20 => "contradicting translations",
            _ => "other",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {:#x}", self.stream)?;
        if let Some(address) = self.address {
            write!(f, " {} address {address:#x}", if self.read { "reads" } else { "writes" })?;
        }
        write!(f, ": {} (event {:#04x})", self.reason(), self.number)
    }
}

/// The event queue of an SMMUv3.
#[derive(Debug)]
pub struct EventQueue {
    base: Pa,
    log2: u32,
    /// Where the next event is read: an index, and one bit more, which changes at each wrap.
    cons: u32,
    /// EVENTQ_PROD.OVFLG as it was acknowledged last.
    overflow: u64,
}

impl EventQueue {
    /// The queue of `2^log2` entries at `base`, which the SMMU was told of, empty.
    pub const fn new(base: Pa, log2: u32) -> Self {
        Self { base, log2, cons: 0, overflow: 0 }
    }

    /// Takes the events that are there, no more than the queue has entries, and tells `record` of each; of `None`, if some
    /// were lost.
    pub fn drain<M: Machine>(&mut self, registers: &Registers<'_, M>, mut record: impl FnMut(Option<Event>)) {
        let mask = (2u32 << self.log2) - 1;
        let word = registers.read(EVENTQ_PROD);
        let prod = word as u32 & mask;
        if prod == self.cons && word & OVERFLOW == self.overflow {
            return;
        }
        // The events are read after that.
        registers.machine.publish_tables();
        for _ in 0..1u32 << self.log2 {
            if prod == self.cons {
                break;
            }
            let at = self.base.as_u64() + EVENT_SIZE * u64::from(self.cons & (mask >> 1));
            record(Some(Event::new([0, 8, 16, 24].map(|offset| registers.machine.pt_load(Pa::low_48(at + offset))))));
            self.cons = (self.cons + 1) & mask;
        }
        let lost = Gerror::from_bits_retain(registers.read(GERROR) ^ registers.read(GERRORN)) & Gerror::EVENTQ_ABT_ERR;
        if word & OVERFLOW != self.overflow || !lost.is_empty() {
            self.overflow = word & OVERFLOW;
            record(None);
        }
        registers.write(EVENTQ_CONS, u64::from(self.cons) | self.overflow);
        if !lost.is_empty() {
            registers.write(GERRORN, registers.read(GERRORN) ^ lost.bits());
        }
    }
}
