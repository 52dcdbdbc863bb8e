// SPDX-License-Identifier: GPL-2.0-only
//! One CPU's pages change hands while the others use what lies around them.

use crate::rt::call::{self, stat, test_call};
use crate::rt::cpu::{self, wait_until};
use crate::rt::fault::{Access, assert_refused, read, write};
use crate::rt::random::Random;
use crate::rt::{PAGE, machine, tree};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::stat as id;

const OTHERS: core::ops::Range<usize> = 1..4;
const BLOCK: u64 = 2 << 20;

/// What the other CPUs do now, and with which block: a number that grows, and an address.
static STEP: AtomicU64 = AtomicU64::new(0);
static TARGET: AtomicU64 = AtomicU64::new(0);
/// The last step that each has done.
static DONE: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
/// Turns of all hammering CPUs.
static TURNS: AtomicU64 = AtomicU64::new(0);
/// Says that it is enough.
const END: u64 = u64::MAX;

/// Blocks above the payload that are whole and not split.
fn blocks() -> impl Iterator<Item = u64> {
    let start = machine::image().end.next_multiple_of(BLOCK) + BLOCK;
    let end = tree::ram().map(|ram| ram.end).max().expect("RAM");
    (start..end)
        .step_by(BLOCK as usize)
        .filter(|&block| tree::corevisor().all(|range| range.end <= block || block + BLOCK <= range.start))
}

fn take(page: u64) {
    assert_eq!(call::hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0, "{page:#x}");
}

fn give(page: u64) {
    assert_eq!(call::hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0, "{page:#x}");
}

/// Starts all others with `work`, calls `f`, and ends them.
fn with_others(work: fn(usize), f: impl FnOnce()) {
    STEP.store(0, Ordering::Release);
    for cpu in OTHERS {
        DONE[cpu].store(0, Ordering::Release);
        cpu::start(cpu);
        cpu::give_work(cpu, work);
    }
    f();
    STEP.store(END, Ordering::Release);
    for cpu in OTHERS {
        cpu::wait_for(cpu);
        cpu::stop(cpu);
    }
}

/// Has all others do step `step`, and waits until they have.
fn all_do(step: u64) {
    STEP.store(step, Ordering::Release);
    for cpu in OTHERS {
        wait_until("a step of another CPU", 60, || DONE[cpu].load(Ordering::Acquire) == step);
    }
}

/// What the page at `address` holds.
fn content(address: u64) -> u64 {
    address ^ 0x0F1E_2D3C_4B5A_6978
}

/// When TAKE_PAGE has returned, no CPU has a way to the page left; when GIVE_PAGE has, all have it again.
pub fn taken_pages_are_gone_for_all() {
    let page = blocks().next().expect("enough RAM") + 77 * PAGE;
    TARGET.store(page, Ordering::Release);
    let refused = stat(id::REFUSED_ACCESS);
    const ROUNDS: u64 = 200;
    with_others(
        |me| {
            let page = TARGET.load(Ordering::Acquire);
            let mut step = 0;
            while step != END {
                wait_until("next step", 60, || STEP.load(Ordering::Acquire) != step);
                step = STEP.load(Ordering::Acquire);
                if step == END {
                    assert_eq!(read(page), Ok(0));
                } else if step % 2 == 1 {
                    assert_eq!(read(page), Ok(content(page)), "step {step}");
                } else {
                    assert_refused(Access::Read, page);
                    assert_refused(Access::Write, page);
                }
                DONE[me].store(step, Ordering::Release);
            }
        },
        || {
            for round in 0..ROUNDS {
                assert_eq!(read(page), Ok(0), "zeroed, or never used");
                assert!(write(page, content(page)).is_ok());
                all_do(2 * round + 1);
                take(page);
                all_do(2 * round + 2);
                give(page);
            }
        },
    );
    assert_eq!(stat(id::REFUSED_ACCESS), refused + ROUNDS * 3 * 2);
    assert_eq!(read(page), Ok(0));
}

/// Pages of block `block` that CPU `me` uses: next to the one that comes and goes, and anywhere.
fn own_pages(block: u64, me: usize) -> [u64; 3] {
    let me = me as u64;
    [VICTIM - 4 + me, VICTIM + me, 40 * me].map(|page| block + page * PAGE)
}

/// The page in a block that comes and goes.
const VICTIM: u64 = 256;

fn hammer(me: usize) {
    let mut random = Random(me as u64);
    let mut old = 0;
    let mut values = [0; 3];
    while STEP.load(Ordering::Acquire) != END {
        let block = TARGET.load(Ordering::Acquire);
        if block != old {
            old = block;
            for (page, value) in own_pages(block, me).into_iter().zip(&mut values) {
                *value = random.next();
                // SAFETY: RAM that this CPU alone uses.
                unsafe { (page as *mut u64).write_volatile(*value) };
            }
            DONE[me].store(block, Ordering::Release);
        }
        for (page, value) in own_pages(block, me).into_iter().zip(&mut values) {
            // Plain accesses: any abort is unexpected, and ends the test.
            // SAFETY: as above.
            let found = unsafe { (page as *const u64).read_volatile() };
            assert_eq!(found, *value, "{page:#x}");
            *value = random.next();
            // SAFETY: as above.
            unsafe { (page as *mut u64).write_volatile(*value) };
        }
        TURNS.fetch_add(1, Ordering::Relaxed);
    }
    for (page, value) in own_pages(old, me).into_iter().zip(values) {
        assert_eq!(read(page), Ok(value), "{page:#x}");
    }
}

/// Blocks are split, by break-before-make, while other CPUs write and read in them.
pub fn splits_under_use() {
    const BLOCKS: usize = 100;
    const HAND_OVERS: u64 = 10;
    let splits = [id::BLOCK_SPLIT, id::HOST_TABLE_PAGES].map(stat);
    let refused = stat(id::REFUSED_ACCESS);
    TURNS.store(0, Ordering::Relaxed);
    // The first one was split by another test.
    let mut chosen = blocks().skip(1).take(BLOCKS);
    TARGET.store(chosen.next().expect("enough RAM"), Ordering::Release);
    let mut used = 0;
    with_others(hammer, || {
        let first = TARGET.load(Ordering::Acquire);
        for block in [first].into_iter().chain(chosen) {
            TARGET.store(block, Ordering::Release);
            for cpu in OTHERS {
                wait_until("use of a block", 60, || DONE[cpu].load(Ordering::Acquire) == block);
            }
            let page = block + VICTIM * PAGE;
            assert!(write(page, content(page)).is_ok());
            for _ in 0..HAND_OVERS {
                take(page);
                assert_refused(Access::Write, page);
                give(page);
                assert_eq!(read(page), Ok(0));
            }
            used += 1;
        }
    });
    assert_eq!(used, BLOCKS);
    assert_eq!([id::BLOCK_SPLIT, id::HOST_TABLE_PAGES].map(stat), splits.map(|n| n + BLOCKS as u64));
    assert_eq!(stat(id::REFUSED_ACCESS), refused + BLOCKS as u64 * HAND_OVERS);
    assert!(TURNS.load(Ordering::Relaxed) > 10_000);
}
