// SPDX-License-Identifier: GPL-2.0-only
//! The SMMUs, as the host sees them: layers MmioRaw, MmioCoreAux, MmioCore, MmioOpsAux, MmioOps
//! (`spec/layers/07-mmio.md`, `spec/layers/10-abi-flows.md` §10.11).

mod banks;

pub use banks::{BANKS_PER_SMMU, ContextBank, MAX_SMMUS, SmmuBanks, SmmuConfig, SmmuIndex};
