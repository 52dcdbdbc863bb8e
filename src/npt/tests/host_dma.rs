// SPDX-License-Identifier: GPL-2.0-only
//! What the host's devices reach through its DMA table.

use super::{DEVICE, RAM, WIDTHS, ragged};
use crate::addr::{Gfn, PAGE_SIZE, PMD_SIZE, Vmid};
use crate::lock::Held;
use crate::memory::{Count, S2Page};
use crate::npt::{HostDma, Level};
use crate::refused::Refused;
use crate::vm::VmState;
use crate::world::{
    Core, GIB, MIB, Stretch, World, give, host_dma_view, ipa, pa, pfn, range, record, set_record, take, vm,
};
use std::vec;
use std::vec::Vec;

fn host_dma(ipa_bits: u32, blocks: bool) -> Option<HostDma> {
    Some(HostDma { ipa_bits, blocks, doorbells: Default::default() })
}

fn world(blocks: bool) -> World {
    World { host_dma: host_dma(40, blocks), ..World::default() }
}

fn assert_due(core: &Core) {
    core.machine().check();
    for range in core.regions().tracked() {
        assert_eq!(core.host_dma_wrong_about(range), []);
    }
}

#[test]
fn without_an_smmu_there_is_no_table() {
    let core = World::default().boot();
    assert_eq!(core.host_dma_root(), None);
    let tables = core.stat(crate::abi::stat::HOST_TABLE_PAGES, &mut Held::nothing());
    let with = world(true).boot();
    assert_eq!(with.stat(crate::abi::stat::HOST_TABLE_PAGES, &mut Held::nothing()), tables, "it is a table apart");
}

#[test]
fn devices_reach_each_page_of_the_host_and_no_other() {
    for (ipa_bits, blocks) in WIDTHS.into_iter().flat_map(|bits| [(bits, true), (bits, false)]) {
        let world = World { host_dma: host_dma(ipa_bits, blocks), ..ragged(ipa_bits) };
        let core = world.boot();
        let expected: Vec<Stretch> = world.host_ram().iter().map(|r| (r.start, r.end, RAM)).collect();
        assert_eq!(host_dma_view(&core), expected, "{ipa_bits} bits");
        assert_due(&core);
        assert_eq!(core.host_dma_leaves().iter().all(|leaf| leaf.size == PAGE_SIZE), !blocks, "blocks");
    }
}

#[test]
fn ram_that_an_smmu_can_not_put_out_is_out_of_reach() {
    let ram = vec![range(GIB, GIB), range(16 * GIB, GIB)];
    let world = World { ram, host_dma: host_dma(34, true), ..World::default() };
    let core = world.boot();
    assert_eq!(host_dma_view(&core), [(GIB, 2 * GIB, RAM)]);
    let beyond = 16 * GIB + 64 * MIB;
    take(&core, beyond).unwrap();
    give(&core, beyond);
    assert_eq!(host_dma_view(&core), [(GIB, 2 * GIB, RAM)]);
}

#[test]
fn interrupts_can_be_sent_but_no_other_register_is_reached() {
    const ITS: u64 = 0x0809_0000;
    let doorbells = [
        range(ITS, 2 * PAGE_SIZE),
        range(GIB, PAGE_SIZE),         // RAM: the host's anyway
        range(0x0905_0000, PAGE_SIZE), // withheld
        range(1 << 41, PAGE_SIZE),     // beyond the table
    ];
    let dma = HostDma { ipa_bits: 40, blocks: true, doorbells: doorbells.into_iter().collect() };
    let world = World { host_dma: Some(dma), withheld: vec![range(0x0905_0000, 0x2_0000)], ..World::default() };
    let core = world.boot();
    let mut expected: Vec<Stretch> = vec![(ITS, ITS + 2 * PAGE_SIZE, DEVICE)];
    expected.extend(world.host_ram().iter().map(|r| (r.start, r.end, RAM)));
    assert_eq!(host_dma_view(&core), expected);
    assert_due(&core);
    core.map_page_host(ipa(0x0A00_0000), &mut Held::nothing()).unwrap();
    assert_eq!(host_dma_view(&core), expected, "what a CPU touches");
}

#[test]
fn a_page_leaves_the_devices_with_the_host_and_comes_back_with_it() {
    for blocks in [true, false] {
        let core = world(blocks).boot();
        let pages = [GIB + 5 * MIB, GIB + 5 * MIB + PAGE_SIZE, GIB + 64 * MIB, GIB];
        for page in pages {
            take(&core, page).unwrap();
            assert_due(&core);
            assert!(!host_dma_view(&core).iter().any(|&(start, end, _)| (start..end).contains(&page)), "{page:#x}");
        }
        for page in pages {
            give(&core, page);
            assert_due(&core);
        }
        assert_eq!(host_dma_view(&core).len(), 1, "all of RAM");
    }
}

