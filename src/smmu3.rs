// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv3s (Arm IHI 0070). Corevisor drives them: the stream table and the queues are its own, and a stream that it has not
//! attached to a table of its own aborts.
//!
//! The specification knows SMMUv2s only, whose registers the host writes, through [`crate::mmio`]. An SMMUv3's registers no
//! host reaches; what a device gets to is for the host's DMA table, or for the table of a context bank, to say.

mod commands;
mod events;
mod features;
pub mod registers;
mod ste;
mod stream_table;
mod streams;
mod take_over;
#[cfg(test)]
mod tests;

pub use commands::Command;
pub use commands::opcode;
pub use events::Event;
pub use features::{Features, Trouble};
pub use ste::{Stage2, Ste};
pub use stream_table::FRAME_PAGES;
pub(crate) use streams::Bank;
pub use streams::{MAX_BANK_STREAMS, Streams};
pub use take_over::close;

use crate::addr::{Ipa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, Lock, rank};
use crate::machine::Machine;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::platform::smmus::{MAX_STREAM_RANGES, StreamRange};
use crate::refused::Refused;
use crate::spt::IOVA_BITS;
use arrayvec::ArrayVec;
use commands::{CommandQueue, invalidation};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use events::EventQueue;
use registers::Registers;

/// SMMUv3s that are supported.
pub const MAX_SMMU3S: usize = 2;

/// What there is to know of an SMMUv3; constant after boot.
#[derive(Clone, Debug)]
pub struct Smmu3Config {
    /// Its registers.
    pub window: Range,
    /// What it can do, or why it can't be driven, as [`close`] has found.
    pub features: Result<Features, Trouble>,
    /// The streams that the device tree names, of the host's devices.
    pub streams: ArrayVec<StreamRange, MAX_STREAM_RANGES>,
}

/// An SMMUv3.
#[derive(Debug)]
pub struct Smmu3 {
    config: Smmu3Config,
    /// Whether it is driven. Constant while the host runs.
    driven: AtomicBool,
    /// Its stream table, if it is.
    streams: Lock<Option<Streams>, { rank::STREAMS }>,
    /// Its queues, or why it is not driven.
    queues: Lock<Result<Queues, Trouble>, { rank::QUEUES }>,
    /// Events that it has recorded.
    events: AtomicU64,
}

/// The queues of an SMMUv3.
#[derive(Debug)]
struct Queues {
    commands: CommandQueue,
    events: EventQueue,
}

impl Smmu3 {
    /// The SMMUv3 that `config` describes. It is not driven yet.
    pub fn new(config: Smmu3Config) -> Self {
        let queues = Lock::new(Err(config.features.err().unwrap_or(Trouble::Closed)));
        Self { config, driven: AtomicBool::new(false), streams: Lock::new(None), queues, events: AtomicU64::new(0) }
    }

    /// What there is to know of it.
    pub fn config(&self) -> &Smmu3Config {
        &self.config
    }

    /// Why it is not driven; `None` if it is.
    pub fn trouble<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) -> Option<Trouble> {
        self.queues.lock(outer).0.as_ref().err().copied()
    }

    /// How many streams the device tree names that its stream table has no room for: they abort.
    pub fn streams_out_of_reach<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) -> u64 {
        let (streams, _held) = self.streams.lock(outer);
        let reach = streams.as_ref().map_or(0, Streams::reach);
        let beyond = |range: &StreamRange| {
            let end = u64::from(range.first) + u64::from(range.count);
            end.saturating_sub(reach.max(range.first.into()))
        };
        self.config.streams.iter().map(beyond).sum()
    }

    /// Whether it is driven.
    pub fn is_driven(&self) -> bool {
        self.driven.load(Ordering::Relaxed)
    }

    fn registers<'m, M: Machine>(&self, machine: &'m M) -> Registers<'m, M> {
        Registers { machine, window: self.config.window }
    }

    /// Has it carry out `commands`; then takes the events that there are. Nothing happens if it is not driven: its streams
    /// abort.
    fn run<M: Machine, const OUTER: u8>(
        &self,
        machine: &M,
        commands: impl IntoIterator<Item = Command>,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut queues, _held) = self.queues.lock(outer);
        let Ok(queues) = &mut *queues else { return Ok(()) };
        let registers = self.registers(machine);
        let done = queues.commands.run(&registers, commands);
        self.drain(&registers, &mut queues.events);
        done
    }

    fn drain<M: Machine>(&self, registers: &Registers<'_, M>, events: &mut EventQueue) {
        let start = self.config.window.start;
        events.drain(registers, |event| {
            self.events.fetch_add(1, Ordering::Relaxed);
            match event {
                Some(event) => registers.machine.log_refusal(format_args!("SMMU at {start:#x}: {event}")),
                None => registers.machine.log_refusal(format_args!("SMMU at {start:#x}: events were lost")),
            }
        });
    }
}

impl<M: Machine> Corevisor<M> {
    /// Ends the translations of `vmid`: of the whole pages from the address on, so many bytes, or of all. On return no device
    /// behind an SMMUv3 uses any more what was taken from the table before, and none of their accesses is under way.
    ///
    /// # Errors
    /// [`Refused::SmmuStuck`] if one does not come to that in time.
    pub fn end_dma<const OUTER: u8>(
        &self,
        vmid: u16,
        part: Option<(Ipa, u64)>,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        for smmu in self.smmu3s() {
            let ranges = smmu.config.features.is_ok_and(|features| features.ranges);
            smmu.run(self.machine(), invalidation(vmid, part, ranges), outer)?;
        }
        Ok(())
    }

    /// SMMU `k`, if it is an SMMUv3: those are counted after all SMMUv2s.
    pub(crate) fn smmu3(&self, k: SmmuIndex) -> Option<&Smmu3> {
        self.smmu3s().get(k.index().checked_sub(self.smmus().len())?)
    }

    /// The same, if it is driven.
    fn driven_smmu3(&self, k: SmmuIndex) -> Result<&Smmu3, Refused> {
        let smmu = self.smmu3(k).ok_or(Refused::Bank)?;
        if smmu.is_driven() { Ok(smmu) } else { Err(Refused::Unavailable) }
    }

    /// Bank `b` of SMMU `k`, if that is an SMMUv3. There are none if a bank's addresses are more than it can put out: an
    /// entry of the stream table that has them would not be one.
    pub(crate) fn smmu3_bank(&self, b: ContextBank, k: SmmuIndex) -> Option<Result<Bank<'_, M>, Refused>> {
        let smmu = self.smmu3(k)?;
        let wide = smmu.config.features.is_ok_and(|features| features.address_bits >= IOVA_BITS);
        let bank = Bank { machine: self.machine(), smmu, b };
        Some(if smmu.is_driven() && wide { Ok(bank) } else { Err(Refused::Unavailable) })
    }

    /// Takes the events that SMMUv3s have recorded, logs them and counts them.
    pub fn drain_dma_events<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) {
        for smmu in self.smmu3s() {
            let (mut queues, _held) = smmu.queues.lock(outer);
            if let Ok(queues) = &mut *queues {
                smmu.drain(&smmu.registers(self.machine()), &mut queues.events);
            }
        }
    }

    /// How many they have recorded, as far as they were taken.
    pub fn dma_events(&self) -> u64 {
        self.smmu3s().iter().map(|smmu| smmu.events.load(Ordering::Relaxed)).sum()
    }
}
