// SPDX-License-Identifier: GPL-2.0-only
//! Computes with all that a VM has, while it is saved, destroyed and loaded again.

use crate::protocol::desk::HOOK;
use crate::protocol::{DESK, GUEST_MAGIC, LARGE_PAGES, SMALL_PAGES, VCPUS};
use crate::state::{Room, Vectors, canary, let_vectors_through};
use crate::{desk, read, smp, write};
use core::sync::atomic::{AtomicU64, Ordering};

static mut ROOMS: [Room; VCPUS] = [const { Room::NEW }; VCPUS];
static SUM: AtomicU64 = AtomicU64::new(0);

/// Every 64th word of all pages.
fn words() -> impl Iterator<Item = u64> {
    let small = SMALL_PAGES..SMALL_PAGES + (desk::argument(0) << 12);
    let large = LARGE_PAGES..LARGE_PAGES + (desk::argument(1) << 21);
    small.step_by(512).chain(large.step_by(512))
}

/// What is at `at`, which nothing else could have.
fn content(at: u64) -> u64 {
    at.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn work(me: usize) {
    let_vectors_through(false);
    // SAFETY: this vCPU's own.
    let state = unsafe { &mut (*(&raw mut ROOMS).cast::<Room>().add(me)).state };
    let seed = 0x31 + 2 * me as u8;
    for n in 0..100 {
        SUM.fetch_add(n, Ordering::SeqCst);
    }
    state.fill(GUEST_MAGIC, seed, Vectors::Fp);
    let deadline = canary(GUEST_MAGIC, seed, 0xF0);
    write!("cntv_cval_el0", deadline);
    write!("cntv_ctl_el0", 2);
    state.store_to(DESK + HOOK);
    assert_eq!(state.difference(0), None);
    assert_eq!((read!("cntv_cval_el0"), read!("cntv_ctl_el0")), (deadline, 2));
    for n in 0..100 {
        SUM.fetch_add(n, Ordering::SeqCst);
    }
}

/// Arguments: 0, pages of 4 KiB; 1, blocks of 2 MiB. Results: 0, a sum that all vCPUs have made; 1, words of memory that
/// are not what they were.
pub fn run() {
    for at in words() {
        // SAFETY: memory of this VM that nobody else uses.
        unsafe { (at as *mut u64).write_volatile(content(at)) };
    }
    let vcpus = desk::vcpus();
    (1..vcpus).for_each(|cpu| smp::start(cpu, work));
    work(0);
    (1..vcpus).for_each(smp::wait_for);
    // SAFETY: as above.
    let wrong = words().filter(|&at| unsafe { (at as *const u64).read_volatile() } != content(at)).count();
    desk::set_result(0, SUM.load(Ordering::SeqCst));
    desk::set_result(1, wrong as u64);
}
