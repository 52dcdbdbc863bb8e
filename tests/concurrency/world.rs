// SPDX-License-Identifier: GPL-2.0-only
//! A small machine that several CPUs work on at the same time.

use corevisor::addr::{PAGE_SIZE, PMD_SIZE, Pfn, Range, VcpuId, Vmid};
use corevisor::corevisor::{Config, Corevisor, FIXED_TABLE_PAGES, REMAP_WINDOW, host_table_pages};
use corevisor::lock::Held;
use corevisor::machine::sim::{self, SimMachine};
use corevisor::memory::MemRegions;
use corevisor::trap::{Firmware, HostCpus};
use corevisor::vm::{VcpuState, VmState};

/// Corevisor on a simulated machine.
pub type Core = Corevisor<SimMachine>;

/// RAM.
pub const RAM: Range = Range { start: 1 << 30, end: (1 << 30) + (16 << 20) };
/// Table pages for VMs and SMMUs together: few, so that some runs come to their end.
const VM_TABLE_PAGES: u64 = 96;

/// Boots on CPU 0.
pub fn boot() -> Core {
    sim::set_cpu(0);
    let mut regions = MemRegions::default();
    regions.push(RAM, true).unwrap();
    let tables = host_table_pages(&regions) + FIXED_TABLE_PAGES + VM_TABLE_PAGES;
    let carve_out = Range { start: RAM.end - (tables * PAGE_SIZE).next_multiple_of(PMD_SIZE), end: RAM.end };
    let firmware = Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true };
    let config = Config {
        regions,
        owned: [carve_out].into_iter().collect(),
        smmus: [].into_iter().collect(),
        remap_window: REMAP_WINDOW,
        vm_table_pages: VM_TABLE_PAGES,
        withheld: [].into_iter().collect(),
        ipa_bits: 40,
        cpus: HostCpus::new(0..4, 0, firmware),
    };
    sim::boot(config, carve_out).unwrap()
}

/// A VM with one vCPU, as if its images had been verified.
pub fn verified_vm(core: &Core) -> (Vmid, VcpuId) {
    let (v, vcpu) = (Vmid::new_vm(1).unwrap(), VcpuId::new(0).unwrap());
    core.new_npt(v, &mut Held::nothing()).unwrap();
    let mut nothing = Held::nothing();
    let (mut vm, _) = core.acquire_lock_vm(v, &mut nothing);
    vm.state = VmState::Verified;
    vm.vcpu_mut(vcpu).state = VcpuState::Ready;
    vm.vcpu_mut(vcpu).run_page = Pfn::new(RAM.start / PAGE_SIZE);
    drop(vm);
    (v, vcpu)
}
