// SPDX-License-Identifier: GPL-2.0-only
//! Small worlds for the tests: a machine with some RAM, and what can be seen of it from outside.

use crate::abi::stat;
use crate::addr::{HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Pa, Pfn, Range, VMID_COUNT, Vmid};
use crate::corevisor::{Config, Corevisor, FIXED_TABLE_PAGES, REMAP_WINDOW, VM_TABLE_PAGES, host_table_pages};
use crate::dma_policy::DmaPolicy;
use crate::gic::{self, ITS_PAGES};
use crate::lock::Held;
use crate::machine::Machine;
use crate::machine::sim::{self, Fault, Leaf, SimMachine};
use crate::memory::{Count, MemRegions, S2Page};
use crate::mmio::SmmuConfig;
use crate::npt::HostDma;
use crate::platform::smmus::StreamRange;
use crate::refused::Refused;
use crate::smmu3::{self, Smmu3Config};
use crate::trap::{Firmware, HostCpus};
use crate::vm::{VmInfo, VmState};
use core::fmt;
use std::vec::Vec;

/// 1 MiB.
pub const MIB: u64 = 1 << 20;
/// 1 GiB.
pub const GIB: u64 = 1 << 30;

/// Corevisor on a simulated machine.
pub type Core = Corevisor<SimMachine>;

/// What a machine is made of. The carve-out goes to the top of the last RAM range.
#[derive(Clone)]
pub struct World {
    pub ram: Vec<Range>,
    pub no_map: Vec<Range>,
    pub withheld: Vec<Range>,
    pub smmus: Vec<SmmuConfig>,
    pub gic: gic::Config,
    /// Corevisor's image.
    pub image: Option<Range>,
    pub ipa_bits: u32,
    /// SMMUv3s: where their registers are, and the streams that the device tree names.
    pub smmu3s: Vec<(u64, Vec<StreamRange>)>,
    pub host_dma: Option<HostDma>,
    pub dma_policy: DmaPolicy,
    pub cpus: Vec<u64>,
    pub firmware: Firmware,
}

impl Default for World {
    fn default() -> Self {
        let firmware = Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true };
        Self {
            ram: std::vec![range(GIB, GIB)],
            no_map: Vec::new(),
            withheld: Vec::new(),
            smmus: Vec::new(),
            gic: gic::Config::default(),
            image: None,
            ipa_bits: 40,
            smmu3s: Vec::new(),
            host_dma: None,
            dma_policy: DmaPolicy::default(),
            cpus: std::vec![0, 1, 0x100, 0x1_0000_0000],
            firmware,
        }
    }
}

/// `size` bytes from `start`.
pub fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).unwrap()
}

pub fn ipa(address: u64) -> Ipa {
    Ipa::new(address).unwrap()
}

pub fn pa(address: u64) -> Pa {
    Pa::new(address).unwrap()
}

pub fn pfn(address: u64) -> Pfn {
    Pfn::new(address / PAGE_SIZE).unwrap()
}

impl World {
    pub fn regions(&self) -> MemRegions {
        let mut regions = MemRegions::default();
        for &ram in &self.ram {
            regions.push(ram, true).unwrap();
        }
        for &no_map in &self.no_map {
            regions.push(no_map, false).unwrap();
        }
        regions
    }

    /// Where page tables are.
    pub fn carve_out(&self) -> Range {
        let tables = 1 + u64::from(self.host_dma.is_some());
        let host = tables * (host_table_pages(&self.regions()) + FIXED_TABLE_PAGES);
        let its = self.gic.its.len() as u64 * ITS_PAGES;
        let size = (host + self.vm_table_pages() + its) * PAGE_SIZE;
        let size = size.next_multiple_of(PMD_SIZE);
        let top = self.ram.last().unwrap().end & !(PMD_SIZE - 1);
        range(top - size, size)
    }

    fn vm_table_pages(&self) -> u64 {
        VM_TABLE_PAGES + self.smmu3s.len() as u64 * smmu3::FRAME_PAGES
    }

    /// What is Corevisor's.
    pub fn owned(&self) -> Vec<Range> {
        self.image.into_iter().chain([self.carve_out()]).collect()
    }

