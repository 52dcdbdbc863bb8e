// SPDX-License-Identifier: GPL-2.0-only
//! Layer: AbstractMachine (`spec/layers/01-machine.md`): what the layers above ask of the hardware.
//!
//! The firmware's machine is `arch::machine::Hardware`; tests run the same layers on [`sim::SimMachine`].

#[cfg(feature = "sim")]
pub mod sim;

use crate::addr::{Ipa, Pa, Vmid};
use crate::memory::S2Page;

/// The primitives that touch hardware. All page-table addresses are of pages that the frame pool handed out, which
/// Corevisor owns and has mapped.
pub trait Machine {
    /// Storage of the ownership table.
    type Records: AsRef<[S2Page]> + AsMut<[S2Page]>;

    /// The CPU that runs this, below [`crate::MAX_CPUS`].
    fn cpu(&self) -> usize;

    /// Reads one 8-byte aligned descriptor (AM-28 `pt_load`).
    fn pt_load(&self, at: Pa) -> u64;

    /// Writes one 8-byte aligned descriptor with a single store (AM-29 `pt_store`; `spec/layers/12-wdrf.md` §12.4 d).
    fn pt_store(&self, at: Pa, descriptor: u64);

    /// Zeroes `pages` table pages from `table` on, not yet reachable by a walker.
    fn zero_tables(&self, table: Pa, pages: u64);

    /// Orders all descriptor writes so far before any walk that starts later (DSB ISHST, ISB).
    fn publish_tables(&self);

    /// Ends every cached translation of `ipa` in the stage-2 table of `v` rooted at `root`, on all CPUs, with the
    /// sequence of `spec/layers/12-wdrf.md` §12.6 steps 2 to 7. Complete on return.
    fn invalidate_ipa(&self, v: Vmid, root: Pa, ipa: Ipa);

    /// Calls the platform's firmware below us (SMCCC): function id and arguments in, x0 to x3 out.
    fn firmware_call(&self, args: [u64; 4]) -> [u64; 4];

    /// Where a CPU that the firmware starts for us must begin, and the context that leads it to CPU `index`.
    fn cpu_entry(&self, index: usize) -> (Pa, u64);

    /// Says one line about a refusal; the machine limits the rate.
    fn log_refusal(&self, line: core::fmt::Arguments<'_>);

    /// Provokes a fault of Corevisor's own ([`crate::abi::test_call::CRASH`]).
    #[cfg(feature = "semihosting")]
    fn crash(&self, kind: u64);
}
