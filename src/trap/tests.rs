// SPDX-License-Identifier: GPL-2.0-only
//! The host's traps, from the syndrome to the registers.

mod fault;
mod id_registers;
mod property;
mod psci;
mod smccc;

use super::{Conduit, Registers};
use crate::lock::Held;
use crate::world::Core;

/// Registers with a value of its own in each.
fn distinct() -> Registers {
    core::array::from_fn(|i| 0xA5A5_0000_0000_0000 + i as u64 * 0x1_0001)
}

/// Calls `args` (x0 and on) by HVC and by SMC, checks that both do the same, and returns the registers after.
/// What follows the arguments is [`distinct`].
fn call<const N: usize>(core: &Core, args: [u64; N]) -> Registers {
    let by = |conduit| {
        let mut regs = distinct();
        regs[..N].copy_from_slice(&args);
        core.host_smccc(conduit, 0, &mut regs, &mut Held::nothing());
        core.machine().check();
        regs
    };
    let regs = by(Conduit::Hvc);
    assert_eq!(regs, by(Conduit::Smc), "HVC and SMC differ");
    regs
}

/// Asserts that `after` is what [`call`] put there, but for the first registers, which are `results`.
fn assert_results<const N: usize, const R: usize>(after: Registers, args: [u64; N], results: [u64; R]) {
    let mut expected = distinct();
    expected[..N].copy_from_slice(&args);
    expected[..R].copy_from_slice(&results);
    assert_eq!(after, expected, "call {:#x}", args[0]);
}