    pub fn config(&self) -> Config {
        Config {
            regions: self.regions(),
            owned: self.owned().into_iter().collect(),
            smmus: self.smmus.iter().copied().collect(),
            smmu3s: self.smmu3s.iter().map(smmu3_config).collect(),
            gic: self.gic.clone(),
            remap_window: REMAP_WINDOW,
            vm_table_pages: self.vm_table_pages(),
            withheld: self.withheld.iter().copied().collect(),
            ipa_bits: self.ipa_bits,
            host_dma: self.host_dma.clone(),
            dma_policy: self.dma_policy,
            cpus: HostCpus::new(self.cpus.iter().copied(), 0, self.firmware),
        }
    }

    /// As [`Self::boot`], on a machine that is made ready so.
    pub fn boot_with(&self, prepare: impl FnOnce(&SimMachine)) -> Core {
        sim::set_cpu(0);
        let machine = SimMachine::new(self.carve_out());
        prepare(&machine);
        sim::boot_on(machine, self.config(), self.carve_out()).unwrap()
    }

    pub fn boot(&self) -> Core {
        sim::set_cpu(0);
        sim::boot(self.config(), self.carve_out()).unwrap()
    }

    /// RAM that is the host's at boot, in address order: all but `no-map` memory and what is Corevisor's.
    pub fn host_ram(&self) -> Vec<Range> {
        let mut left = self.ram.clone();
        for hole in self.no_map.iter().copied().chain(self.owned()) {
            left = left.into_iter().flat_map(|r| r.minus(hole)).collect();
        }
        left.sort_by_key(|r| r.start);
        left
    }
}

fn smmu3_config((start, streams): &(u64, Vec<StreamRange>)) -> Smmu3Config {
    let features = Err(smmu3::Trouble::Closed); // what there is the machine says
    Smmu3Config {
        window: range(*start, smmu3::registers::WINDOW),
        features,
        streams: streams.iter().copied().collect(),
    }
}

/// A stretch of the host's address space that is mapped, with these attributes, onto itself.
pub type Stretch = (u64, u64, u64);

/// All that the host's table says, page by page, whatever the size of the blocks. Read by the hardware's walker.
pub fn host_view(core: &Core) -> Vec<Stretch> {
    let mut view: Vec<Stretch> = Vec::new();
    let mut at = 0;
    while at < 1 << core.ipa_bits() {
        at = match core.machine().walk(HOSTVISOR, ipa(at)) {
            Ok(leaf) => {
                assert_eq!((leaf.ipa, leaf.pa(ipa(at))), (at, at), "the host's map is the identity");
                match view.last_mut() {
                    Some((_, end, attributes)) if *end == at && *attributes == leaf.attributes() => *end += leaf.size,
                    _ => view.push((at, at + leaf.size, leaf.attributes())),
                }
                at + leaf.size
            }
            Err(Fault::Translation(level)) => at + (1 << (39 - 9 * u32::from(level))),
            Err(fault) => panic!("{fault:?} at {at:#x}"),
        };
    }
    view
}

/// All that the host's DMA table maps, as [`host_view`].
pub fn host_dma_view(core: &Core) -> Vec<Stretch> {
    let mut view: Vec<Stretch> = Vec::new();
    for leaf in core.host_dma_leaves() {
        assert_eq!(leaf.pa(ipa(leaf.ipa)), leaf.ipa, "devices reach everything where it is");
        match view.last_mut() {
            Some((_, end, attributes)) if *end == leaf.ipa && *attributes == leaf.attributes() => *end += leaf.size,
            _ => view.push((leaf.ipa, leaf.ipa + leaf.size, leaf.attributes())),
        }
    }
    view
}

/// Everything that a refused operation must leave alone.
#[derive(PartialEq, Eq, Debug)]
pub struct Snapshot {
    records: Records,
    view: Vec<Stretch>,
    dma: Vec<Stretch>,
    tables: u64,
    /// Tables of the others: their leaves and pages.
    others: Vec<(Vmid, Vec<Leaf>, u64)>,
    vms: Vms,
    /// Ids and image windows.
    core_data: std::string::String,
    /// Table pages that are left for the others.
    vm_pages: u64,
    /// Pages with something in them, and a sum of that.
    memory: Vec<(Pfn, u64)>,
}

