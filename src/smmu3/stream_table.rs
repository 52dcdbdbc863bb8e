// SPDX-License-Identifier: GPL-2.0-only
//! The stream table of an SMMUv3 (IHI 0070, 3.3 and 5.1).
//!
//! It is as long as the streams that the device tree names ask for; those beyond are aborted as those that nothing is said of.
//! Of two levels if the SMMU has that: then the streams of a PCI host, all of which are the host's at first, share one table
//! of the second level, and one that is to be treated differently gets its 256 neighbours and itself a copy.

use super::commands::Command;
use super::registers::{BASE_ALLOCATE, Registers, STRTAB_SPLIT_SHIFT, STRTAB_TWO_LEVEL};
use super::ste::{STE_SIZE, Ste};
use crate::addr::{COREVISOR, PAGE_SIZE, Pa};
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::FramesLock;
use crate::platform::smmus::StreamRange;
use crate::refused::Refused;

/// log2 of the streams of one table of the second level.
const SPLIT: u32 = 8;
/// Streams of one.
const SPAN: u32 = 1 << SPLIT;
/// Pages of one.
const SECOND_PAGES: u64 = SPAN as u64 * STE_SIZE / PAGE_SIZE;
/// Largest log2 of the streams of a table of two levels: its first level has 8 pages.
const MAX_LOG2: u32 = 20;
/// Largest log2 of those of a table of one level: 16 pages.
const MAX_LINEAR_LOG2: u32 = 10;
/// Table pages that an SMMUv3's tables and queues are reckoned with: a page for each queue, up to 16 for the stream table's
/// first level, a shared one of the second, and some copies.
pub const FRAME_PAGES: u64 = 2 + 16 + SECOND_PAGES + 6 * SECOND_PAGES;

/// A stream table. Streams below `2^log2` have entries.
#[derive(Debug)]
pub struct StreamTable {
    base: Pa,
    log2: u32,
    two_level: bool,
    /// The table of the second level that all streams share that are the host's, with all of their neighbours.
    shared: Option<Pa>,
}

impl StreamTable {
    /// A table in which every stream aborts, long enough for `streams` if an SMMU of streams of `stream_bits` bits has that.
    /// `None` if there is no memory.
    pub fn new<M: Machine, const OUTER: u8>(
        machine: &M,
        frames: &FramesLock,
        streams: &[StreamRange],
        (stream_bits, two_level): (u32, bool),
        outer: &mut Held<'_, OUTER>,
    ) -> Option<Self> {
        let last = streams.iter().map(|range| range.first + (range.count - 1)).max().unwrap_or(0);
        let needed = u32::BITS - last.leading_zeros();
        let two_level = two_level && stream_bits > SPLIT;
        let bound = if two_level { MAX_LOG2 } else { MAX_LINEAR_LOG2 };
        let log2 = needed.max(if two_level { SPLIT } else { 0 }).min(stream_bits).min(bound);
        let bytes = if two_level { 8 << (log2 - SPLIT) } else { STE_SIZE << log2 };
        let base = zeroed(machine, frames, bytes.div_ceil(PAGE_SIZE), outer)?;
        Some(Self { base, log2, two_level, shared: None })
    }

    /// STRTAB_BASE and STRTAB_BASE_CFG.
    pub fn registers(&self) -> (u64, u64) {
        let format = if self.two_level { STRTAB_TWO_LEVEL | u64::from(SPLIT) << STRTAB_SPLIT_SHIFT } else { 0 };
        (self.base.as_u64() | BASE_ALLOCATE, format | u64::from(self.log2))
    }

    /// How many streams, from 0 on, can have an entry.
    pub fn reach(&self) -> u64 {
        1 << self.log2
    }

    /// Gives all of `streams` that it reaches the entry `ste`. For use before an SMMU is told of the table.
    pub fn fill<M: Machine, const OUTER: u8>(
        &mut self,
        machine: &M,
        frames: &FramesLock,
        streams: &[StreamRange],
        ste: Ste,
        outer: &mut Held<'_, OUTER>,
    ) -> Option<()> {
        for range in streams {
            let end = (u64::from(range.first) + u64::from(range.count)).min(self.reach());
            let mut stream = u64::from(range.first);
            while stream < end {
                let next = ((stream >> SPLIT) + 1) << SPLIT;
                let whole = stream.is_multiple_of(SPAN.into()) && next <= end;
                match self.entry(machine, stream as u32) {
                    None if whole => self.share(machine, frames, stream as u32, ste, outer)?,
                    None => self.own_second(machine, frames, stream as u32, outer)?,
                    Some(_) => {}
                }
                for stream in stream..next.min(end) {
                    if let Some(Entry { at, shared: false }) = self.entry(machine, stream as u32) {
                        ste.store(machine, at);
                    }
                }
                stream = next;
            }
        }
        machine.publish_tables();
        Some(())
    }

    /// What the entry of `stream`, which it reaches, says.
    pub fn get<M: Machine>(&self, machine: &M, stream: u32) -> Ste {
        self.entry(machine, stream).map_or(Ste::ABORT, |entry| Ste::load(machine, entry.at))
    }

