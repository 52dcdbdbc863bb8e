// SPDX-License-Identifier: GPL-2.0-only
//! Each invariant holds at first, and is broken by the state that it is about.

use model::RData;
use model::constants::model_only::{REMAP_START, SMMU_HOST_OFFSET};
use model::constants::state::{ACTIVE, POWEROFF, READY, VERIFIED};
use model::constants::{COREVISOR, INVALID, INVALID64, PAGE_SIZE, smmu_ttbr};
use model::invariants::cpus::{self, Cpu};
use model::invariants::{INVARIANTS, Strength, check_all, pointers_monotone};
use model::page_table::{NptEntry, SptEntry};
use model::rdata::{Image, S2Index, S2Page};

/// A page of RAM.
const PAGE: u64 = 0x4_0010;
/// A device.
const DEVICE: u64 = 0x9000;

/// A machine at the start.
fn machine() -> RData {
    RData::new(S2Index::Pfn)
}

/// Changes a machine, and gives the invariants that are broken then.
fn broken(strength: Strength, change: impl FnOnce(&mut RData)) -> Vec<&'static str> {
    let mut d = machine();
    change(&mut d);
    let mut ids: Vec<_> = check_all(&d, strength).into_iter().map(|v| v.id).collect();
    ids.dedup();
    ids
}

/// What [`Strength::Literal`] says.
fn literal(change: impl FnOnce(&mut RData)) -> Vec<&'static str> {
    broken(Strength::Literal, change)
}

/// What [`Strength::Strict`] says.
fn strict(change: impl FnOnce(&mut RData)) -> Vec<&'static str> {
    broken(Strength::Strict, change)
}

/// Gives a page to a principal.
fn give(d: &mut RData, pfn: u64, owner: u32, count: u32, gfn: u64) {
    d.s2page.set(pfn, S2Page { owner, count, gfn });
}

/// Maps a page by a table that exists.
fn map(d: &mut RData, vmid: u32, gfn: u64, pfn: u64) {
    d.npts[vmid as usize].local_mmap(vmid, gfn * PAGE_SIZE, 3, pfn * PAGE_SIZE).expect("defined");
}

/// Maps a page for a device.
fn map_dma(d: &mut RData, bank: u32, gfn: u64, pfn: u64) {
    d.spts.local_spt_map(bank, 0, gfn * PAGE_SIZE, pfn * PAGE_SIZE);
}

#[test]
fn all_hold_at_first() {
    assert_eq!(strict(|_| {}), [""; 0]);
    assert_eq!(INVARIANTS.iter().filter(|inv| inv.from == Strength::Literal).count(), 14);
}

#[test]
fn entries_say_what_their_descriptors_say() {
    let wrong = SptEntry { pfn: PAGE + 1, pte: PAGE * PAGE_SIZE };
    assert!(literal(|d| _ = d.spts.pt.insert((smmu_ttbr(0, 0), 1), wrong)).contains(&"I1"));
    let wrong = NptEntry { pfn: PAGE, level: 3, pte: 0 };
    assert!(literal(|d| _ = d.npts[0].pt.insert(PAGE, wrong)).contains(&"I2"));
    assert_eq!(literal(|d| map(d, 0, PAGE + 1, PAGE)), ["I3"]);
}

#[test]
fn ownership_records() {
    assert_eq!(literal(|d| give(d, PAGE, 0, 0, 5)), ["I4"]);
    assert_eq!(literal(|d| give(d, 0, 0, 0, SMMU_HOST_OFFSET)), ["I5"]);
    assert_eq!(strict(|d| give(d, PAGE, 1, 101, 5)), ["E7"]);
}

#[test]
fn host_isolation_and_its_strict_form() {
    let host_maps = |count| {
        move |d: &mut RData| {
            give(d, PAGE, 1, count, 5);
            map(d, 0, PAGE, PAGE);
        }
    };
    assert_eq!(literal(host_maps(0)), ["I6"]);
    assert_eq!(strict(host_maps(1)), [""; 0]);
    assert_eq!(literal(host_maps(INVALID)), [""; 0]);
    assert_eq!(strict(host_maps(INVALID)), ["I6", "E3", "E5"]);
}

#[test]
fn vm_isolation() {
    assert_eq!(literal(|d| map(d, 1, 5, PAGE)), ["I7"]);
    assert_eq!(literal(|d| map(d, 1, 5, DEVICE)), [""; 0]);
    let off = |d: &mut RData| {
        d.vm(1).vm_state = POWEROFF;
        map(d, 1, 5, PAGE);
    };
    assert_eq!(strict(off), [""; 0]);
    let in_two_tables = |d: &mut RData| {
        off(d);
        give(d, PAGE, 2, 1, 5);
        map(d, 2, 5, PAGE);
    };
    assert_eq!(strict(in_two_tables), ["E5"]);
    let still_running = |d: &mut RData| {
        off(d);
        d.vm(1).vcpu_state.insert(0, ACTIVE);
    };
    assert_eq!(strict(still_running), ["E2"]);
}

#[test]
fn banks() {
    assert_eq!(literal(|d| _ = d.smmu_vmid.insert(3, COREVISOR)), ["I8"]);
    let maps = |owner: u32, gfn: u64| {
        move |d: &mut RData| {
            d.smmu_vmid.insert(0, owner);
            give(d, PAGE, 1, INVALID, 5);
            map_dma(d, 0, gfn, PAGE);
        }
    };
    assert_eq!(strict(maps(1, 5)), [""; 0]);
    assert_eq!(literal(maps(1, 6)), ["I9"]);
    assert_eq!(literal(maps(2, 5)), ["I9"]);
    assert_eq!(strict(maps(INVALID, 5)), ["E2", "E5"]);
}

