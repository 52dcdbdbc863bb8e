// SPDX-License-Identifier: GPL-2.0-only
//! How Corevisor comes to drive an SMMUv3 (IHI 0070, 6.3 and 3.11): it is closed, asked what it can do, given tables and
//! queues, and opened.

use super::commands::{Command, CommandQueue};
use super::events::EventQueue;
use super::features::{Features, Trouble};
use super::registers::{
    BASE_ALLOCATE, CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, CR1, CR1_WRITE_BACK, CR2, Cr0, Cr2, EVENTQ_BASE,
    EVENTQ_CONS, EVENTQ_PROD, GBPA, GERROR, GERRORN, Gbpa, IRQ_CTRL, IRQ_CTRLACK, Registers, STRTAB_BASE,
    STRTAB_BASE_CFG, WINDOW,
};
use super::ste::{Stage2, Ste};
use super::stream_table::{StreamTable, zeroed};
use super::streams::Streams;
use super::{Queues, Smmu3};
use crate::addr::{Pa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::npt::HOST_DMA_VMID;
use core::sync::atomic::Ordering;

/// How often a register is asked whether a change has come into effect.
const ATTEMPTS: u32 = 100_000;

/// Closes the SMMUv3 with the registers `window`: every access through it ends in an abort, whatever it did before. Returns
/// what it can do.
///
/// # Errors
/// If it does not answer, or lacks something; then it can't be driven.
pub fn close<M: Machine>(machine: &M, window: Range) -> Result<Features, Trouble> {
    if window.size() < WINDOW {
        return Err(Trouble::Window);
    }
    let registers = Registers { machine, window };
    let update_done = || wait(|| registers.read(GBPA) & Gbpa::UPDATE.bits() == 0).ok_or(Trouble::NoAnswer("GBPA"));
    update_done()?;
    registers.write(GBPA, registers.read(GBPA) | (Gbpa::ABORT | Gbpa::UPDATE).bits());
    update_done()?;
    if registers.read(GBPA) & Gbpa::ABORT.bits() == 0 {
        return Err(Trouble::NoAnswer("GBPA"));
    }
    enable(&registers, Cr0::empty())?;
    registers.write(IRQ_CTRL, 0);
    wait(|| registers.read(IRQ_CTRLACK) == 0).ok_or(Trouble::NoAnswer("IRQ_CTRL"))?;
    Features::read(&registers)
}

/// Has CR0 be `what`.
fn enable<M: Machine>(registers: &Registers<'_, M>, what: Cr0) -> Result<(), Trouble> {
    registers.write(CR0, what.bits());
    wait(|| registers.read(CR0ACK) == what.bits()).ok_or(Trouble::NoAnswer("CR0"))
}

/// Waits, a bounded time, until it is `done`.
fn wait(done: impl Fn() -> bool) -> Option<()> {
    (0..ATTEMPTS).any(|_| done()).then_some(())
}

impl Smmu3 {
    /// Opens it, which [`close`] has closed: the table that starts at `host`, for so many bits of address, translates for the
    /// streams that the device tree names; all others abort.
    ///
    /// # Errors
    /// If it does not answer, or there is no memory. Then it is closed. What it was told of is never used for anything else.
    fn open<M: Machine>(
        &self,
        core: &Corevisor<M>,
        host: Option<(Pa, u32)>,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<(), Trouble> {
        let (machine, frames) = (core.machine(), core.frames());
        let registers = self.registers(machine);
        let features = self.config.features?;
        let shape = (features.stream_bits, features.two_level);
        let mut streams =
            StreamTable::new(machine, frames, &self.config.streams, shape, outer).ok_or(Trouble::NoMemory)?;
        let host = host
            .map(|(root, ipa_bits)| Ste::translated(Stage2 { root, ipa_bits, vmid: HOST_DMA_VMID, oas: features.oas }));
        if let Some(ste) = host {
            streams.fill(machine, frames, &self.config.streams, ste, outer).ok_or(Trouble::NoMemory)?;
        }
        let mut page = || zeroed(machine, frames, 1, outer).ok_or(Trouble::NoMemory);
        let (commands, events) = (page()?, page()?);

        registers.write(CR1, CR1_WRITE_BACK);
        registers.write(CR2, (Cr2::RECINVSID | Cr2::PTM).bits());
        let (base, configuration) = streams.registers();
        registers.write_double(STRTAB_BASE, base);
        registers.write(STRTAB_BASE_CFG, configuration);
        let queue = |base: u64, log2: u32| base | BASE_ALLOCATE | u64::from(log2);
        registers.write_double(CMDQ_BASE, queue(commands.as_u64(), features.commands_log2));
        registers.write(CMDQ_PROD, 0);
        registers.write(CMDQ_CONS, 0);
        registers.write_double(EVENTQ_BASE, queue(events.as_u64(), features.events_log2));
        registers.write(EVENTQ_PROD, 0);
        registers.write(EVENTQ_CONS, 0);
        registers.write(GERRORN, registers.read(GERROR));

        let mut on = Cr0::CMDQEN;
        on.set(Cr0::ATSCHK, features.ats);
        let opened = (|| {
            enable(&registers, on)?;
            let mut commands = CommandQueue::new(commands, features.commands_log2);
            let el2 = features.hyp.then_some(Command::TLBI_EL2_ALL);
            let all = [Command::CFGI_ALL, Command::TLBI_NSNH_ALL].into_iter().chain(el2);
            commands.run(&registers, all).map_err(|_| Trouble::NoCommands)?;
            enable(&registers, on | Cr0::EVENTQEN)?;
            enable(&registers, on | Cr0::EVENTQEN | Cr0::SMMUEN)?;
            Ok(commands)
        })();
        match opened {
            Ok(commands) => {
                let events = EventQueue::new(events, features.events_log2);
                *self.streams.lock(outer).0 = Some(Streams::new(streams, host));
                *self.queues.lock(outer).0 = Ok(Queues { commands, events });
                self.driven.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(why) => {
                let _ = enable(&registers, Cr0::empty()); // GBPA aborts
                Err(why)
            }
        }
    }
}

impl<M: Machine> Corevisor<M> {
    /// Opens the SMMUv3s, once, before the host runs: streams that the device tree names are translated by the host's DMA
    /// table, if there is one. What became of each is for [`Smmu3::trouble`] to say.
    pub fn open_smmu3s(&self) {
        let host = self.host_dma_root();
        for smmu in self.smmu3s() {
            if let Err(why) = smmu.open(self, host, &mut Held::nothing()) {
                *smmu.queues.lock(&mut Held::nothing()).0 = Err(why);
            }
        }
    }
}
