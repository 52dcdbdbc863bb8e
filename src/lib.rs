// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor: a small trusted core at EL2 that carries an untrusted host at EL1.
//!
//! The library is all logic, generic over [`machine::Machine`], and builds on the developer's machine as well as for
//! the firmware. Modules carry the names of the specification's layers; functions cite its ids (`Spec: MM-1`).
//! Only [`mod@arch`] and the firmware binary need AArch64.

#![no_std]

#[cfg(feature = "sim")]
extern crate std;

extern crate alloc;

pub mod abi;
pub mod addr;
#[cfg(target_os = "none")]
pub mod arch;
pub mod corevisor;
pub mod dma_policy;
pub mod gic;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod mmio;
pub mod npt;
pub mod platform;
pub mod refused;
pub mod smmu3;
pub mod spt;
pub mod stats;
#[cfg(feature = "loom")]
pub mod sync;
#[cfg(not(feature = "loom"))]
mod sync;
pub mod trap;
pub mod vcpu;
pub mod vm;
#[cfg(test)]
mod world;

/// Most CPUs that are supported (specification: `TOTAL_CPU`, 8; the platform's number comes from the device tree).
pub const MAX_CPUS: usize = 64;
