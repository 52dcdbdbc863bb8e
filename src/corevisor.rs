// SPDX-License-Identifier: GPL-2.0-only
//! The one instance that holds all state (`DESIGN.md` §3), and how it comes to be.

use crate::MAX_CPUS;
use crate::abi::stat;
use crate::addr::{
    COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, PGD_SIZE, PMD_SIZE, PUD_SIZE, Pa, Range, VMID_COUNT, VcpuId, Vmid,
};
use crate::dma_policy::DmaPolicy;
use crate::gic::{self, GicLock};
use crate::lock::{Held, Lock, rank};
use crate::machine::Machine;
use crate::memory::{Count, MAX_REGIONS, MemRegions, Owners, S2Page};
use crate::mmio::{MAX_SMMUS, SmmuBanks, SmmuConfig};
use crate::npt::{FramePool, FramesLock, HostDma, Level, Npt};
use crate::refused::Refused;
use crate::smmu3::{MAX_SMMU3S, Smmu3, Smmu3Config};
use crate::spt::Spts;
use crate::stats::Stats;
use crate::trap::HostCpus;
use crate::vcpu::{CONTEXT_COUNT, ContextLock};
use crate::vm::{CoreData, Sealer, VmFlags, VmInfo};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, Ordering};

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
    /// The SMMUs whose registers are emulated. What is not here, but in `withheld`, the host can't reach at all.
    pub smmus: ArrayVec<SmmuConfig, MAX_SMMUS>,
    /// The SMMUv3s that Corevisor drives. Their registers are in `withheld`.
    pub smmu3s: ArrayVec<Smmu3Config, MAX_SMMU3S>,
    /// The interrupt controllers that use memory.
    pub gic: gic::Config,
    /// The image window ([`REMAP_WINDOW`]).
    pub remap_window: Range,
    /// Table pages for VMs, the image window and SMMUs together ([`VM_TABLE_PAGES`]).
    pub vm_table_pages: u64,
    /// Device registers that the host may not reach: whole pages.
    pub withheld: ArrayVec<Range, MAX_WITHHELD>,
    /// log2 of the stage-2 input address space.
    pub ipa_bits: u32,
    /// The table for the host's own devices, if SMMUv3s translate for them.
    pub host_dma: Option<HostDma>,
    /// What there is to know of SMMUs besides.
    pub dma_policy: DmaPolicy,
    /// The CPUs that the host may use.
    pub cpus: HostCpus,
}

/// The addresses at which the images of VMs are collected until they are verified. They are names for pages in the table
/// of [`COREVISOR`], not virtual addresses of EL2: Corevisor maps no page but the one that it is working on.
pub const REMAP_WINDOW: Range = Range { start: 0x200_0000, end: 1 << 32 };

/// Table pages that VMs, the image window and SMMUs may use together.
pub const VM_TABLE_PAGES: u64 = 1024;

/// All state of the hypervisor, over a machine.
pub struct Corevisor<M: Machine> {
    machine: M,
    stats: Stats,
    regions: MemRegions,
    withheld: ArrayVec<Range, MAX_WITHHELD>,
    ipa_bits: u32,
    cpus: HostCpus,
    frames: FramesLock,
    vm_table_pages: u64,
    s2page: Lock<Owners<M::Records>, { rank::S2PAGE }>,
    /// PT(v). The host's table and that of the image window are always there, a VM's from REGISTER_KVM to DESTROY_VM.
    npts: [Lock<Option<Npt>, { rank::PT }>; VMID_COUNT],
    /// Where each of these tables starts for the hardware; 0 if there is none. Written under PT(v), and constant for as long
    /// as `v` runs or may be entered, so that no switch of worlds has to take that lock.
    roots: [AtomicU64; VMID_COUNT],
    /// The host's DMA table, if there is one: for the host what [`Self::npts`] has for its CPUs.
    host_dma: Lock<Option<Npt>, { rank::PT }>,
    core_data: Lock<CoreData, { rank::CORE }>,
    vms: [Lock<VmInfo, { rank::VM }>; VMID_COUNT],
    sealer: Lock<Sealer, { rank::CRYPT }>,
    contexts: M::Contexts,
    smmus: ArrayVec<SmmuConfig, MAX_SMMUS>,
    smmu3s: ArrayVec<Smmu3, MAX_SMMU3S>,
    dma_policy: DmaPolicy,
    smmu: Lock<SmmuBanks, { rank::SMMU }>,
    spts: Lock<Spts, { rank::SPT }>,
    gic_config: gic::Config,
    gic: M::Gic,
    /// What runs on each CPU: principal and vCPU, written by that CPU only (AM-93 `set_per_cpu`).
    current: [AtomicU16; MAX_CPUS],
    /// For each CPU, the vCPU of each VM that ran there last: its number plus 1. Written by that CPU only.
    last_run: [[AtomicU8; VMID_COUNT]; MAX_CPUS],
    /// For each CPU, the virtual counter's offset that the host has set there. Written by that CPU only.
    cntvoff: [AtomicU64; MAX_CPUS],
    owned_pages: u64,
}