    /// Gives `stream`, which it reaches, the entry `ste`. On return the SMMU uses no other. `run` has it carry commands out.
    ///
    /// # Errors
    /// Those of `run`, and if there is no memory for a copy. Then the entry is what it was; or it is `ste`, but not in use,
    /// which the SMMU may or may not know: it ends with [`Ste::ABORT`], when that is confirmed.
    pub fn set<M: Machine, const HELD: u8>(
        &mut self,
        registers: &Registers<'_, M>,
        frames: &FramesLock,
        stream: u32,
        ste: Ste,
        held: &mut Held<'_, HELD>,
        mut run: impl FnMut(Command, &mut Held<'_, HELD>) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let machine = registers.machine;
        let old = self.get(machine, stream);
        if old == ste {
            return Ok(());
        }
        let at = match self.entry(machine, stream) {
            Some(Entry { at, shared: false }) => at,
            _ => {
                self.own_second(machine, frames, stream, held).ok_or(Refused::NoTables(COREVISOR))?;
                machine.publish_tables();
                // It says what the shared one says, or nothing: either may be used until now.
                run(Command::CFGI_ALL, held)?;
                self.entry(machine, stream).ok_or(Refused::NoTables(COREVISOR))?.at
            }
        };
        if old != Ste::ABORT {
            machine.pt_store(at, old.0[0] & !Ste::VALID);
            machine.publish_tables();
            if let Err(why) = run(Command::cfgi_ste(stream), held) {
                machine.pt_store(at, old.0[0]);
                machine.publish_tables();
                return Err(why);
            }
        }
        if !ste.is_valid() {
            ste.store(machine, at);
            machine.publish_tables();
            return Ok(());
        }
        ste.store_in_use(registers, at);
        machine.publish_tables();
        if let Err(why) = run(Command::cfgi_ste(stream), held) {
            machine.pt_store(at, ste.0[0] & !Ste::VALID);
            machine.publish_tables();
            return Err(why);
        }
        Ok(())
    }

    /// Where the entry of `stream` is, if there is one.
    fn entry<M: Machine>(&self, machine: &M, stream: u32) -> Option<Entry> {
        if !self.two_level {
            return Some(Entry { at: nth(self.base, stream.into(), STE_SIZE), shared: false });
        }
        let second = Pa::low_48(machine.pt_load(self.descriptor(stream)) & L2PTR);
        let shared = self.shared == Some(second);
        (second.as_u64() != 0).then(|| Entry { at: nth(second, (stream % SPAN).into(), STE_SIZE), shared })
    }

    /// Where the descriptor of the first level is for `stream`.
    fn descriptor(&self, stream: u32) -> Pa {
        nth(self.base, (stream >> SPLIT).into(), 8)
    }

    fn link<M: Machine>(&self, machine: &M, stream: u32, second: Pa) {
        machine.pt_store(self.descriptor(stream), second.as_u64() | L1_SPAN);
    }

    /// `stream` and its neighbours get the shared table of the second level, all of whose entries are `ste`.
    fn share<M: Machine, const OUTER: u8>(
        &mut self,
        machine: &M,
        frames: &FramesLock,
        stream: u32,
        ste: Ste,
        outer: &mut Held<'_, OUTER>,
    ) -> Option<()> {
        let shared = match self.shared {
            Some(shared) => shared,
            None => {
                let shared = zeroed(machine, frames, SECOND_PAGES, outer)?;
                (0..SPAN).for_each(|n| ste.store(machine, nth(shared, n.into(), STE_SIZE)));
                machine.publish_tables();
                shared
            }
        };
        self.shared = Some(shared);
        self.link(machine, stream, shared);
        Some(())
    }

    /// `stream` and its neighbours get a table of the second level of their own, which says what it said so far of them.
    fn own_second<M: Machine, const OUTER: u8>(
        &mut self,
        machine: &M,
        frames: &FramesLock,
        stream: u32,
        outer: &mut Held<'_, OUTER>,
    ) -> Option<()> {
        let first = stream & !(SPAN - 1);
        let own = zeroed(machine, frames, SECOND_PAGES, outer)?;
        for n in 0..SPAN {
            self.get(machine, first + n).store(machine, nth(own, n.into(), STE_SIZE));
        }
        machine.publish_tables();
        self.link(machine, stream, own);
        Some(())
    }
}

/// An entry's place.
struct Entry {
    at: Pa,
    /// Whether other streams have it, too.
    shared: bool,
}

/// L2Ptr of a descriptor of the first level.
const L2PTR: u64 = ((1 << 48) - 1) & !0x3F;
/// Span of one: a whole table of the second level.
const L1_SPAN: u64 = SPLIT as u64 + 1;

fn nth(table: Pa, n: u64, size: u64) -> Pa {
    Pa::low_48(table.as_u64() + n * size)
}

/// `pages` zeroed pages, aligned as a table of that size has to be.
pub fn zeroed<M: Machine, const OUTER: u8>(
    machine: &M,
    frames: &FramesLock,
    pages: u64,
    outer: &mut Held<'_, OUTER>,
) -> Option<Pa> {
    let at = frames.lock(outer).0.allocate_for(COREVISOR, pages)?;
    machine.zero_tables(at, pages);
    machine.publish_tables();
    Some(at)
}
