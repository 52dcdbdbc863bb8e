// SPDX-License-Identifier: GPL-2.0-only
//! CPU_SUSPEND and its relatives.

use super::psci_calls::by_both;
use crate::rt::call::{self, psci};
use crate::rt::cpu::entry;
use crate::rt::fault::{Access, access};
use crate::rt::machine::{now, read, write};
use crate::rt::tree;

/// StateType of the original format: a power-down.
const POWER_DOWN: u64 = 1 << 16;
const CPU_DEFAULT_SUSPEND_64: u32 = 0xC400_000C;

pub fn suspend_needs_an_entry_of_the_hosts() {
    let corevisor = tree::corevisor().next().expect("a range").start;
    for address in [corevisor, 0, entry() + 2, 1 << 40, 1 << 60, u64::MAX] {
        for function in [psci::CPU_SUSPEND_64, psci::CPU_SUSPEND_32] {
            // A 32-bit function takes half of it.
            let wide = function == psci::CPU_SUSPEND_64;
            if !wide && address as u32 == 0 {
                continue;
            }
            let got = by_both(function, [POWER_DOWN, address, 0]);
            assert_eq!(got, psci::INVALID_ADDRESS, "{function:#x} {address:#x}");
        }
        for function in [psci::SYSTEM_SUSPEND_64, CPU_DEFAULT_SUSPEND_64] {
            assert_eq!(by_both(function, [address, 0, 0]), psci::INVALID_ADDRESS, "{function:#x} {address:#x}");
        }
    }
    // QEMU's firmware has neither of these.
    for function in [psci::SYSTEM_SUSPEND_64, CPU_DEFAULT_SUSPEND_64] {
        assert_eq!(by_both(function, [entry(), 0, 0]), psci::NOT_SUPPORTED);
    }
    // Nor these states.
    assert_eq!(by_both(psci::CPU_SUSPEND_64, [1 << 20, entry(), 0]), psci::INVALID_PARAMETERS);
}

/// A standby takes no entry: a bad one does no harm. The timer ends it.
pub fn standby_returns() {
    enable_timer_interrupt();
    for address in [entry(), 0, u64::MAX, tree::corevisor().next().expect("a range").start] {
        let ticks = read!("cntfrq_el0") / 100;
        let start = now();
        write!("cntp_tval_el0", ticks);
        write!("cntp_ctl_el0", 1);
        assert_eq!(call::psci(psci::CPU_SUSPEND_64, [0, address, 0]), psci::SUCCESS);
        assert!(now() - start >= ticks, "it has slept");
        write!("cntp_ctl_el0", 0);
    }
}

/// Has the GICv3 signal the physical timer's interrupt, which stays masked: it wakes the CPU all the same.
fn enable_timer_interrupt() {
    const GICD_CTLR: u64 = 0;
    /// Affinity routing, groups 0 and 1.
    const ARE_GROUPS: u64 = (1 << 4) | 0b11;
    const GICR_WAKER: u64 = 0x14;
    const GICR_IGROUPR0: u64 = 0x1_0080;
    const GICR_ISENABLER0: u64 = 0x1_0100;
    const TIMER: u64 = 1 << 30;
    let gic = tree::compatible("arm,gic-v3").expect("a GICv3");
    let mut ranges = tree::ranges(gic).map(|range| range.start);
    let (distributor, redistributor) = (ranges.next().expect("GICD"), ranges.next().expect("GICR"));
    for (address, value) in [
        (distributor + GICD_CTLR, ARE_GROUPS),
        (redistributor + GICR_WAKER, 0),
        (redistributor + GICR_IGROUPR0, u32::MAX.into()),
        (redistributor + GICR_ISENABLER0, TIMER),
    ] {
        assert!(access(Access::Write32, address, value).is_ok());
    }
    write!("S3_0_C12_C12_5", 1); // ICC_SRE_EL1
    write!("S3_0_C4_C6_0", 0xFF); // ICC_PMR_EL1
    write!("S3_0_C12_C12_7", 1); // ICC_IGRPEN1_EL1
}
