// SPDX-License-Identifier: GPL-2.0-only
//! The one instance that holds all state (`DESIGN.md` §3), and how it comes to be.

use crate::abi::stat;
use crate::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, PGD_SIZE, PMD_SIZE, PUD_SIZE, Pa, Range, Vmid};
use crate::lock::{Held, Lock, rank};
use crate::machine::Machine;
use crate::memory::{Count, MAX_REGIONS, MemRegions, S2Page};
use crate::npt::{FramePool, FramesLock, Npt};
use crate::refused::Refused;
use crate::stats::Stats;
use crate::trap::HostCpus;
use arrayvec::ArrayVec;

/// Table pages that the host's device mappings may take, besides those for its RAM: level-3 tables where devices lie
/// next to RAM or to withheld registers, level-2 tables for the gigabytes that hold devices.
const DEVICE_TABLES: u64 = 256;
/// Most ranges that can be withheld from the host.
pub const MAX_WITHHELD: usize = 16;
/// Most ranges that Corevisor owns at boot: its image and the carve-out.
pub const MAX_OWNED: usize = 2;

/// What boot has found and decided; the input of [`Corevisor::new`].
pub struct Config {
    /// RAM, and untracked memory in it.
    pub regions: MemRegions,
    /// Ranges of RAM that are Corevisor's: whole pages.
    pub owned: ArrayVec<Range, MAX_OWNED>,
    /// Device registers that the host may not reach: whole pages.
    pub withheld: ArrayVec<Range, MAX_WITHHELD>,
    /// log2 of the stage-2 input address space.
    pub ipa_bits: u32,
    /// The CPUs that the host may use.
    pub cpus: HostCpus,
}

/// All state of the hypervisor, over a machine.
pub struct Corevisor<M: Machine> {
    machine: M,
    stats: Stats,
    regions: MemRegions,
    withheld: ArrayVec<Range, MAX_WITHHELD>,
    ipa_bits: u32,
    cpus: HostCpus,
    frames: FramesLock,
    s2page: Lock<M::Records, { rank::S2PAGE }>,
    /// PT(0). The tables of VMs will stand beside it.
    host_npt: Lock<Npt, { rank::PT }>,
    owned_pages: u64,
}

/// Table pages to reserve for the host, so that splitting every block of its RAM down to pages can't fail:
/// one level-3 table for each 2 MiB and one level-2 table for each GiB that RAM touches, a level-1 table for each
/// 512 GiB, and [`DEVICE_TABLES`].
pub fn host_table_pages(regions: &MemRegions) -> u64 {
    let touched = |unit: u64| -> u64 { regions.tracked().map(|r| r.align_out(unit).size() / unit).sum() };
    touched(PMD_SIZE) + touched(PUD_SIZE) + touched(PGD_SIZE) + DEVICE_TABLES
}

/// Pages of the root and the fixed level-1 tables, rounded up as the buddy allocator does.
pub const FIXED_TABLE_PAGES: u64 = 1 + 16;

impl<M: Machine> Corevisor<M> {
    /// Sets up the ownership table in `records` (one for each tracked page) and the host's table, with frames of `pool`:
    /// all RAM is the host's and mapped, except what `config.owned` names.
    ///
    /// # Errors
    /// If `pool` or `records` is too small, or RAM lies beyond `ipa_bits`.
    pub fn new(machine: M, config: Config, mut records: M::Records, pool: FramePool) -> Result<Self, Refused> {
        let Config { regions, owned, withheld, ipa_bits, cpus } = config;
        fill_records(&regions, &owned, records.as_mut())?;
        let frames = FramesLock::new(pool);
        let limit = host_table_pages(&regions);
        let npt = Npt::new(&machine, &frames, HOSTVISOR, ipa_bits, limit, DEVICE_TABLES)?;
        let this = Self {
            machine,
            stats: Stats::new(),
            regions,
            withheld,
            ipa_bits,
            cpus,
            frames,
            s2page: Lock::new(records),
            host_npt: Lock::new(npt),
            owned_pages: owned.iter().map(|r| r.size() / PAGE_SIZE).sum(),
        };
        let mut nothing = Held::nothing();
        let mut pt = this.acquire_lock_pt(HOSTVISOR, &mut nothing)?;
        for range in host_ranges(&this.regions, &owned) {
            pt.fill_host(range)?;
        }
        drop(pt);
        Ok(this)
    }

