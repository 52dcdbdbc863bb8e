// SPDX-License-Identifier: GPL-2.0-only
//! Executes an instruction of the host's choice, with values in all registers that nobody else may see.

use crate::exception::catch;
use crate::protocol::{GUEST_MAGIC, canaries};
use crate::state::{Room, TPIDR_EL1, VBAR_EL1, Vectors, canary, let_vectors_through};
use crate::{desk, write};

static mut ROOM: Room = Room::NEW;

/// Takes instructions from the hook until there is none. Result 0: how many; 1: how many were refused.
pub fn run() {
    let_vectors_through(false);
    let (mut executed, mut refused) = (0, 0);
    loop {
        let instruction = desk::hook(canaries::INSTRUCTION) as u32;
        if instruction == 0 {
            break;
        }
        let seed = desk::hook(canaries::SEED) as u8;
        let room = &raw mut ROOM;
        // SAFETY: used here only.
        let state = unsafe { &mut (*room).state };
        state.fill(GUEST_MAGIC, seed, Vectors::Fp);
        let chosen = desk::hook(canaries::CHOSEN);
        for n in (0..31).filter(|n| chosen >> n & 1 != 0) {
            state.x[n] = desk::hook(canaries::X + 8 * n as u64);
        }
        // The handler of an exception needs them.
        if desk::hook(canaries::HANDLED) != 0 {
            state.keep(TPIDR_EL1);
            state.keep(VBAR_EL1);
        }
        let changed = desk::hook(canaries::CHANGED);
        write!("cntv_cval_el0", canary(GUEST_MAGIC, seed, canaries::TIMER));
        write!("cntv_ctl_el0", 2);
        let exception = catch(|| state.execute(instruction));
        executed += 1;
        refused += u64::from(exception.is_some());
        if exception.is_none() {
            assert_eq!(state.difference(changed), None);
        }
    }
    desk::set_result(0, executed);
    desk::set_result(1, refused);
}
