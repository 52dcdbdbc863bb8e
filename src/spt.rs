// SPDX-License-Identifier: GPL-2.0-only
//! The SMMU's tables: layers MmioPTAlloc, MmioPTWalk, MmioSPTWalk, MmioSPTOps (`spec/layers/04-spt.md`).

/// The tables of all context banks; the object of lock SPT.
#[derive(Debug)]
pub struct Spts;

impl Spts {
    /// No tables yet.
    pub const fn new() -> Self {
        Self
    }
}
