// SPDX-License-Identifier: GPL-2.0-only
//! Ids, and addresses of the image window.

use super::{boot, vm};
use crate::addr::{PAGE_SIZE, Range};
use crate::corevisor::REMAP_WINDOW;
use crate::lock::Held;
use crate::refused::Refused;
use crate::world::{Core, ipa};
use std::vec::Vec;

fn take(core: &Core, pages: u64) -> Result<u64, Refused> {
    core.alloc_remap_addr(pages, &mut Held::nothing()).map(|at| at.as_u64())
}

fn give(core: &Core, start: u64, pages: u64) {
    let part = Range::new(start, pages * PAGE_SIZE).unwrap();
    let mut held = Held::nothing();
    let (mut data, _) = core.acquire_lock_core(&mut held);
    data.return_window(part);
    data.release_lock_core();
}

fn free(core: &Core) -> Vec<(u64, u64)> {
    let parts = &core.acquire_lock_core(&mut Held::nothing()).0.free_windows.clone();
    parts.iter().map(|part| (part.start, part.size() / PAGE_SIZE)).collect()
}

fn pages_of_window() -> u64 {
    REMAP_WINDOW.size() / PAGE_SIZE
}

// Tests: BC-1, LK-4, LK-10
#[test]
fn ids_go_up_to_15_and_then_those_of_destroyed_vms_come_again() {
    let core = boot();
    let held = &mut Held::nothing();
    let ids: Vec<_> = (0..15).map(|_| core.gen_vmid(held).unwrap()).collect();
    assert_eq!(ids, (1..16).map(vm).collect::<Vec<_>>());
    assert_eq!(core.gen_vmid(held), Err(Refused::NoVmid));
    core.acquire_lock_core(held).0.recycled = 1 << 9 | 1 << 3 | 1 << 15;
    assert_eq!([(); 3].map(|()| core.gen_vmid(held)), [Ok(vm(3)), Ok(vm(9)), Ok(vm(15))]);
    assert_eq!(core.gen_vmid(held), Err(Refused::NoVmid));
    // An id that nothing was done with is free again, and the others stay taken.
    core.return_vmid(vm(15), held);
    core.return_vmid(vm(7), held);
    assert_eq!([(); 2].map(|()| core.gen_vmid(held)), [Ok(vm(15)), Ok(vm(7))]);
    assert_eq!(core.gen_vmid(held), Err(Refused::NoVmid));
}

// Tests: BC-2
#[test]
fn the_end_of_the_window_is_strict() {
    let core = boot();
    assert_eq!(take(&core, 0), Ok(REMAP_WINDOW.start), "nothing, of nothing");
    assert_eq!(take(&core, pages_of_window()), Err(Refused::WindowFull));
    for pages in [u64::MAX, u64::MAX / PAGE_SIZE, 1 << 52] {
        assert_eq!(take(&core, pages), Err(Refused::WindowFull));
    }
    assert_eq!(take(&core, pages_of_window() - 1), Ok(REMAP_WINDOW.start));
    assert_eq!(take(&core, 1), Err(Refused::WindowFull));
    assert_eq!(take(&core, 0), Ok(REMAP_WINDOW.end - PAGE_SIZE));
    assert_eq!(core.search_load_info(vm(1), 0, &mut Held::nothing()), None);
}

// Tests: BC-2
#[test]
fn free_parts_of_the_window_join_and_are_used_when_the_rest_is_full() {
    let core = boot();
    let at: Vec<u64> = (0..6).map(|_| take(&core, 2).unwrap()).collect();
    let rest = take(&core, pages_of_window() - 12 - 1).unwrap();
    give(&core, at[1], 2);
    give(&core, at[3], 2);
    assert_eq!(free(&core), [(at[1], 2), (at[3], 2)]);
    give(&core, at[2], 2); // between two
    assert_eq!(free(&core), [(at[1], 6)]);
    give(&core, at[0], 2); // before one
    give(&core, at[4], 2); // after one
    assert_eq!(free(&core), [(at[0], 10)]);
    assert_eq!(take(&core, 11), Err(Refused::WindowFull));
    assert_eq!(take(&core, 4), Ok(at[0]));
    assert_eq!(take(&core, 6), Ok(at[2]));
    assert_eq!(free(&core), []);
    assert_eq!(take(&core, 1), Err(Refused::WindowFull));
    // First fit.
    give(&core, at[0], 1);
    give(&core, at[2], 2);
    assert_eq!(take(&core, 2), Ok(at[2]));
    // What is free at the end counts as never used.
    give(&core, rest, pages_of_window() - 13);
    assert_eq!(free(&core), [(at[0], 1)]);
    assert_eq!(take(&core, 1), Ok(rest));
    assert_eq!(core.alloc_remap_addr(1, &mut Held::nothing()), Ok(ipa(rest + PAGE_SIZE)));
}
