// SPDX-License-Identifier: GPL-2.0-only
//! What mappings for DMA cost. What waits for an SMMU to end invalidations is in it, as far as that takes instructions: QEMU's
//! has ended them when it is asked.

use super::{TIMES, block, has_smmu, measure};
use crate::rt::PAGE;
use crate::rt::call::host;
use core::arch::asm;
use corevisor::abi::{HOST_CALL_BASE, host_call as n};

/// A call that must succeed, without the checks that other payloads make of every register.
fn call(number: u32, [x1, x2, x3, x4, x5]: [u64; 5]) {
    let mut x0 = u64::from(HOST_CALL_BASE + number);
    // SAFETY: a call of ours, which keeps all registers but x0, and memory.
    unsafe {
        asm!("hvc #0", inout("x0") x0, in("x1") x1, in("x2") x2, in("x3") x3, in("x4") x4, in("x5") x5, options(nostack));
    }
    assert_eq!(x0, 0, "call {number}");
}

/// A bank of the host's.
pub fn mappings() {
    /// Read and write, write-back memory.
    const ALL: u64 = 3 << 6 | 0xF << 2;
    const IOVA: u64 = 0x10_0000_0000;
    if !has_smmu() {
        return;
    }
    let first = block(1);
    assert_eq!(host(n::SMMU_ALLOC_PGD, &[0, 0, 0]), 0);
    let map = |i: u64| call(n::SMMU_LPAE_MAP, [IOVA + i * PAGE, first + i * PAGE, ALL, 0, 0]);
    let clear = |i: u64| call(n::SMMU_CLEAR, [IOVA + i * PAGE, 0, 0, 0, 0]);
    // With all tables there.
    (0..TIMES).for_each(map);
    (0..TIMES).for_each(clear);
    measure("page mapped for DMA (SMMU_LPAE_MAP)", map);
    measure("page mapped for DMA no more (SMMU_CLEAR)", clear);
    assert_eq!(host(n::SMMU_FREE_PGD, &[0, 0]), 0);
}
