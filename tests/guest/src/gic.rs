// SPDX-License-Identifier: GPL-2.0-only
//! The virtual CPU interface: of a GICv3 (Arm IHI 0069), where the ID registers show one, else of a GICv2 (IHI 0048). There
//! is no distributor: the host injects what it likes.

#![allow(dead_code, reason = "for programs to come")]

use crate::protocol::VCPUS;
use crate::smp;
use crate::{read, write};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Interrupts that are counted: SGIs and PPIs, and all others together at the end.
const COUNTED: usize = 33;
/// INTIDs from here on are none.
const SPECIAL: u64 = 1020;

static COUNTS: [[AtomicU64; COUNTED]; VCPUS] = [const { [const { AtomicU64::new(0) }; COUNTED] }; VCPUS];
/// A `fn(u64)`, or 0.
static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Registers of a GICv2's CPU interface.
mod v2 {
    use crate::protocol::GICV2_CPU;
    use core::arch::asm;

    pub const CTLR: u64 = 0x00;
    pub const PMR: u64 = 0x04;
    pub const BPR: u64 = 0x08;
    pub const IAR: u64 = 0x0C;
    pub const EOIR: u64 = 0x10;

    pub fn read(offset: u64) -> u64 {
        let value: u64;
        // SAFETY: a device.
        unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) GICV2_CPU + offset, options(nostack)) };
        value
    }

    pub fn write(offset: u64, value: u64) {
        // SAFETY: a device.
        unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) GICV2_CPU + offset, options(nostack)) };
    }
}

/// Whether there is a GICv3's CPU interface.
pub fn is_v3() -> bool {
    read!("id_aa64pfr0_el1") >> 24 & 0xF != 0
}

/// The next interrupt, which is active from then on.
fn acknowledge() -> u64 {
    if is_v3() { read!("icc_iar1_el1") & 0xFF_FFFF } else { v2::read(v2::IAR) & 0x3FF }
}

/// The end of an interrupt.
fn end(intid: u64) {
    if is_v3() {
        write!("icc_eoir1_el1", intid);
    } else {
        v2::write(v2::EOIR, intid);
    }
}

/// Makes this vCPU take interrupts of all priorities, once they are unmasked: of group 1; of group 0 with a GICv2, where
/// both come as IRQs.
pub fn set_up() {
    if !is_v3() {
        v2::write(v2::PMR, 0xFF);
        v2::write(v2::BPR, 0);
        v2::write(v2::CTLR, 1);
        return;
    }
    write!("icc_sre_el1", 7);
    write!("icc_ctlr_el1", 0);
    write!("icc_bpr1_el1", 0);
    write!("icc_pmr_el1", 0xFF);
    write!("icc_igrpen1_el1", 1);
}

/// What is called with the INTID of each interrupt, before its end.
pub fn set_handler(handler: fn(u64)) {
    HANDLER.store(handler as *const () as usize, Ordering::Release);
}

/// How often vCPU `cpu` has taken `intid`.
pub fn count(cpu: usize, intid: usize) -> u64 {
    COUNTS[cpu][intid.min(COUNTED - 1)].load(Ordering::Acquire)
}

/// An interrupt: acknowledged, counted, ended. The timer's is masked there, so that it comes once.
pub fn handle() {
    let intid = acknowledge();
    if (SPECIAL..8192).contains(&intid) {
        return;
    }
    if intid == crate::timer::INTID {
        crate::timer::mask();
    }
    let handler = HANDLER.load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: stored by `set_handler`.
        let handler: fn(u64) = unsafe { core::mem::transmute::<usize, fn(u64)>(handler) };
        handler(intid);
    }
    COUNTS[smp::this()][(intid as usize).min(COUNTED - 1)].fetch_add(1, Ordering::Release);
    end(intid);
}

/// Sends SGI `intid` to the vCPUs whose bits are set. By a GICv3 only, like the next.
pub fn send_sgi(intid: u64, vcpus: u64) {
    // SAFETY: orders what was written before the interrupt.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    write!("icc_sgi1r_el1", (intid & 15) << 24 | vcpus & 0xFFFF);
}

/// Sends SGI `intid` to all vCPUs but this one.
pub fn send_sgi_to_others(intid: u64) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    write!("icc_sgi1r_el1", (intid & 15) << 24 | 1 << 40);
}