#[derive(PartialEq, Eq)]
struct Vms(Vec<VmInfo>);

impl fmt::Debug for Vms {
    /// Those that exist, by id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().enumerate().filter(|(_, vm)| **vm != VmInfo::default())).finish()
    }
}

#[derive(PartialEq, Eq)]
struct Records(Vec<S2Page>);

impl fmt::Debug for Records {
    /// Those of pages that are not simply the host's, by index.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = |r: &S2Page| r.owner() == Some(HOSTVISOR) && r.count() == Count::Shares(0);
        f.debug_map().entries(self.0.iter().enumerate().filter(|(_, r)| !free(r)).take(8)).finish()
    }
}

pub fn snapshot(core: &Core) -> Snapshot {
    core.machine().check();
    let mut nothing = Held::nothing();
    let records = core.s2page().lock(&mut nothing).0.records.clone();
    let principals = || (0..VMID_COUNT as u64).filter_map(Vmid::new);
    let others = principals().skip(1).filter_map(|v| {
        let pages = core.npt(v).lock(&mut Held::nothing()).0.as_ref()?.pages();
        Some((v, core.machine().leaves(v), pages))
    });
    let sum = |pfn| {
        let mut bytes = [0; PAGE_SIZE as usize];
        core.machine().read_page(pfn, &mut bytes);
        let words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        words.fold(0u64, |sum, word| sum.wrapping_mul(257).wrapping_add(word))
    };
    Snapshot {
        records: Records(records),
        view: host_view(core),
        dma: host_dma_view(core),
        tables: stat(core, stat::HOST_TABLE_PAGES),
        others: others.collect(),
        vms: Vms(principals().map(|v| core.vm(v).lock(&mut Held::nothing()).0.clone()).collect()),
        core_data: std::format!("{:?}", *core.core_data().lock(&mut nothing).0),
        vm_pages: core.frames().lock(&mut nothing).0.vm_pages(),
        memory: core.machine().written_pages().into_iter().map(|pfn| (pfn, sum(pfn))).collect(),
    }
}

/// A new VM in `state`, with an empty table and without vCPUs.
pub fn vm(core: &Core, id: u64, state: VmState) -> Vmid {
    let v = Vmid::new_vm(id).unwrap();
    core.new_npt(v, &mut Held::nothing()).unwrap();
    set_state(core, v, state);
    v
}

pub fn set_state(core: &Core, v: Vmid, state: VmState) {
    core.vm(v).lock(&mut Held::nothing()).0.state = state;
}

/// The ownership record of the page at `address`.
pub fn record(core: &Core, address: u64) -> S2Page {
    let index = core.regions().get_s2_page_index(pfn(address)).unwrap();
    core.s2page().lock(&mut Held::nothing()).0.records[index]
}

/// Makes `record` that of the page at `address`, and nothing else.
pub fn set_record(core: &Core, address: u64, record: S2Page) {
    core.acquire_lock_s2page(&mut Held::nothing()).0.set_record(pfn(address), record);
}

/// A counter of STATS.
pub fn stat(core: &Core, counter: u64) -> u64 {
    core.stat(counter, &mut Held::nothing()).unwrap()
}

/// The VM of [`take`]; it has no table.
pub const TAKER: u64 = 15;

/// The page of `address` goes to a VM, by MM-3.
pub fn take(core: &Core, address: u64) -> Result<(), Refused> {
    let vm = Vmid::new_vm(TAKER).unwrap();
    let done = core.assign_pfn_to_vm(vm, ipa(address).frame(), pfn(address), &mut Held::nothing());
    core.machine().check();
    done
}

/// The page of `address` goes back to the host, by MM-2, if it is that VM's.
pub fn give(core: &Core, address: u64) {
    core.clear_vm_page(Vmid::new_vm(TAKER).unwrap(), pfn(address), &mut Held::nothing()).unwrap();
    core.machine().check();
}
