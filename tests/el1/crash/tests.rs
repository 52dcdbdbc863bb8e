// SPDX-License-Identifier: GPL-2.0-only
//! The test call CRASH, while another CPU spins with its interrupts masked. What must come of it is on the console:
//! tools/qemu-runner (`ENDINGS`) has it.

use crate::rt::call::{self, test_call};
use crate::rt::cpu;
use crate::rt::harness::Test;
use crate::say;
use core::sync::atomic::{AtomicU64, Ordering};

/// The one test.
pub const TESTS: &[Test] = &[("crash", crash)];

static TURNS: AtomicU64 = AtomicU64::new(0);

fn crash() {
    cpu::start(1);
    cpu::give_work(1, |_| {
        loop {
            TURNS.fetch_add(1, Ordering::Relaxed);
        }
    });
    cpu::wait_until("turns of the other CPU", 10, || TURNS.load(Ordering::Relaxed) > 1000);
    say!("the other CPU spins");
    call::hvc(test_call::CRASH, &[crate::KIND]);
    panic!("CRASH has returned");
}
