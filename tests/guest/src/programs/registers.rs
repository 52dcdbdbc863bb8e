// SPDX-License-Identifier: GPL-2.0-only
//! Holds values in all registers while the host runs others.

use crate::protocol::desk::HOOK;
use crate::protocol::{DESK, GUEST_MAGIC, VCPUS};
use crate::state::{Room, Vectors, let_vectors_through};
use crate::{desk, smp};
use core::sync::atomic::{AtomicU64, Ordering};

static mut ROOMS: [Room; VCPUS] = [const { Room::NEW }; VCPUS];
static ROUNDS: AtomicU64 = AtomicU64::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);
static FP: AtomicU64 = AtomicU64::new(0);

fn work(me: usize) {
    // SAFETY: this vCPU's own.
    let state = unsafe { &mut (*(&raw mut ROOMS).cast::<Room>().add(me)).state };
    let_vectors_through(false);
    for round in 0..ROUNDS.load(Ordering::Relaxed) {
        let seed = (SEED.load(Ordering::Relaxed) + 31 * me as u64 + round) as u8;
        let period = FP.load(Ordering::Relaxed);
        let uses_fp = period != 0 && round % period == 0;
        state.fill(GUEST_MAGIC, seed | 1, if uses_fp { Vectors::Fp } else { Vectors::None });
        state.store_to(DESK + HOOK);
        if let Some(difference) = state.difference(0) {
            panic!("round {round}: {difference:x?}");
        }
    }
}

/// Arguments: 0, rounds of four exits for each vCPU; 1, a seed; 2, every how many rounds the FP registers take part, 0:
/// never.
pub fn run() {
    ROUNDS.store(desk::argument(0), Ordering::Relaxed);
    SEED.store(desk::argument(1), Ordering::Relaxed);
    FP.store(desk::argument(2), Ordering::Relaxed);
    let vcpus = desk::vcpus();
    (1..vcpus).for_each(|cpu| smp::start(cpu, work));
    work(0);
    (1..vcpus).for_each(smp::wait_for);
}