/// Table pages to reserve for the host, so that splitting every block of its RAM down to pages can't fail:
/// one level-3 table for each 2 MiB and one level-2 table for each GiB that RAM touches, a level-1 table for each
/// 512 GiB, and [`DEVICE_TABLES`].
pub fn host_table_pages(regions: &MemRegions) -> u64 {
    ram_table_pages(regions) + DEVICE_TABLES
}

/// The same for the host's DMA table, which maps no devices but `doorbells` pages that interrupts are written to.
pub fn host_dma_table_pages(regions: &MemRegions, doorbells: u64) -> u64 {
    const LEVELS: u64 = 3;
    ram_table_pages(regions) + doorbells * LEVELS
}

fn ram_table_pages(regions: &MemRegions) -> u64 {
    let touched = |unit: u64| -> u64 { regions.tracked().map(|r| r.align_out(unit).size() / unit).sum() };
    touched(PMD_SIZE) + touched(PUD_SIZE) + touched(PGD_SIZE)
}

/// Pages of the root and the fixed level-1 tables, rounded up as the buddy allocator does.
pub const FIXED_TABLE_PAGES: u64 = 1 + 16;

impl<M: Machine> Corevisor<M> {
    /// Sets up the ownership table in `records` (one for each tracked page) and the host's table, with frames of `pool`:
    /// all RAM is the host's and mapped, except what `config.owned` names. `contexts` are
    /// [`CONTEXT_COUNT`](crate::vcpu::CONTEXT_COUNT) zeroed shadow contexts, `gic` is [`Gic::NONE`](gic::Gic::NONE).
    ///
    /// # Errors
    /// If `pool`, `records` or `contexts` is too small, or RAM lies beyond `ipa_bits`.
    pub fn new(
        machine: M,
        config: Config,
        mut records: M::Records,
        contexts: M::Contexts,
        gic: M::Gic,
        mut pool: FramePool,
    ) -> Result<Self, Refused> {
        let Config {
            regions,
            owned,
            smmus,
            smmu3s,
            gic: gic_config,
            remap_window,
            vm_table_pages,
            withheld,
            ipa_bits,
            host_dma,
            dma_policy,
            cpus,
        } = config;
        if contexts.as_ref().len() < CONTEXT_COUNT {
            return Err(Refused::OutOfReach);
        }
        fill_records(&regions, &owned, records.as_mut())?;
        let s2page = Lock::new(Owners::new(&regions, records));
        pool.set_vm_pages(vm_table_pages);
        let frames = FramesLock::new(pool);
        let limit = host_table_pages(&regions);
        let mut nothing = Held::nothing();
        let host = Npt::new(&machine, &frames, HOSTVISOR, ipa_bits, [limit, DEVICE_TABLES], &mut nothing)?;
        gic.lock(&mut nothing).0.start(&machine, &gic_config, &frames)?;
        let mut npts = core::array::from_fn(|_| Lock::new(None));
        npts[HOSTVISOR.index()] = Lock::new(Some(host));
        let this = Self {
            machine,
            stats: Stats::new(),
            regions,
            withheld,
            ipa_bits,
            cpus,
            frames,
            vm_table_pages,
            s2page,
            npts,
            roots: [const { AtomicU64::new(0) }; VMID_COUNT],
            host_dma: Lock::new(None),
            core_data: Lock::new(CoreData::new(remap_window)),
            vms: core::array::from_fn(|_| Lock::new(VmInfo::default())),
            sealer: Lock::new(Sealer::new()),
            contexts,
            dma_policy,
            smmu: Lock::new(SmmuBanks::new()),
            spts: Lock::new(Spts::new()),
            smmus,
            smmu3s: smmu3s.into_iter().map(Smmu3::new).collect(),
            gic_config,
            gic,
            current: [const { AtomicU16::new(0) }; MAX_CPUS],
            last_run: [const { [const { AtomicU8::new(0) }; VMID_COUNT] }; MAX_CPUS],
            cntvoff: [const { AtomicU64::new(0) }; MAX_CPUS],
            owned_pages: owned.iter().map(|r| r.size() / PAGE_SIZE).sum(),
        };
        let ranges = host_ranges(&this.regions, &owned);
        let mut pt = this.acquire_lock_pt(HOSTVISOR, &mut nothing)?;
        for &range in &ranges {
            pt.fill_host(range, Level::L1)?;
        }
        drop(pt);
        if let Some(config) = host_dma {
            this.fill_host_dma(&config, &ranges)?;
        }
        let window = Npt::new(&this.machine, &this.frames, COREVISOR, ipa_bits, [vm_table_pages, 0], &mut nothing)?;
        *this.npt(COREVISOR).lock(&mut nothing).0 = Some(window);
        for v in [HOSTVISOR, COREVISOR] {
            if let Some((root, _)) = this.root(v) {
                this.machine.set_pt_vttbr(v, root, ipa_bits);
                this.set_root(v, Some(root));
            }
        }
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

    /// Whether a page of `range` is withheld from the host and from VMs: because boot said so, or because it is of
    /// registers that are emulated, of an SMMU or an interrupt controller.
    pub fn is_withheld(&self, range: Range) -> bool {
        self.withheld_windows().any(|w| w.overlaps(range))
    }

    /// All that is withheld so.
    pub(crate) fn withheld_windows(&self) -> impl Iterator<Item = Range> + '_ {
        let smmus = self.smmus.iter().map(|smmu| smmu.window);
        self.withheld.iter().copied().chain(smmus).chain(self.gic_config.windows())
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
        let all_vms = || (1..COREVISOR.index() as u64).filter_map(Vmid::new_vm);
        match id {
            id if id < stat::COUNTERS as u64 => Ok(self.stats.sum(id)),
            stat::RAM_PAGES => Ok(self.regions.pages()),
            stat::COREVISOR_PAGES => Ok(self.owned_pages),
            stat::HOST_TABLE_PAGES => Ok(self.npt(HOSTVISOR).lock(outer).0.as_ref().map_or(0, Npt::pages)),
            stat::CPUS_ON => Ok(self.cpus.on() as u64),
            stat::VMS => Ok(self.core_data.lock(outer).0.vms()),
            stat::VM_PAGES => {
                let (s2page, _) = self.acquire_lock_s2page(outer);
                Ok(all_vms().map(|v| s2page.pages_of(v)).sum())
            }
            stat::UNSIGNED_VMS | stat::SHARED_VMS => {
                let flag = if id == stat::UNSIGNED_VMS { VmFlags::UNSIGNED } else { VmFlags::SHARED };
                Ok(all_vms().filter(|&v| self.acquire_lock_vm(v, outer).0.flags.contains(flag)).count() as u64)
            }
            stat::DMA_EVENTS => {
                self.drain_dma_events(outer);
                Ok(self.dma_events())
            }
            stat::DMA_CONTROL => Ok(self.dma_control()),
            stat::VM_TABLE_PAGES => Ok(self.vm_table_pages - self.frames.lock(outer).0.vm_pages()),
            _ => Err(Refused::Argument(1)),
        }
    }