#[test]
fn a_block_leaves_whole_and_comes_back_page_by_page() {
    for blocks in [true, false] {
        let core = world(blocks).boot();
        let v = vm(&core, 1, VmState::Ready);
        let (first, second) = (GIB + 64 * MIB, GIB + 66 * MIB);
        let map = |gpa, at| core.prot_and_map_vm_s2pt(v, ipa(gpa), pa(at), Level::L2, &mut Held::nothing());
        // The second 2 MiB are mapped by pages when they go.
        take(&core, second).unwrap();
        give(&core, second);
        for (gpa, at) in [(0, first), (PMD_SIZE, second)] {
            map(gpa, at).unwrap();
            assert_due(&core);
            let reached = host_dma_view(&core).iter().any(|&(start, end, _)| start < at + PMD_SIZE && at < end);
            assert!(!reached, "{at:#x}");
        }
        for page in (first..second + PMD_SIZE).step_by(PAGE_SIZE as usize) {
            core.clear_vm_page(v, pfn(page), &mut Held::nothing()).unwrap();
            if page.is_multiple_of(64 * PAGE_SIZE) {
                assert_due(&core);
            }
        }
        assert_due(&core);
        assert_eq!(host_dma_view(&core).len(), 1);
    }
}

#[test]
fn devices_reach_what_a_vm_shares_for_as_long_as_it_does() {
    let core = world(true).boot();
    let v = vm(&core, 3, VmState::Verified);
    let page = GIB + 7 * MIB;
    core.prot_and_map_vm_s2pt(v, ipa(0), pa(page), Level::L3, &mut Held::nothing()).unwrap();
    let reached = || host_dma_view(&core).iter().any(|&(start, end, _)| (start..end).contains(&page));
    assert!(!reached());
    let sg = [PAGE_SIZE, 0];
    for _ in 0..2 {
        core.grant_stage2_sg_gpa(v, ipa(0), sg[0], sg[1], &mut Held::nothing()).unwrap();
        assert!(reached());
        assert_due(&core);
    }
    core.revoke_stage2_sg_gpa(v, ipa(0), sg[0], sg[1], &mut Held::nothing()).unwrap();
    assert!(reached(), "one grant is left");
    core.revoke_stage2_sg_gpa(v, ipa(0), sg[0], sg[1], &mut Held::nothing()).unwrap();
    assert!(!reached());
    core.share_page_at(v, ipa(0), &mut Held::nothing()).unwrap();
    assert!(reached());
    core.unshare_page_at(v, ipa(0), &mut Held::nothing()).unwrap();
    assert!(!reached());
    assert_due(&core);
}

#[test]
fn devices_reach_all_of_a_shared_vm() {
    for level in [Level::L3, Level::L2] {
        let core = world(true).boot();
        let v = vm(&core, 3, VmState::Ready);
        core.acquire_lock_s2page(&mut Held::nothing()).0.set_granting(v, true);
        let before = host_dma_view(&core);
        core.prot_and_map_vm_s2pt(v, ipa(0), pa(GIB + 8 * MIB), level, &mut Held::nothing()).unwrap();
        assert_eq!(host_dma_view(&core), before);
        assert_due(&core);
        // A page that came to it for a device of its own only was not shared until now.
        let page = GIB + 32 * MIB;
        take(&core, page).unwrap();
        set_record(&core, page, S2Page::new(v, Count::DmaPending, Some((PMD_SIZE / PAGE_SIZE) + 9)));
        core.assign_pfn_to_vm(v, Gfn::new(PMD_SIZE / PAGE_SIZE + 9).unwrap(), pfn(page), &mut Held::nothing()).unwrap();
        assert_eq!(record(&core, page).count(), Count::Shares(1));
        assert_due(&core);
    }
}

#[test]
fn a_page_that_a_vm_dies_with_is_zeroed_before_devices_reach_it() {
    let core = world(true).boot();
    let v = vm(&core, 2, VmState::Ready);
    let page = GIB + 9 * MIB;
    core.prot_and_map_vm_s2pt(v, ipa(0), pa(page), Level::L3, &mut Held::nothing()).unwrap();
    crate::machine::Machine::write_page(core.machine(), pfn(page), &[0x5A; PAGE_SIZE as usize]);
    crate::world::set_state(&core, v, VmState::Poweroff);
    assert_due(&core);
    core.clear_vm_page(v, pfn(page), &mut Held::nothing()).unwrap();
    assert!(core.machine().written_pages().is_empty());
    assert_due(&core);
}

#[test]
fn what_is_refused_changes_nothing_for_devices() {
    let core = world(true).boot();
    let corevisors = world(true).carve_out().start;
    let before = host_dma_view(&core);
    let vm = Vmid::new_vm(5).unwrap();
    for page in [corevisors, 0x0900_0000] {
        assert_eq!(take(&core, page), Err(Refused::NotHostPage(pfn(page))));
        core.grant_vm_page(vm, pfn(page), &mut Held::nothing());
    }
    core.grant_vm_page(vm, pfn(GIB), &mut Held::nothing());
    assert_eq!(host_dma_view(&core), before);
}
