// SPDX-License-Identifier: GPL-2.0-only
//! The host's commands to an ITS: copied, checked, passed on.
//!
//! A command that is refused is left out. To the host it looks done, so that nothing waits for it; the device that it is
//! about has no interrupts. That is also what becomes of a device with more than 4096 events, of one whose number lies
//! outside the parts of the device table that there is room for, and of those that are more than
//! [`super::holds::MAX_HOLDS`] has room for.
//!
//! Commands that do not fit are passed on when the host next looks how far the ITS is.

use super::Gic;
use super::holds::{Holds, MAX_ITT, Use};
use super::its::{Its, SLOTS};
use super::registers::{COMMAND, command, gits};
use crate::abi::stat;
use crate::addr::{Pa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;

/// Commands that are passed on at a time (G9).
const PORTION: usize = 64;
/// The words of a command.
type Command = [u64; (COMMAND / 8) as usize];

impl Its {
    /// Looks how far hardware is; a place that no command of ours has says nothing.
    pub(super) fn poll<M: Machine>(&mut self, machine: &M) -> u64 {
        let creadr = self.read(machine, gits::CREADR);
        let slot = ((creadr & gits::OFFSET) / COMMAND) as u32;
        let done = slot.wrapping_sub(self.queue.done) % SLOTS as u32;
        if slot < SLOTS as u32 && done <= self.queue.given.wrapping_sub(self.queue.done) {
            self.queue.done = self.queue.done.wrapping_add(done);
        }
        creadr & gits::STALLED
    }

    /// Where in our queue command number `number` is.
    fn slot(number: u32) -> usize {
        number as usize % SLOTS
    }

    /// Tells hardware how many commands there are.
    fn give<M: Machine>(&self, machine: &M, bits: u64) {
        self.write(machine, gits::CWRITER, (Self::slot(self.queue.given) as u64 * COMMAND) | bits);
    }

    /// Hardware has stopped at a command of the host's that is wrong, and is to go on.
    pub(super) fn retry<M: Machine>(&self, machine: &M) {
        self.give(machine, gits::RETRY);
    }

    /// One more command for hardware.
    fn push<M: Machine>(&mut self, machine: &M, words: Command) {
        let slot = Self::slot(self.queue.given);
        let at = self.queue.ours.as_u64() + slot as u64 * COMMAND;
        for (i, word) in words.into_iter().enumerate() {
            machine.pt_store(Pa::low_48(at + 8 * i as u64), word);
        }
        machine.sync_with_devices(Pa::low_48(at), COMMAND);
        self.queue.taken[slot] = (self.queue.reader / COMMAND) as u16;
        self.queue.given = self.queue.given.wrapping_add(1);
    }
}

impl<M: Machine> Corevisor<M> {
    /// What the host reads in CBASER, CWRITER or CREADR of ITS `n`. Locks S2PAGE.
    pub(super) fn read_queue(&self, gic: &mut Gic, n: usize, register: u64, held: &mut Held<'_, { rank::GIC }>) -> u64 {
        match register {
            gits::CBASER => gic.its[n].queue.cbaser,
            gits::CWRITER => gic.its[n].queue.writer,
            _ => {
                let stalled = self.pass_commands(gic, n, held);
                let queue = &gic.its[n].queue;
                let place = if queue.given == queue.done {
                    queue.reader
                } else {
                    u64::from(queue.taken[Its::slot(queue.done)]) * COMMAND
                };
                place | stalled
            }
        }
    }

    /// Passes commands on, as many as fit, if ITS `n` takes any. ITTs that it has given up are not in use any more. Returns
    /// whether it has stopped, as CREADR has it. Locks S2PAGE.
    pub(super) fn pass_commands(&self, gic: &mut Gic, n: usize, held: &mut Held<'_, { rank::GIC }>) -> u64 {
        let machine = self.machine();
        let Gic { its, holds } = gic;
        let its = &mut its[n];
        if !its.is_enabled(machine) {
            return 0;
        }
        let stalled = its.poll(machine);
        let done = its.queue.done;
        self.release(holds, held, |of| {
            matches!(of, Use::EndedItt(its, number) if usize::from(its) == n && done.wrapping_sub(number) as i32 > 0)
        });
        let Some(queue) = its.queue.hosts() else { return stalled };
        let before = its.queue.given;
        for _ in 0..PORTION {
            let waiting = its.queue.given.wrapping_sub(its.queue.done) as usize;
            if its.queue.reader == its.queue.writer || waiting >= SLOTS - 1 {
                break;
            }
            let mut words = Command::default();
            machine.shared_load_words(Pa::low_48(queue.start + its.queue.reader), &mut words);
            match self.check_command(its, holds, n, words, held) {
                Ok(words) => its.push(machine, words),
                Err(why) => {
                    self.count(stat::REFUSED_ACCESS);
                    machine.log_refusal(format_args!("ITS command refused: {why}; {words:#x?}"));
                }
            }
            its.queue.reader = (its.queue.reader + COMMAND) % queue.size();
        }
        if its.queue.given != before {
            its.give(machine, 0);
        }
        stalled
    }

    /// What hardware is given for a command of the host's. Locks S2PAGE.
    fn check_command(
        &self,
        its: &mut Its,
        holds: &mut Holds,
        n: usize,
        words: Command,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<Command, Refused> {
        use command::{CLEAR, DISCARD, INT, INV, INVALL, MAPC, MAPD, MAPI, MAPTI, MOVALL, MOVI, SYNC, VALID};
        let refused = Refused::ItsCommand(words[0] as u8);
        let may_name = |word: u64| {
            let at = word & command::RDBASE;
            its.typer & gits::PTA == 0 || self.gic_config().all_redistributors().any(|r| r == at)
        };
        match words[0] & 0xFF {
            MOVI | INT | CLEAR | MAPTI | MAPI | INV | INVALL | DISCARD => Ok(words),
            MAPC if words[2] & VALID == 0 || may_name(words[2]) => Ok(words),
            SYNC if may_name(words[2]) => Ok(words),
            MOVALL if may_name(words[2]) && may_name(words[3]) => Ok(words),
            MAPD => {
                let id = (words[0] >> 32) as u32;
                let (this, ended) = (Use::Itt(n as u8, id), Use::EndedItt(n as u8, its.queue.given));
                if words[2] & VALID == 0 {
                    its.reach_device(self.machine(), id)?;
                    holds.rename(this, ended);
                    return Ok([words[0], 0, 0, 0]);
                }
                let size = words[1] & command::SIZE;
                let bytes = gits::itt_entry_size(its.typer) << (size + 1);
                let itt = Range::new(words[2] & command::ITT, bytes);
                let fits = size < gits::event_bits(its.typer) && bytes <= MAX_ITT;
                let itt = itt.filter(|_| fits).ok_or(refused)?;
                its.reach_device(self.machine(), id)?;
                holds.rename(this, ended);
                self.hold(holds, itt, this, held).inspect_err(|_| holds.rename(ended, this))?;
                Ok([words[0], size, itt.start | VALID, 0])
            }
            _ => Err(refused),
        }
    }
}