    pub(crate) fn frames(&self) -> &FramesLock {
        &self.frames
    }

    /// Table pages for VMs, the image window and SMMUs together.
    pub fn vm_table_pages(&self) -> u64 {
        self.vm_table_pages
    }

    pub(crate) fn s2page(&self) -> &Lock<Owners<M::Records>, { rank::S2PAGE }> {
        &self.s2page
    }

    pub(crate) fn npt(&self, v: Vmid) -> &Lock<Option<Npt>, { rank::PT }> {
        &self.npts[v.index()]
    }

    pub(crate) fn host_dma(&self) -> &Lock<Option<Npt>, { rank::PT }> {
        &self.host_dma
    }

    pub(crate) fn vm(&self, v: Vmid) -> &Lock<VmInfo, { rank::VM }> {
        &self.vms[v.index()]
    }

    pub(crate) fn core_data(&self) -> &Lock<CoreData, { rank::CORE }> {
        &self.core_data
    }

    pub(crate) fn sealer(&self) -> &Lock<Sealer, { rank::CRYPT }> {
        &self.sealer
    }

    pub(crate) fn contexts(&self) -> &[ContextLock] {
        self.contexts.as_ref()
    }

    pub(crate) fn smmu_banks(&self) -> &Lock<SmmuBanks, { rank::SMMU }> {
        &self.smmu
    }

