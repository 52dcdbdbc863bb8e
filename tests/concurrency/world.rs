// SPDX-License-Identifier: GPL-2.0-only
//! A small machine that several CPUs work on at the same time.

use corevisor::addr::{PAGE_SIZE, PMD_SIZE, Pfn, Range, VcpuId, Vmid};
use corevisor::corevisor::{Config, Corevisor, FIXED_TABLE_PAGES, REMAP_WINDOW, host_table_pages};
use corevisor::lock::Held;
use corevisor::machine::sim::{self, SimMachine};
use corevisor::memory::{Count, MemRegions};
use corevisor::mmio::SmmuConfig;
use corevisor::npt::HostDma;
use corevisor::trap::{Firmware, HostCpus};
use corevisor::vm::{Power, VcpuState, VmState};

/// Corevisor on a simulated machine.
pub type Core = Corevisor<SimMachine>;

/// RAM.
pub const RAM: Range = Range { start: 1 << 30, end: (1 << 30) + (16 << 20) };
/// An SMMU, whose registers Corevisor emulates.
const SMMU: SmmuConfig = SmmuConfig::new(Range { start: 0x0905_0000, end: 0x0906_0000 }, 8);
/// Table pages for VMs and SMMUs together: few, so that some runs come to their end.
const VM_TABLE_PAGES: u64 = 96;

/// Boots on CPU 0.
pub fn boot() -> Core {
    sim::set_cpu(0);
    let mut regions = MemRegions::default();
    regions.push(RAM, true).unwrap();
    let tables = 2 * (host_table_pages(&regions) + FIXED_TABLE_PAGES) + VM_TABLE_PAGES;
    let carve_out = Range { start: RAM.end - (tables * PAGE_SIZE).next_multiple_of(PMD_SIZE), end: RAM.end };
    let firmware = Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true };
    let config = Config {
        regions,
        owned: [carve_out].into_iter().collect(),
        smmus: [SMMU].into_iter().collect(),
        smmu3s: Default::default(),
        gic: Default::default(),
        remap_window: REMAP_WINDOW,
        vm_table_pages: VM_TABLE_PAGES,
        withheld: [].into_iter().collect(),
        ipa_bits: 40,
        host_dma: Some(HostDma { ipa_bits: 40, blocks: true, doorbells: Default::default() }),
        dma_policy: Default::default(),
        cpus: HostCpus::new(0..4, 0, firmware),
    };
    sim::boot(config, carve_out).unwrap()
}

/// A VM with its first `vcpus` vCPUs, as if its images had been verified.
pub fn verified_vm(core: &Core, v: Vmid, vcpus: u64) {
    core.new_npt(v, &mut Held::nothing()).unwrap();
    let mut nothing = Held::nothing();
    let (mut vm, mut held) = core.acquire_lock_vm(v, &mut nothing);
    let (mut s2page, _) = core.acquire_lock_s2page(&mut held);
    vm.state = VmState::Verified;
    for vcpu in 0..vcpus {
        let shared = run_page(v, vcpu);
        s2page.set_pfn_count(shared, Count::Shares(1));
        let vcpu = vm.vcpu_mut(VcpuId::new(vcpu).unwrap());
        (vcpu.state, vcpu.run_page, vcpu.power) = (VcpuState::Ready, Some(shared), Power::On);
    }
}

/// The page that the host shares with a vCPU.
pub fn run_page(v: Vmid, vcpu: u64) -> Pfn {
    Pfn::new(RAM.start / PAGE_SIZE + v.index() as u64 * 8 + vcpu).unwrap()
}
