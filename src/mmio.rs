// SPDX-License-Identifier: GPL-2.0-only
//! The SMMUs, as the host sees them: layers MmioRaw, MmioCoreAux, MmioCore, MmioOpsAux, MmioOps
//! (`spec/layers/07-mmio.md`, `spec/layers/10-abi-flows.md` §10.11), and MemHandler's call for them.

mod banks;
mod hardware;
mod mem_handler;
mod mmio_core;
mod mmio_core_aux;
mod mmio_ops;
mod mmio_ops_aux;
mod mmio_raw;
pub mod registers;
mod take_over;
#[cfg(test)]
mod tests;

pub use banks::{BANKS_PER_SMMU, ContextBank, Layout, MAX_SMMUS, SmmuBanks, SmmuConfig, SmmuIndex};
pub(crate) use hardware::FIRST_BANK_VMID;
pub use mmio_raw::smmu_init_pte;
pub use take_over::{Unusable, take_over};