    /// The hardware, or its simulation.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The memory regions.
    pub fn regions(&self) -> &MemRegions {
        &self.regions
    }

    /// The host's CPUs.
    pub fn cpus(&self) -> &HostCpus {
        &self.cpus
    }

    /// Whether a page of `range` is withheld from the host.
    pub fn is_withheld(&self, range: Range) -> bool {
        self.withheld.iter().any(|w| w.overlaps(range))
    }

    /// log2 of the stage-2 input address space.
    pub fn ipa_bits(&self) -> u32 {
        self.ipa_bits
    }

    /// Whether a stage-2 table can translate `ipa`.
    pub fn in_reach(&self, ipa: Ipa) -> bool {
        ipa.as_u64() >> self.ipa_bits == 0
    }

    /// Adds one to a counter of this CPU.
    pub fn count(&self, counter: u64) {
        self.stats.count(self.machine.cpu(), counter);
    }

    /// The value of counter `id` of STATS.
    pub fn stat<const OUTER: u8>(&self, id: u64, outer: &mut Held<'_, OUTER>) -> Result<u64, Refused> {
        match id {
            id if id < stat::COUNTERS as u64 => Ok(self.stats.sum(id)),
            stat::RAM_PAGES => Ok(self.regions.pages()),
            stat::COREVISOR_PAGES => Ok(self.owned_pages),
            stat::HOST_TABLE_PAGES => Ok(self.host_npt.lock(outer).0.pages()),
            stat::CPUS_ON => Ok(self.cpus.on() as u64),
            _ => Err(Refused::Argument(1)),
        }
    }

    pub(crate) fn frames(&self) -> &FramesLock {
        &self.frames
    }

    pub(crate) fn s2page(&self) -> &Lock<M::Records, { rank::S2PAGE }> {
        &self.s2page
    }

    /// The table of `v`: the host's only, as yet.
    pub(crate) fn npt(&self, v: Vmid) -> Option<&Lock<Npt, { rank::PT }>> {
        (v == HOSTVISOR).then_some(&self.host_npt)
    }

    /// The host's table as the hardware knows it: its address for VTTBR_EL2, and its first level's pages.
    pub fn host_root(&self) -> (Pa, u64) {
        let mut nothing = Held::nothing();
        let (npt, _) = self.host_npt.lock(&mut nothing);
        (npt.hw_root(), npt.hw_root_pages())
    }
}

/// Every tracked page is the host's, then those in `owned` are Corevisor's.
fn fill_records(regions: &MemRegions, owned: &[Range], records: &mut [S2Page]) -> Result<(), Refused> {
    let page = |address: u64| Pa::new(address).map(Pa::frame).ok_or(Refused::OutOfReach);
    let pages = |range: Range| (range.start..range.end).step_by(PAGE_SIZE as usize);
    for region in regions.iter() {
        let Some(first) = region.index else { continue };
        let (first, count) = (first as usize, (region.range.size() / PAGE_SIZE) as usize);
        let slots = records.get_mut(first..first + count).ok_or(Refused::OutOfReach)?;
        S2Page::fill_host(slots, page(region.range.start)?);
    }
    for address in owned.iter().flat_map(|&range| pages(range)) {
        let pfn = page(address)?;
        if let Some(record) = regions.get_s2_page_index(pfn).and_then(|i| records.get_mut(i)) {
            *record = S2Page::new(COREVISOR, Count::Shares(0), Some(pfn.as_u64()));
        }
    }
    Ok(())
}

/// The tracked ranges less what is untracked in them, and less `owned`.
fn host_ranges(regions: &MemRegions, owned: &[Range]) -> HostRanges {
    let untracked = regions.iter().filter(|r| r.index.is_none()).map(|r| r.range);
    let mut left: HostRanges = regions.tracked().collect();
    for hole in owned.iter().copied().chain(untracked) {
        left = left.into_iter().flat_map(|range| range.minus(hole)).collect();
    }
    left
}

/// Room for every region, and one more range for each hole that splits one.
type HostRanges = ArrayVec<Range, { 2 * MAX_REGIONS + MAX_OWNED }>;