    pub(crate) fn spts(&self) -> &Lock<Spts, { rank::SPT }> {
        &self.spts
    }

    /// The interrupt controllers that use memory.
    pub fn gic_config(&self) -> &gic::Config {
        &self.gic_config
    }

    pub(crate) fn gic(&self) -> &GicLock {
        &self.gic
    }

    /// The SMMUs whose registers are emulated.
    pub fn smmus(&self) -> &[SmmuConfig] {
        &self.smmus
    }

    /// The SMMUv3s.
    pub fn smmu3s(&self) -> &[Smmu3] {
        &self.smmu3s
    }

    /// What boot has said about SMMUs.
    pub(crate) fn dma_policy(&self) -> DmaPolicy {
        self.dma_policy
    }

    /// Whether the host runs on this CPU.
    pub fn host_runs(&self) -> bool {
        self.current[self.machine.cpu()].load(Ordering::Relaxed) == 0
    }

    /// The VM and the vCPU that run on this CPU (AM-90 `get_cur_vmid`, AM-91 `get_cur_vcpuid`); `None` for the host,
    /// whose vCPU is the CPU itself.
    pub fn current(&self) -> Option<(Vmid, VcpuId)> {
        let word = self.current[self.machine.cpu()].load(Ordering::Relaxed);
        Vmid::new_vm(u64::from(word >> 8)).zip(VcpuId::new(u64::from(word & 0xFF)))
    }

    /// AM-93 `set_per_cpu`: from now on this CPU runs a vCPU, or, with `None`, the host.
    pub(crate) fn set_per_cpu(&self, vcpu: Option<(Vmid, VcpuId)>) {
        let word = vcpu.map_or(0, |(v, vcpu)| (v.index() << 8 | vcpu.index()) as u16);
        self.current[self.machine.cpu()].store(word, Ordering::Relaxed);
    }

    /// `vcpu` of `v` is about to run on this CPU. Whether the last one of `v` here was another, or there was none.
    pub(crate) fn ran_another(&self, v: Vmid, vcpu: VcpuId) -> bool {
        let this = vcpu.index() as u8 + 1;
        self.last_run[self.machine.cpu()][v.index()].swap(this, Ordering::Relaxed) != this
    }

    /// AM-112 `timer_set_cntvoff`: the offset of the virtual counter for VMs that run for the first time, and do so on this
    /// CPU. The host's own counter stays where it is (D-130).
    pub(crate) fn timer_set_cntvoff(&self, offset: u64) {
        self.cntvoff[self.machine.cpu()].store(offset, Ordering::Relaxed);
    }

    /// That offset.
    pub(crate) fn cntvoff(&self) -> u64 {
        self.cntvoff[self.machine.cpu()].load(Ordering::Relaxed)
    }

    /// Notes where the table of `v` starts for the hardware, or that there is none. Lock PT(v).
    pub(crate) fn set_root(&self, v: Vmid, root: Option<Pa>) {
        self.roots[v.index()].store(root.map_or(0, Pa::as_u64), Ordering::Relaxed);
    }

    /// That of `v`, which runs next on this CPU: the host, or a VM with a vCPU that is ACTIVE. Since that became so, under
    /// VM(v), it is what it is.
    ///
    /// # Errors
    /// [`Refused::NoTable`] if there is none.
    pub(crate) fn root_to_run(&self, v: Vmid) -> Result<Pa, Refused> {
        match self.roots[v.index()].load(Ordering::Relaxed) {
            0 => Err(Refused::NoTable(v)),
            root => Ok(Pa::low_48(root)),
        }
    }

    /// The table of `v` as the hardware knows it, if it exists: its address for VTTBR_EL2, and its first level's pages.
    pub fn root(&self, v: Vmid) -> Option<(Pa, u64)> {
        let mut nothing = Held::nothing();
        let (npt, _) = self.npt(v).lock(&mut nothing);
        npt.as_ref().map(|npt| (npt.hw_root(), npt.hw_root_pages()))
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
