// SPDX-License-Identifier: GPL-2.0-only
//! A step's arguments in the library's types. None where the types do not allow them.

use super::super::script::Arg;
use corevisor::addr::{Gfn, Ipa, Pa, Pfn, VcpuId, Vmid};
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::npt::Level;

/// The arguments.
pub struct Args<'a>(pub &'a [Arg]);

impl Args<'_> {
    /// A number.
    pub fn number(&self, i: usize) -> Option<u64> {
        match self.0.get(i)? {
            Arg::Number(n) => Some(*n),
            Arg::Name(_) => None,
        }
    }

    /// A principal.
    pub fn v(&self, i: usize) -> Option<Vmid> {
        Vmid::new(self.number(i)?)
    }

    /// A vCPU.
    pub fn vcpu(&self, i: usize) -> Option<VcpuId> {
        VcpuId::new(self.number(i)?)
    }

    /// A physical page.
    pub fn pfn(&self, i: usize) -> Option<Pfn> {
        Pfn::new(self.number(i)?)
    }

    /// A guest page.
    pub fn gfn(&self, i: usize) -> Option<Gfn> {
        Gfn::new(self.number(i)?)
    }

    /// A physical address.
    pub fn pa(&self, i: usize) -> Option<Pa> {
        Pa::new(self.number(i)?)
    }

    /// A guest address.
    pub fn ipa(&self, i: usize) -> Option<Ipa> {
        Ipa::new(self.number(i)?)
    }

    /// A level at which a leaf can be: 2 or 3.
    pub fn level(&self, i: usize) -> Option<Level> {
        match self.number(i)? {
            2 => Some(Level::L2),
            3 => Some(Level::L3),
            _ => None,
        }
    }

    /// A context bank.
    pub fn bank(&self, i: usize) -> Option<ContextBank> {
        ContextBank::new(self.number(i)?)
    }

    /// An SMMU.
    pub fn smmu(&self, i: usize) -> Option<SmmuIndex> {
        SmmuIndex::new(self.number(i)?)
    }
}
