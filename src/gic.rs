// SPDX-License-Identifier: GPL-2.0-only
//! The parts of a GICv3 that read and write memory: the host's ITSs, and the redistributors' tables of LPIs
//! (Arm IHI 0069). The specification does not know them.
//!
//! The host says by registers, and by commands, which memory they use. So the pages with these registers are withheld from
//! it and its accesses to them emulated:
//!
//! * an ITS's device and collection tables and its command queue are Corevisor's own memory ([`its`]). The host names
//!   memory of its own for them, as it would without Corevisor, which no device ever uses;
//! * its commands are copied from its queue, checked, and passed on ([`commands`]). An ITT, which a command names, is the
//!   host's memory;
//! * what the redistributors use is the host's memory ([`redistributor`]).
//!
//! All that memory must be the host's when it is named, and counts as in use as a mapping for DMA does ([`holds`]), so that
//! it does not become a VM's meanwhile. Interrupts themselves pass without Corevisor.

mod access;
mod commands;
mod holds;
mod its;
mod redistributor;
pub mod registers;
#[cfg(test)]
mod tests;
mod windows;

pub use its::ITS_PAGES;
pub use windows::{Config, MAX_ITS, MAX_REDISTRIBUTOR_REGIONS, Redistributors};

use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, Lock, rank};
use crate::machine::Machine;
use crate::npt::FramesLock;
use crate::refused::Refused;
use arrayvec::ArrayVec;
use holds::Holds;
use its::Its;

/// The object of lock GIC: what the host has told the interrupt controllers.
#[derive(Debug)]
pub struct Gic {
    its: ArrayVec<Its, MAX_ITS>,
    holds: Holds,
}

/// That object, with its lock.
pub type GicLock = Lock<Gic, { rank::GIC }>;

impl Gic {
    /// Before [`Self::start`].
    pub const NONE: Self = Self { its: ArrayVec::new_const(), holds: Holds::NONE };

    /// Takes the ITSs over: they are off, and use tables from `frames`.
    ///
    /// # Errors
    /// If `frames` is too small. An ITS that does not do as it is told is no error: it can't be used.
    pub(crate) fn start<M: Machine>(
        &mut self,
        machine: &M,
        config: &Config,
        frames: &FramesLock,
    ) -> Result<(), Refused> {
        for &window in &config.its {
            self.its.push(Its::new(machine, window, frames)?);
        }
        Ok(())
    }
}

impl<M: Machine> Corevisor<M> {
    fn acquire_lock_gic<'s, const OUTER: u8>(
        &'s self,
        outer: &'s mut Held<'_, OUTER>,
    ) -> (Guard<'s, Gic>, Held<'s, { rank::GIC }>) {
        self.gic().lock(outer)
    }

    /// For each ITS, whether it can be used. One that can't has not become quiet, or not taken tables or the queue
    /// that it was given.
    pub fn its_usable<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) -> ArrayVec<bool, MAX_ITS> {
        self.acquire_lock_gic(outer).0.its.iter().map(Its::is_usable).collect()
    }
}
