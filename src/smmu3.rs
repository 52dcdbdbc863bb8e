// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv3s (Arm IHI 0070). Corevisor drives them: the stream table and the queues are its own, and a stream that it has not
//! attached to a table of its own aborts.
//!
//! The specification knows SMMUv2s only, whose registers the host writes, through [`crate::mmio`]. An SMMUv3's registers no
//! host reaches; what a device gets to is for the host's DMA table, or for the table of a context bank, to say.

mod commands;
mod events;
mod features;
mod registers;

pub use commands::Command;
pub use events::Event;
pub use features::{Features, Trouble};

use crate::addr::{Ipa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, Lock, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use commands::{CommandQueue, invalidation};
use core::sync::atomic::{AtomicU64, Ordering};
use events::EventQueue;
use registers::Registers;

/// SMMUv3s that are supported.
pub const MAX_SMMU3S: usize = 2;

/// What there is to know of an SMMUv3; constant after boot.
#[derive(Clone, Debug)]
pub struct Smmu3Config {
    /// Its registers.
    pub window: Range,
    /// What it can do.
    pub features: Features,
}

/// An SMMUv3.
#[derive(Debug)]
pub struct Smmu3 {
    config: Smmu3Config,
    /// Its queues, while it is driven.
    queues: Lock<Option<Queues>, { rank::QUEUES }>,
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
        Self { config, queues: Lock::new(None), events: AtomicU64::new(0) }
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
        let Some(queues) = &mut *queues else { return Ok(()) };
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
            smmu.run(self.machine(), invalidation(vmid, part, smmu.config.features.ranges), outer)?;
        }
        Ok(())
    }

    /// Takes the events that SMMUv3s have recorded, up to a bound, logs them and counts them.
    pub fn drain_dma_events<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) {
        for smmu in self.smmu3s() {
            let (mut queues, _held) = smmu.queues.lock(outer);
            if let Some(queues) = &mut *queues {
                smmu.drain(&smmu.registers(self.machine()), &mut queues.events);
            }
        }
    }

    /// How many they have recorded, as far as they were taken.
    pub fn dma_events(&self) -> u64 {
        self.smmu3s().iter().map(|smmu| smmu.events.load(Ordering::Relaxed)).sum()
    }
}