#[test]
fn dma_counts() {
    let host = |count: u32, gfn: u64| {
        move |d: &mut RData| {
            d.smmu_vmid.insert(0, 0);
            give(d, PAGE, 0, count, PAGE + SMMU_HOST_OFFSET);
            d.spts.local_spt_map(0, 0, gfn * PAGE_SIZE, PAGE * PAGE_SIZE);
        }
    };
    assert_eq!(literal(host(1, PAGE + SMMU_HOST_OFFSET)), [""; 0]);
    assert_eq!(literal(host(0, PAGE + SMMU_HOST_OFFSET)), ["I10", "I11"]);
    assert_eq!(literal(host(1, 5)), ["I9"], "by the letter, a host page has one io page");
    assert_eq!(strict(host(1, 5)), [""; 0]);
    assert_eq!(strict(host(0, 5)), ["I10", "I11"]);
    assert_eq!(strict(host(2, 5)), ["I10"]);
}

#[test]
fn images() {
    assert_eq!(literal(|d| d.core_data.next_remap_ptr = 0), ["I12"]);
    assert_eq!(literal(|d| map(d, COREVISOR, REMAP_START / PAGE_SIZE, PAGE)), ["I12"]);
    let image = Image { load_addr: 0, load_size: 2 * PAGE_SIZE, remap_addr: REMAP_START, mapped_pages: 1 };
    let register = move |d: &mut RData, vmid: u32, image: Image| {
        d.core_data.next_remap_ptr = REMAP_START + 2 * PAGE_SIZE;
        map(d, COREVISOR, REMAP_START / PAGE_SIZE, PAGE);
        d.vm(vmid).next_load_info = 1;
        *d.vm(vmid).image_mut(0) = image;
    };
    assert_eq!(literal(|d| register(d, 1, image)), [""; 0]);
    assert_eq!(literal(|d| register(d, 1, Image { mapped_pages: 3, ..image })), ["I13"]);
    assert_eq!(literal(|d| register(d, 1, Image { mapped_pages: 0, ..image })), ["I13"]);
    assert_eq!(literal(|d| register(d, 1, Image { load_size: 3 * PAGE_SIZE, ..image })), ["I13"]);
    let overlap = |d: &mut RData| {
        register(d, 1, image);
        register(d, 2, image);
    };
    assert_eq!(literal(overlap), ["I13"]);
}

#[test]
fn the_running_vcpu() {
    let run = |state: u32, dirty: u64| {
        move |d: &mut RData| {
            (d.ihost, d.cur_vmid) = (false, 1);
            d.vm(1).vm_state = VERIFIED;
            d.vm(1).vcpu_state.insert(0, state);
            d.ctxt(1, 0).set("dirty", dirty);
        }
    };
    assert_eq!(strict(run(ACTIVE, 0)), [""; 0]);
    assert_eq!(strict(run(READY, 0)), ["E6"]);
    assert_eq!(literal(run(ACTIVE, INVALID64)), ["I14"]);
    assert_eq!(literal(|d| d.ihost = false), ["I14"]);
    assert_eq!(literal(|d| d.cur_vmid = 17), ["I14"]);

    let mut d = machine();
    run(ACTIVE, 0)(&mut d);
    let here = Cpu::of(&d);
    let host = Cpu::of(&machine());
    assert!(cpus::check(&d, &[host, here]).is_empty());
    assert_eq!(cpus::check(&d, &[host]).len(), 1);
    assert_eq!(cpus::check(&d, &[here, Cpu { curid: 1, ..here }]).len(), 1);
}

#[test]
fn kcores_pages_are_in_no_other_table() {
    let core = |d: &mut RData| give(d, DEVICE + PAGE, COREVISOR, 0, 0);
    for change in [
        (|d: &mut RData| map(d, 0, DEVICE + PAGE, DEVICE + PAGE)) as fn(&mut RData),
        |d| map(d, 1, 5, DEVICE + PAGE),
        |d| map_dma(d, 0, 5, DEVICE + PAGE),
    ] {
        let ids = strict(|d| {
            core(d);
            change(d);
        });
        assert!(ids.contains(&"E1"), "{ids:?}");
    }
    assert_eq!(strict(core), [""; 0]);
}

#[test]
fn tables_have_one_parent() {
    assert_eq!(strict(|d| d.npts[1].pgd_next += PAGE_SIZE), ["E4"]);
    assert_eq!(strict(|d| _ = d.npts[1].pmd_t.insert((0, 0, 0))), ["E4"]);
    let words = |d: &mut RData| {
        let npt = &mut d.npts[1];
        npt.vttbr_pool.insert(0, npt.pgd_next | 3);
        npt.pgd_next += PAGE_SIZE;
    };
    assert_eq!(strict(words), [""; 0]);
    let twice = |d: &mut RData| {
        words(d);
        let word = d.npts[1].vttbr_pool[&0];
        d.npts[1].vttbr_pool.insert(8, word);
    };
    assert_eq!(strict(twice), ["E4"]);
    let (before, mut after) = (machine(), machine());
    after.npts[1].pmd_next += PAGE_SIZE;
    assert!(pointers_monotone(&before, &after) && !pointers_monotone(&after, &before));
}
