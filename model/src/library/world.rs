// SPDX-License-Identifier: GPL-2.0-only
//! The vectors' machine, for the library.

use super::{Core, regions};
use crate::constants::model_only::{KVM_PHYS_SIZE, REMAP_END, REMAP_START};
use crate::constants::{COREVISOR, SMMU_NUM, VCPU_PER_VM};
use crate::rdata::SMMUS;
use corevisor::addr::{PAGE_SIZE, PMD_SIZE, Pfn, Range, VcpuId, Vmid};
use corevisor::corevisor::{Config, FIXED_TABLE_PAGES, host_table_pages};
use corevisor::machine::sim;
use corevisor::mmio::SmmuConfig;
use corevisor::trap::{Firmware, HostCpus};

/// CPUs of the host. The specification has eight.
pub const CPUS: u64 = 8;

/// Table pages for VMs, the window and SMMUs: many scripts, and few tables in each.
const TABLES: u64 = 512;

/// RAM of which the specification knows nothing, for run pages: one for each vCPU of each principal.
pub const RUN_PAGES: Range =
    Range { start: RUN_BASE, end: RUN_BASE + COREVISOR as u64 * VCPU_PER_VM as u64 * PAGE_SIZE };

/// Where it lies: where no script looks.
const RUN_BASE: u64 = 0x77_0000_0000;

/// `size` bytes from `start`.
fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).expect("a range")
}

/// The run page of a vCPU.
pub fn run_page(v: Vmid, vcpu: VcpuId) -> Pfn {
    let number = v.index() as u64 * u64::from(VCPU_PER_VM) + vcpu.index() as u64;
    Pfn::new(RUN_PAGES.start / PAGE_SIZE + number).expect("a page")
}

/// The library, just booted, with the vectors' RAM, SMMUs and image window. Corevisor itself lies beyond all addresses of
/// the specification: every page of RAM is the host's, as in the vectors.
pub fn boot() -> Core {
    sim::set_cpu(0);
    let mut regions = regions();
    regions.push(RUN_PAGES, true).expect("few regions");
    let tables = (host_table_pages(&regions) + FIXED_TABLE_PAGES + TABLES) * PAGE_SIZE;
    let pool = range(KVM_PHYS_SIZE << 1, tables.next_multiple_of(PMD_SIZE));
    let smmus = SMMUS[..SMMU_NUM as usize].iter();
    let smmus = smmus.map(|smmu| SmmuConfig::new(range(smmu.base, smmu.size), smmu.context_banks as u8));
    let firmware = Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true };
    let withheld = [pool, range(SMMUS[0].base, SMMUS[0].size)];
    let config = Config {
        regions,
        owned: Default::default(),
        smmus: smmus.collect(),
        smmu3s: Default::default(),
        gic: Default::default(),
        remap_window: Range { start: REMAP_START, end: REMAP_END },
        vm_table_pages: TABLES,
        withheld: withheld.into_iter().collect(),
        ipa_bits: 48,
        host_dma: None,
        dma_policy: Default::default(),
        cpus: HostCpus::new(0..CPUS, 0, firmware),
    };
    sim::boot(config, pool).expect("the library boots")
}
