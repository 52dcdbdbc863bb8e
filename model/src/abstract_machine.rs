// SPDX-License-Identifier: GPL-2.0-only
//! Layer: AbstractMachine: the 139 primitives that the specification takes for granted.
//!
//! All are here, those too that do nothing in the model; `low` has the accessors' variants that also ask the barrier
//! automaton.

mod contexts;
mod environment;
mod mmio;
mod moves;
mod records;
mod synchronisation;
mod tables;

pub use contexts::*;
pub use environment::*;
pub use mmio::*;
pub use moves::*;
pub use records::*;
pub use synchronisation::*;
pub use tables::*;

/// Accessors that also need the barrier state *Valid* (`_spec0`).
pub mod low {
    pub use super::tables::low::*;
}
