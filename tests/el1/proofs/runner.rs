// SPDX-License-Identifier: GPL-2.0-only
//! VCPU_RUN with a value in each register of the host's, all of which must be there afterwards.

use crate::rt::cpu;
use crate::state::{Room, State, Vectors, has_sve, let_vectors_through};
use crate::world::protocol::HOST_MAGIC;
use crate::world::vm::set_runner;
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{HOST_CALL_BASE, host_call as n};

static mut ROOMS: [Room; cpu::MAX] = [const { Room::NEW }; cpu::MAX];
/// VCPU_RUNs so far.
static SWITCHES: AtomicU64 = AtomicU64::new(0);

/// Where this CPU's registers are.
pub fn state() -> &'static mut State {
    // SAFETY: this CPU's own, and no test keeps it.
    unsafe { &mut (*(&raw mut ROOMS).cast::<Room>().add(cpu::index())).state }
}

/// All that this CPU has of FP and SVE.
pub fn vectors() -> Vectors {
    if has_sve() { Vectors::Sve } else { Vectors::Fp }
}

/// VCPU_RUN.
pub fn run(v: u64, vcpu: u64) -> i64 {
    let number = SWITCHES.fetch_add(1, Ordering::Relaxed);
    let state = state();
    let_vectors_through(has_sve());
    // 0 is what registers are that nobody has touched.
    state.fill(HOST_MAGIC, number as u8 | 1, vectors());
    state.x[0] = (HOST_CALL_BASE + n::VCPU_RUN).into();
    state.x[1] = v;
    state.x[2] = vcpu;
    state.hvc();
    if let Some(difference) = state.difference(1) {
        panic!("after switch {number}: {difference:x?}");
    }
    state.x_out[0] as i64
}

/// How many VCPU_RUNs [`run`] made while `f` ran, with it as everybody's.
pub fn count(f: impl FnOnce()) -> u64 {
    let before = SWITCHES.load(Ordering::Relaxed);
    set_runner(Some(run));
    f();
    set_runner(None);
    SWITCHES.load(Ordering::Relaxed) - before
}
