// SPDX-License-Identifier: GPL-2.0-only
//! Pages of the host that Corevisor works on.

use crate::rt::call::primitive;
use crate::rt::cpu;
use crate::rt::random::Random;
use crate::rt::{PAGE, machine, tree};
use core::sync::atomic::{AtomicU64, Ordering};

/// Carries out a primitive that must succeed; what it returns.
pub fn carry_out(which: u64, address: u64, value: u64) -> u64 {
    let [error, result, ..] = super::cpu::ask(which, address, value);
    assert_eq!(error, 0, "primitive {which} of {address:#x}");
    result
}

/// The `n`th page of RAM that nobody uses, with a page beside it on each side that nobody uses either.
fn page(n: u64) -> u64 {
    let ram = tree::ram().next().expect("RAM");
    let at = machine::image().end.next_multiple_of(2 << 20) + (16 << 20) + n * 4 * PAGE;
    assert!(at + 2 * PAGE < ram.end && !tree::is_corevisors(at - PAGE) && !tree::is_corevisors(at + PAGE));
    at
}

fn words(page: u64) -> impl Iterator<Item = u64> {
    (page..page + PAGE).step_by(8)
}

fn pattern(address: u64) -> u64 {
    address.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

fn load(address: u64) -> u64 {
    // SAFETY: RAM that nobody uses.
    unsafe { (address as *const u64).read_volatile() }
}

fn store(address: u64, value: u64) {
    // SAFETY: as above.
    unsafe { (address as *mut u64).write_volatile(value) };
}

/// Fills the page and its neighbours.
fn fill(page: u64) {
    words(page - PAGE).chain(words(page)).chain(words(page + PAGE)).for_each(|at| store(at, pattern(at)));
}

fn check_neighbours(page: u64) {
    words(page - PAGE).chain(words(page + PAGE)).for_each(|at| assert_eq!(load(at), pattern(at), "at {at:#x}"));
}

pub fn words_are_loaded_and_stored() {
    let page = page(0);
    fill(page);
    for at in [0, 8, 16, PAGE / 2, PAGE - 8].map(|offset| page + offset) {
        assert_eq!(carry_out(primitive::SHARED_LOAD, at, 0), pattern(at));
        carry_out(primitive::SHARED_STORE, at, !pattern(at));
        assert_eq!(load(at), !pattern(at));
        store(at, at);
        assert_eq!(carry_out(primitive::SHARED_LOAD, at, 0), at, "nothing old is seen");
        store(at, pattern(at));
    }
    words(page).for_each(|at| assert_eq!(load(at), pattern(at), "at {at:#x}"));
    check_neighbours(page);
}

pub fn one_page_is_cleared() {
    let page = page(1);
    fill(page);
    carry_out(primitive::CLEAR_PHYS_PAGE, page, 0);
    words(page).for_each(|at| assert_eq!(load(at), 0, "at {at:#x}"));
    check_neighbours(page);
}

/// Cleared and written pages are so in memory, not in caches alone.
pub fn uncached_views_agree() {
    let page = page(2);
    fill(page);
    carry_out(primitive::CLEAR_PHYS_PAGE, page, 0);
    machine::with_window(page, |view| {
        (view..view + PAGE).step_by(8).for_each(|at| assert_eq!(load(at), 0));
    });
    fill(page);
    carry_out(primitive::FETCH_FROM_DORACLE, page, 0);
    machine::with_window(page, |view| {
        (0..PAGE).step_by(8).for_each(|offset| assert_eq!(load(view + offset), pattern(page + offset)));
    });
}

pub fn one_page_is_copied() {
    let (from, to) = (page(3), page(5));
    fill(from);
    fill(to);
    carry_out(primitive::COPY_PAGE, from, to);
    words(from).for_each(|at| assert_eq!(load(at), pattern(at), "at {at:#x}"));
    words(to).for_each(|at| assert_eq!(load(at), pattern(at - to + from), "at {at:#x}"));
    check_neighbours(from);
    check_neighbours(to);
}

pub fn fetched_pages_keep_their_content() {
    let page = page(6);
    fill(page);
    carry_out(primitive::FETCH_FROM_DORACLE, page, 0);
    words(page).for_each(|at| assert_eq!(load(at), pattern(at), "at {at:#x}"));
    check_neighbours(page);
}

static ENOUGH: AtomicU64 = AtomicU64::new(0);
static TURNS: AtomicU64 = AtomicU64::new(0);

/// Clears, copies and reads pages of its own, each CPU through its own window.
fn work_on_own_pages(me: usize) {
    let mut random = Random(me as u64);
    let pages: [u64; 4] = core::array::from_fn(|n| page(10 + 4 * me as u64 + n as u64));
    while ENOUGH.load(Ordering::Acquire) == 0 {
        let [from, to] = [random.below(2), 2 + random.below(2)].map(|n| pages[n as usize]);
        words(from).for_each(|at| store(at, random.next()));
        carry_out(primitive::COPY_PAGE, from, to);
        words(to).for_each(|at| assert_eq!(load(at), load(at - to + from), "at {at:#x}"));
        let at = from + random.below(512) * 8;
        assert_eq!(carry_out(primitive::SHARED_LOAD, at, 0), load(at));
        carry_out(primitive::CLEAR_PHYS_PAGE, from, 0);
        words(from).for_each(|at| assert_eq!(load(at), 0, "at {at:#x}"));
        if me == 0 && TURNS.load(Ordering::Relaxed) > 300 {
            ENOUGH.store(1, Ordering::Release);
        }
        TURNS.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn two_cpus_do_not_meet() {
    cpu::start(1);
    cpu::give_work(1, work_on_own_pages);
    work_on_own_pages(0);
    cpu::wait_for(1);
    cpu::stop(1);
}
