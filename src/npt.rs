// SPDX-License-Identifier: GPL-2.0-only
//! Stage-2 tables of the host and of VMs: layers PTAlloc, PTWalk, NPTWalk, NPTOps (`spec/layers/03-npt.md`).
//!
//! A table has the specification's four levels in memory. Where the hardware's walk starts at level 1 (input addresses
//! of at most 42 bits) the level-1 tables are contiguous and the hardware is given the first of them: the level-0 page
//! is then ours alone.

mod desc;
mod frames;
mod host_dma;
mod host_fill;
mod lifetime;
mod npt_ops;
mod npt_walk;
mod pt_alloc;
mod pt_walk;
#[cfg(test)]
mod tests;

pub use desc::{Bits as DescBits, Desc, Level, PAGE_GUEST, PAGE_HYP, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
pub use frames::{FramePool, FramesLock, Tables};
pub use host_dma::{HOST_DMA_VMID, HostDma, MAX_DOORBELLS};
pub use npt_walk::Mapping;
pub use pt_walk::Alloc;

use crate::addr::{PGD_SIZE, Pa, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use crate::stats::Stats;
use core::ops::{Deref, DerefMut};

/// Widest input address of a stage-2 table whose hardware walk starts at level 1: 16 concatenated tables would allow
/// 43 bits, but no physical address size lies between 42 and 44.
const LEVEL_1_START_BITS: u32 = 42;

/// How many table pages a principal may use, and does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quota {
    /// Pages in use.
    pub used: u64,
    /// Pages allowed.
    pub limit: u64,
}

/// The stage-2 table of one principal; the object of lock PT(v).
#[derive(Debug)]
pub struct Npt {
    vmid: Vmid,
    /// The level-0 page.
    root: Pa,
    /// What VTTBR_EL2 holds: the level-0 page, or the first level-1 page.
    hw_root: Pa,
    /// log2 of the input address space.
    ipa_bits: u32,
    /// All table pages: never exceeded by mappings of RAM, for which every page was reserved at boot.
    total: Quota,
    /// Those of `total` that device mappings may take.
    device: Quota,
}

impl Npt {
    /// The table that the hardware starts at, for VTTBR_EL2.BADDR (AM-30 `get_pt_vttbr`).
    pub fn hw_root(&self) -> Pa {
        self.hw_root
    }

    /// Pages that hold the hardware's first level: 1, or the concatenated level-1 tables.
    pub fn hw_root_pages(&self) -> u64 {
        if self.hw_root == self.root { 1 } else { (1u64 << self.ipa_bits).div_ceil(PGD_SIZE) }
    }

    /// Table pages in use, the root and fixed level-1 pages included.
    pub fn pages(&self) -> u64 {
        let fixed = if self.hw_root == self.root { 1 } else { 1 + self.hw_root_pages() };
        fixed + self.total.used
    }
}

/// A table that exists, with its lock held.
struct PtGuard<'s>(Guard<'s, Option<Npt>>);

impl<'s> PtGuard<'s> {
    fn new(guard: Guard<'s, Option<Npt>>) -> Option<Self> {
        guard.is_some().then_some(Self(guard))
    }
}

impl Deref for PtGuard<'_> {
    type Target = Npt;

    fn deref(&self) -> &Npt {
        self.0.as_ref().unwrap_or_else(|| unreachable!("checked when it was made"))
    }
}

impl DerefMut for PtGuard<'_> {
    fn deref_mut(&mut self) -> &mut Npt {
        self.0.as_mut().unwrap_or_else(|| unreachable!("checked when it was made"))
    }
}

/// Who walks a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Walker {
    /// CPUs: what a walk misses can be put right, and is tried again.
    Cpu,
    /// SMMUs: what a walk misses is lost.
    Smmu,
}

/// The critical section of PT(v) (LK-1 … LK-7): all walks and updates of one table
/// happen in here.
pub struct PtSection<'s, M: Machine> {
    machine: &'s M,
    walker: Walker,
    stats: &'s Stats,
    frames: &'s FramesLock,
    npt: PtGuard<'s>,
    held: Held<'s, { rank::PT }>,
    /// Table pages set aside for the walk that is to come.
    spare: Tables,
    /// Whether new tables count against the device quota.
    for_device: bool,
    /// The specification's `tstate`: whether a leaf was written. One leaf a section, `spec/SPEC.md` §0.8.
    leaf_written: bool,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: LK-1. Enters the critical section of `v`'s table; [`PtSection::release_lock_pt`], or the section's drop,
    /// leaves it.
    ///
    /// # Errors
    /// If `v` is a VM that does not exist.
    pub fn acquire_lock_pt<'s, const OUTER: u8>(
        &'s self,
        v: Vmid,
        outer: &'s mut Held<'_, OUTER>,
    ) -> Result<PtSection<'s, M>, Refused> {
        let (npt, held) = self.npt(v).lock(outer);
        self.section(npt, held, Walker::Cpu).ok_or(Refused::NoTable(v))
    }

    /// The critical section of a table, if it exists.
    fn section<'s>(
        &'s self,
        npt: Guard<'s, Option<Npt>>,
        held: Held<'s, { rank::PT }>,
        walker: Walker,
    ) -> Option<PtSection<'s, M>> {
        Some(PtSection {
            machine: self.machine(),
            walker,
            stats: self.stats(),
            frames: self.frames(),
            npt: PtGuard::new(npt)?,
            held,
            spare: Tables::new(),
            for_device: false,
            leaf_written: false,
        })
    }
}

impl<M: Machine> PtSection<'_, M> {
    /// Spec: LK-7. Leaves the critical section.
    pub fn release_lock_pt(self) {
        drop(self);
    }
}
