// SPDX-License-Identifier: GPL-2.0-only
//! Calls, registers and instructions at random.

use crate::code::{execute, mrs, msr};
use crate::exception::catch;
use crate::protocol::SMALL_PAGES;
use crate::{desk, exception, hvc};
use core::arch::asm;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// An argument: small, an edge, an address of this VM's, or anything.
fn number(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => random.below(16),
        2 => 1 << random.below(64),
        3 => u64::MAX << random.below(64),
        4 => SMALL_PAGES + 4096 * random.below(4) + random.below(2) * random.below(4096),
        5 => random.below(1 << 30),
        6 => 4096 * random.below(1024),
        _ => random.next(),
    }
}

/// A call, but for those that end the VM or this vCPU.
fn call(random: &mut Random) {
    const ENDS: [u64; 8] = [2, 8, 9, 0xB, 0xC, 0x10, 0x12, 0x13];
    let id = match random.below(8) {
        0 => random.below(32),
        1 => 0x8400_0000 + random.below(0x60),
        2 => 0xC400_0000 + random.below(0x60),
        3 => 0x8600_0000 + random.below(16),
        4 => 0xC600_0000 + random.below(16),
        5 => 0xC600_1000 + random.below(64),
        6 => [0x8000_0000, 0x8000_0001, 0x8000_0002, 0x8000_8000, 0x8600_FF01, 0x8600_FF03][random.below(6) as usize],
        _ => random.next(),
    };
    let is_psci = matches!(id as u32 & 0xBFFF_FFE0, 0x8400_0000);
    if is_psci && ENDS.contains(&(id & 0x1F)) {
        return;
    }
    let mut registers: [u64; 18] = core::array::from_fn(|_| number(random));
    registers[0] = if random.below(4) == 0 { id | random.next() << 32 } else { id };
    // An SMC, and other immediates, may be undefined.
    catch(|| match random.below(8) {
        // SAFETY: as for the call by HVC #0; what it returns is not looked at.
        0 => unsafe { asm!("smc #0", inout("x0") registers[0] => _, clobber_abi("C"), options(nostack)) },
        // SAFETY: as above.
        1 => unsafe { asm!("hvc #77", inout("x0") registers[0] => _, clobber_abi("C"), options(nostack)) },
        _ => hvc::raw(&mut registers),
    });
}

/// A system register read, or written where this program does not depend on it.
fn register(random: &mut Random) {
    let [op1, crn, crm, op2] = [8, 16, 16, 8].map(|bound| random.below(bound) as u32);
    let op0 = 2 + random.below(2) as u32;
    if random.below(2) == 0 {
        execute(mrs(op0, op1, crn, crm, op2), 0);
        return;
    }
    // Stage 1, stacks, vectors, masks, and which vCPU this is.
    let is_needed = op0 == 3 && (op1 == 3 && crn == 4 || op1 == 0 && matches!(crn, 1 | 2 | 4 | 10 | 12 | 13));
    if !is_needed {
        execute(msr(op0, op1, crn, crm, op2), number(random));
    }
}

/// Maintenance, address translation, hints.
fn instruction(random: &mut Random) {
    const SYS: u32 = 0xD508_0000;
    let [op1, crm, op2] = [8, 16, 8].map(|bound| random.below(bound) as u32);
    match random.below(4) {
        // By address: nowhere, where it does no harm.
        0 => _ = execute(SYS | op1 << 16 | 7 << 12 | crm << 8 | op2 << 5, 1 << 45 | random.next() >> 20),
        1 => _ = execute(SYS | op1 << 16 | 8 << 12 | crm << 8 | op2 << 5, random.next()),
        2 => _ = execute(SYS | op1 << 16 | (11 + 4 * random.below(2) as u32) << 12 | crm << 8 | op2 << 5, number(random)),
        // Undefined for certain: the architecture keeps these.
        _ => _ = execute(random.below(1 << 16) as u32, 0),
    }
}

/// Arguments: 0, steps; 1, a seed. Result 0: steps so far.
pub fn run() {
    let mut random = Random(desk::argument(1));
    for step in 0..desk::argument(0) {
        match random.below(4) {
            0 | 1 => call(&mut random),
            2 => register(&mut random),
            _ => instruction(&mut random),
        }
        if step % 64 == 0 {
            desk::set_result(0, step);
            exception::mask_interrupts();
        }
    }
    desk::set_result(0, desk::argument(0));
}
