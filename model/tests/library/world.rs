// SPDX-License-Identifier: GPL-2.0-only
//! The vectors' machine, for the library and for the model.

use corevisor::addr::{PAGE_SIZE, PMD_SIZE, Range};
use corevisor::corevisor::{Config, FIXED_TABLE_PAGES, REMAP_WINDOW, VM_TABLE_PAGES, host_table_pages};
use corevisor::machine::sim;
use corevisor::trap::{Firmware, HostCpus};
use model::RData;
use model::constants::COREVISOR;
use model::library::{Core, regions};
use model::locks::{acquire_lock_s2page, release_lock_s2page};
use model::page_manager::{set_pfn_count, set_pfn_map, set_pfn_owner};
use model::rdata::{REGIONS, S2Index, SMMUS};

/// `size` bytes from `start`.
pub fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).expect("a range")
}

/// What is Corevisor's at boot: an image, and page tables at the top of RAM.
pub fn owned() -> [Range; 2] {
    let size = (host_table_pages(&regions()) + FIXED_TABLE_PAGES + VM_TABLE_PAGES) * PAGE_SIZE;
    let size = size.next_multiple_of(PMD_SIZE);
    let ram = REGIONS[2];
    [range(REGIONS[0].base + 0x20_0000, 0x3_1000), range(ram.base + ram.size - size, size)]
}

/// Registers that the host may not reach: those of the model's SMMU, and a page.
pub fn withheld() -> [Range; 2] {
    [range(SMMUS[0].base, SMMUS[0].size), range(0x0900_3000, PAGE_SIZE)]
}

/// The library, just booted.
pub fn library(ipa_bits: u32) -> Core {
    sim::set_cpu(0);
    let firmware = Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true };
    let config = Config {
        regions: regions(),
        owned: owned().into_iter().collect(),
        smmus: Default::default(),
        smmu3s: Default::default(),
        gic: Default::default(),
        remap_window: REMAP_WINDOW,
        vm_table_pages: VM_TABLE_PAGES,
        withheld: withheld().into_iter().collect(),
        ipa_bits,
        host_dma: None,
        dma_policy: Default::default(),
        cpus: HostCpus::new([0, 1], 0, firmware),
    };
    sim::boot(config, owned()[1]).expect("the library boots")
}

/// The model, with Corevisor's pages taken from the host by the specification's own functions.
pub fn model() -> RData {
    let mut d = RData::new(S2Index::Pfn);
    let take = |d: &mut RData| {
        acquire_lock_s2page(d)?;
        for pfn in owned().into_iter().flat_map(|r| r.start / PAGE_SIZE..r.end / PAGE_SIZE) {
            set_pfn_owner(d, pfn, COREVISOR)?;
            set_pfn_count(d, pfn, 0)?;
            set_pfn_map(d, pfn, pfn)?;
        }
        release_lock_s2page(d)
    };
    take(&mut d).expect("defined");
    d
}
