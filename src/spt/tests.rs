// SPDX-License-Identifier: GPL-2.0-only
//! The SMMU's tables, entry by entry, and what the simulated hardware says of a careless hand.

use crate::addr::{HOSTVISOR, Ipa};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::machine::{Machine, Width};
use crate::mmio::registers::{BANKS, Sctlr, cb};
use crate::mmio::{ContextBank, SmmuConfig, SmmuIndex, smmu_init_pte};
use crate::npt::{Desc, DescBits};
use crate::refused::Refused;
use crate::world::{Core, GIB, World, ipa, range};
use std::string::String;
use std::vec;

const WINDOW: u64 = 0x0905_0000;
const PAGE: u64 = GIB;
const IOVA: u64 = 0x81_2345_6000;

fn k() -> SmmuIndex {
    SmmuIndex::new(0).unwrap()
}

fn b() -> ContextBank {
    ContextBank::new(1).unwrap()
}

fn leaf(page: u64) -> Desc {
    let prot = DescBits::READ | DescBits::NORMAL_WB;
    smmu_init_pte(prot.bits(), ipa(page).host_pa()).unwrap()
}

/// The bank is the host's, and maps [`IOVA`].
fn booted() -> Core {
    let smmus = vec![SmmuConfig::new(range(WINDOW, 0x1_0000), 2)];
    let core = World { smmus, ..World::default() }.boot();
    let mut nothing = Held::nothing();
    core.el2_alloc_smmu_pgd(b(), HOSTVISOR, k(), &mut nothing).unwrap();
    assert_eq!(core.map_spt(b(), k(), ipa(IOVA), leaf(PAGE), &mut nothing), Ok(true));
    core
}

fn violations(core: &Core) -> String {
    core.machine().take_violations().join("\n")
}

fn remove(core: &Core, iova: Ipa) {
    core.acquire_lock_spt(&mut Held::nothing()).set_smmu_pt(b(), k(), iova, Desc::NONE).unwrap();
}

// Tests: SO-2, SO-3, SO-4, SS-2, SS-3, SW-1, SW-2, SW-3, SW-4
#[test]
fn each_page_has_an_entry_of_its_own() {
    let core = booted();
    let mut nothing = Held::nothing();
    // The first page of all, and those that differ from IOVA in one index.
    let others = [0, IOVA ^ 1 << 39, IOVA ^ 1 << 30, IOVA ^ 1 << 21, IOVA ^ 1 << 12, (1 << 40) - 4096];
    for (page, iova) in (PAGE + 4096..).step_by(4096).zip(others) {
        assert_eq!(core.walk_spt(b(), k(), ipa(iova), &mut nothing), Ok(Desc::NONE));
        assert_eq!(core.map_spt(b(), k(), ipa(iova), leaf(page), &mut nothing), Ok(true));
        assert_eq!(core.map_spt(b(), k(), ipa(iova), leaf(page), &mut nothing), Ok(false));
    }
    for (page, iova) in (PAGE..).step_by(4096).zip([IOVA].into_iter().chain(others)) {
        assert_eq!(core.walk_spt(b(), k(), ipa(iova), &mut nothing), Ok(leaf(page)));
        assert_eq!(core.machine().dma_access(k(), b(), ipa(iova)).unwrap().pa(ipa(iova)), page);
        assert_eq!(core.unmap_spt(b(), k(), ipa(iova), &mut nothing), Ok(leaf(page)));
        assert_eq!(core.unmap_spt(b(), k(), ipa(iova), &mut nothing), Ok(Desc::NONE));
        assert_eq!(core.machine().dma_access(k(), b(), ipa(iova)), Err(Fault::Translation(3)));
    }
}

// Tests: SS-4, SS-5
#[test]
fn a_device_writes_and_reads_what_its_table_maps() {
    let core = booted();
    let machine = core.machine();
    machine.dev_store_ref(k(), b(), ipa(IOVA + 8), 0x1234).unwrap();
    assert_eq!(machine.shared_load(ipa(PAGE + 8).host_pa()), 0x1234);
    assert_eq!(machine.dev_load_ref(k(), b(), ipa(IOVA + 8)), Ok(0x1234));
    let beside = ipa(IOVA + 4096);
    assert_eq!(machine.dev_load_ref(k(), b(), beside), Err(Fault::Translation(3)));
    assert_eq!(machine.dev_store_ref(k(), b(), beside, 0), Err(Fault::Translation(3)));
}

// Tests: SO-1, SS-1
#[test]
fn a_table_is_emptied_by_nobody_while_it_maps_pages() {
    let core = booted();
    let mut nothing = Held::nothing();
    assert_eq!(core.init_spt(b(), k(), &mut nothing), Err(Refused::Bank));
    assert_eq!(core.walk_spt(b(), k(), ipa(IOVA), &mut nothing), Ok(leaf(PAGE)));
    core.unmap_spt(b(), k(), ipa(IOVA), &mut nothing).unwrap();
    let root = |core: &Core| core.acquire_lock_spt(&mut Held::nothing()).get_smmu_cfg_hw_ttbr(b(), k());
    let before = root(&core);
    assert_eq!(core.init_spt(b(), k(), &mut nothing), Ok(()));
    assert_eq!(root(&core), before);
}

