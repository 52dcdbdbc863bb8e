// SPDX-License-Identifier: GPL-2.0-only
//! The test call CRASH, while another CPU runs a VM that never exits by itself. What must come of it is on the console:
//! tools/qemu-runner (`ENDINGS`) has it.

use crate::rt::call::{self, test_call};
use crate::rt::harness::Test;
use crate::say;
use crate::world::{Setup, scheduler};

/// The one test.
pub const TESTS: &[Test] = &[("crash", crash)];

/// The argument of the test call CRASH: a panic.
const PANIC: u64 = 2;

fn crash() {
    let vm = Setup::new("spin").start();
    scheduler::set_slice(1_000_000_000, 1_000_000_000);
    scheduler::begin(&[vm], 2);
    scheduler::wait_until_it_spins(vm, 1);
    say!("the other CPU runs a VM");
    call::hvc(test_call::CRASH, &[PANIC]);
    panic!("CRASH has returned");
}