#[test]
fn a_leaf_that_is_removed_and_not_invalidated_is_a_violation() {
    let core = booted();
    core.machine().dma_access(k(), b(), ipa(IOVA)).unwrap();
    remove(&core, ipa(IOVA));
    assert!(core.machine().dma_access(k(), b(), ipa(IOVA)).is_ok(), "stale");
    assert!(violations(&core).contains("never invalidated"));
    let hardware = core.smmu_hardware(b(), k()).unwrap();
    core.machine().stick_smmu(k(), true);
    assert_eq!(hardware.invalidate(None, &mut Held::nothing()), Err(Refused::SmmuStuck));
    assert!(violations(&core).contains("never invalidated"), "asked for, but not waited for");
    core.machine().stick_smmu(k(), false);
    hardware.invalidate(None, &mut Held::nothing()).unwrap();
    assert_eq!(core.machine().dma_access(k(), b(), ipa(IOVA)), Err(Fault::Translation(3)));
    assert_eq!(violations(&core), "");
}

#[test]
fn an_invalidation_that_comes_first_does_not_help() {
    let core = booted();
    core.machine().watch_dma(k(), b(), ipa(IOVA));
    core.smmu_hardware(b(), k()).unwrap().invalidate(None, &mut Held::nothing()).unwrap();
    remove(&core, ipa(IOVA));
    assert!(violations(&core).contains("never invalidated"));
    core.smmu_hardware(b(), k()).unwrap().invalidate(None, &mut Held::nothing()).unwrap();
}

#[test]
fn another_leaf_before_the_invalidation_is_a_violation() {
    let core = booted();
    remove(&core, ipa(IOVA));
    core.map_spt(b(), k(), ipa(IOVA), leaf(PAGE + 4096), &mut Held::nothing()).unwrap();
    assert!(violations(&core).contains("without break-before-make"));
}

#[test]
fn a_bank_that_walks_what_is_not_its_table_is_a_violation() {
    let core = booted();
    let at = |register| ipa(WINDOW + BANKS + 0x1000 + register).host_pa();
    let set = |register, width, value| core.machine().mmio_write(at(register), width, value);
    let sctlr = core.machine().mmio_read(at(cb::SCTLR), Width::Word);
    for (register, wrong) in [(cb::TCR, 0), (cb::SCTLR, sctlr | 1 << 4)] {
        let right = core.machine().mmio_read(at(register), Width::Word);
        set(register, Width::Word, wrong);
        assert_eq!(core.machine().dma_access(k(), b(), ipa(IOVA)), Err(Fault::Malformed(0)));
        assert!(violations(&core).contains("reads a table that is none"));
        set(register, Width::Word, right);
    }
    let cached = core.machine().dma_access(k(), b(), ipa(IOVA));
    assert!(cached.is_ok());
    set(cb::TTBR0, Width::Double, 0);
    let all = violations(&core);
    assert!(all.contains("changes its table while it translates") && all.contains("not from the IOTLB"), "{all}");
    set(cb::SCTLR, Width::Word, sctlr & !Sctlr::M.bits());
    assert_eq!(core.machine().dma_access(k(), b(), ipa(IOVA)), Err(Fault::Bypass));
}

/// What the host may never bring about: the simulated SMMU would let devices through.
#[test]
fn streams_that_are_not_translated_reach_everything() {
    use crate::mmio::registers::{S2CR_FAULT, S2CR_TYPE_SHIFT, SMR_VALID, Scr0, gr0};
    let core = booted();
    let set = |register, value| core.machine().mmio_write(ipa(WINDOW + register).host_pa(), Width::Word, value);
    let dma = || core.machine().dma(k(), 9, ipa(IOVA));
    let safe = Scr0::USFCFG | Scr0::SMCFCFG;
    assert_eq!(dma(), None, "matches nothing");
    set(gr0::SCR0, (safe | Scr0::CLIENTPD).bits());
    assert_eq!(dma(), Some(IOVA));
    set(gr0::SCR0, Scr0::SMCFCFG.bits());
    assert_eq!(dma(), Some(IOVA));
    set(gr0::SMR.start, SMR_VALID | 9);
    set(gr0::S2CR.start, 1 << S2CR_TYPE_SHIFT);
    assert_eq!(dma(), Some(IOVA));
    set(gr0::S2CR.start, 0);
    assert_eq!(dma(), Some(IOVA), "a bank that does not translate");
    set(gr0::S2CR.start, 1);
    assert_eq!(dma(), Some(PAGE));
    set(gr0::SMR.start + 4, SMR_VALID | 9);
    assert_eq!(dma(), None, "matches twice");
    set(gr0::SCR0, Scr0::USFCFG.bits());
    assert_eq!(dma(), Some(PAGE));
    set(gr0::S2CR.start, S2CR_FAULT << S2CR_TYPE_SHIFT);
    assert_eq!(dma(), None);
}
