// SPDX-License-Identifier: GPL-2.0-only
//! The host's interrupts: a GICv3 or GICv2, polled after exits; and list registers for VMs.

use super::vcpu::Vcpu;
use super::vm::{Vm, list_registers};
use crate::rt::machine::{now, read, write};
use crate::rt::{cpu, tree};
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::run_page::{CNTV_CTL, CNTV_CVAL, LIST_REGISTER};
use spin::Once;

/// The maintenance interrupt of the virtual CPU interface.
pub const MAINTENANCE: u32 = 25;
/// The virtual timer's.
pub const VIRTUAL_TIMER: u32 = 27;
/// The host's own timer's.
pub const ALARM: u32 = 30;
/// The SGI that brings a CPU back from its VM.
pub const KICK: u32 = 1;

/// Fields of a list register.
pub mod lr {
    pub const PENDING: u64 = 1 << 62;
    pub const ACTIVE: u64 = 1 << 63;
    pub const HW: u64 = 1 << 61;
    pub const GROUP_1: u64 = 1 << 60;
    pub const PRIORITY: u64 = 0x80 << 48;
    pub const INTID: u64 = 0xFFFF_FFFF;
    /// Shift of the physical INTID.
    pub const PHYSICAL: u32 = 32;
}

/// How often each interrupt came to a CPU of the host.
static TAKEN: [[AtomicU64; 32]; cpu::MAX] = [const { [const { AtomicU64::new(0) }; 32] }; cpu::MAX];

/// The kind of GIC, and where its registers are.
#[derive(Clone, Copy, Debug)]
enum Gic {
    /// Distributor, redistributors.
    V3(u64, u64),
    /// Distributor, CPU interface.
    V2(u64, u64),
}

fn gic() -> Gic {
    static GIC: Once<Gic> = Once::new();
    *GIC.call_once(|| {
        let registers = |name| {
            let mut ranges = tree::ranges(tree::compatible(name)?);
            Some((ranges.next()?.start, ranges.next()?.start))
        };
        let v3 = registers("arm,gic-v3").map(|(gicd, gicr)| Gic::V3(gicd, gicr));
        let v2 = || ["arm,cortex-a15-gic", "arm,gic-400"].into_iter().find_map(registers);
        v3.or_else(|| v2().map(|(gicd, gicc)| Gic::V2(gicd, gicc))).expect("a GIC")
    })
}

/// Whether it is a GICv3.
pub fn is_v3() -> bool {
    matches!(gic(), Gic::V3(..))
}

/// The page with the registers that a VM of a GICv2 has for its CPU interface, GICV; none of a GICv3.
pub fn virtual_interface() -> Option<Range<u64>> {
    let node = ["arm,cortex-a15-gic", "arm,gic-400"].into_iter().find_map(tree::compatible)?;
    tree::ranges(node).nth(3)
}

fn load(at: u64) -> u32 {
    // SAFETY: a register of the GIC, which only this module uses.
    unsafe { (at as *const u32).read_volatile() }
}

fn store(at: u64, value: u32) {
    // SAFETY: as above.
    unsafe { (at as *mut u32).write_volatile(value) };
}

/// Number of list registers.
pub fn list_register_count() -> usize {
    static COUNT: Once<usize> = Once::new();
    *COUNT.call_once(list_registers)
}

/// The distributor.
pub fn set_up() {
    match gic() {
        // ARE, groups 1 and 0 (one security state).
        Gic::V3(gicd, _) => store(gicd, 0x13),
        Gic::V2(gicd, _) => store(gicd, 1),
    }
}

/// First of the registers for SGIs and PPIs of this CPU.
fn private(gic: Gic) -> u64 {
    const SGI_FRAME: u64 = 0x1_0000;
    const FRAMES: u64 = 0x2_0000;
    match gic {
        Gic::V3(_, gicr) => gicr + FRAMES * cpu::index() as u64 + SGI_FRAME,
        Gic::V2(gicd, _) => gicd,
    }
}

/// This CPU's interface, with the interrupts that the host uses.
pub fn set_up_cpu() {
    const USED: u32 = 1 << MAINTENANCE | 1 << VIRTUAL_TIMER | 1 << ALARM | 0xFFFF;
    let gic = gic();
    let private = private(gic);
    match gic {
        Gic::V3(_, gicr) => {
            const WAKER: u64 = 0x14;
            let frame = gicr + 0x2_0000 * cpu::index() as u64;
            store(frame + WAKER, load(frame + WAKER) & !2);
            while load(frame + WAKER) & 4 != 0 {}
            store(private + 0x80, u32::MAX); // group 1
            write!("icc_sre_el1", 7);
            write!("icc_ctlr_el1", 0);
            write!("icc_pmr_el1", 0xFF);
            write!("icc_igrpen1_el1", 1);
        }
        Gic::V2(_, gicc) => {
            store(gicc + 4, 0xFF);
            store(gicc, 1);
        }
    }
    for word in 0..8 {
        store(private + 0x400 + 4 * word, 0x8080_8080);
    }
    store(private + 0x380, u32::MAX); // not active
    store(private + 0x100, USED);
    acknowledge();
}

/// Interrupt `intid` of this CPU is active from now on, or is not.
pub fn set_active(intid: u32, active: bool) {
    store(private(gic()) + if active { 0x300 } else { 0x380 }, 1 << intid);
}

/// Takes all interrupts that this CPU has, and ends them.
pub fn acknowledge() {
    loop {
        let intid = match gic() {
            Gic::V3(..) => read!("icc_iar1_el1") & 0xFF_FFFF,
            Gic::V2(_, gicc) => load(gicc + 0xC).into(),
        };
        let number = (intid & 0x3FF) as u32;
        if number >= 1020 {
            return;
        }
        if let Some(count) = TAKEN[cpu::index()].get(number as usize) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        if number == ALARM {
            write!("cntp_ctl_el0", 0);
        }
        match gic() {
            Gic::V3(..) => write!("icc_eoir1_el1", intid),
            Gic::V2(_, gicc) => store(gicc + 0x10, intid as u32),
        }
    }
}

/// How often CPU `cpu` of the host has taken `intid`.
pub fn taken(cpu: usize, intid: u32) -> u64 {
    TAKEN[cpu][intid as usize].load(Ordering::SeqCst)
}

/// Interrupts this CPU after so many microseconds.
pub fn set_alarm(microseconds: u64) {
    write!("cntp_cval_el0", now() + microseconds * read!("cntfrq_el0") / 1_000_000);
    write!("cntp_ctl_el0", 1);
}

/// No alarm, and no interrupt that is left.
pub fn quiet() {
    write!("cntp_ctl_el0", 0);
    acknowledge();
}

/// Waits for an interrupt, and takes it.
pub fn wait() {
    // SAFETY: a hint; interrupts are masked, and wake the CPU all the same.
    unsafe { core::arch::asm!("wfi", options(nostack)) };
    acknowledge();
}

/// Brings CPU `cpu` back from its VM.
pub fn kick(cpu: usize) {
    // SAFETY: orders what was written before the interrupt.
    unsafe { core::arch::asm!("dsb ish", options(nostack)) };
    match gic() {
        Gic::V3(..) => write!("icc_sgi1r_el1", u64::from(KICK) << 24 | 1 << cpu::mpidr(cpu)),
        Gic::V2(gicd, _) => store(gicd + 0xF00, 1 << (16 + cpu) | KICK),
    }
}

/// Offset of list register `i` in the run page.
fn place(i: usize) -> u64 {
    LIST_REGISTER + 8 * i as u64
}

/// The list register that has `intid`, if one does.
fn find(vcpu: &Vcpu, intid: u32) -> Option<usize> {
    (0..list_register_count()).find(|&i| {
        let value = vcpu.word(place(i));
        value >> 62 != 0 && value & lr::INTID == u64::from(intid)
    })
}

/// Before an entry: gives the vCPU what it has pending, as far as there is room.
pub fn prepare(vm: &Vm, vcpu: &Vcpu) {
    if timer_deadline(vcpu) <= vm.virtual_now() {
        vcpu.set_pending(VIRTUAL_TIMER);
    }
    let mut pending = vcpu.pending();
    while pending != 0 {
        let intid = pending.trailing_zeros();
        pending &= pending - 1;
        put(vcpu, intid);
    }
    // Physically active on the CPU where the VM will end it.
    if list_register_count() > 0 && find(vcpu, VIRTUAL_TIMER).is_some() {
        set_active(VIRTUAL_TIMER, true);
    }
}

/// Moves a pending interrupt to a list register, if there is one for it.
fn put(vcpu: &Vcpu, intid: u32) {
    let is_hardware = intid == VIRTUAL_TIMER;
    match find(vcpu, intid) {
        Some(_) if is_hardware => {}
        Some(i) => vcpu.set_word(place(i), vcpu.word(place(i)) | lr::PENDING),
        None => {
            let Some(i) = (0..list_register_count()).find(|&i| vcpu.word(place(i)) >> 62 == 0) else { return };
            let group = if is_v3() { lr::GROUP_1 } else { 0 };
            let hardware = if is_hardware { lr::HW | u64::from(intid) << lr::PHYSICAL } else { 0 };
            vcpu.set_word(place(i), lr::PENDING | group | lr::PRIORITY | hardware | u64::from(intid));
        }
    }
    vcpu.clear_pending(intid);
}

/// After an exit.
pub fn look_at(_: &Vm, vcpu: &Vcpu) {
    withdraw(vcpu);
    // What is empty is to be zero.
    for i in 0..list_register_count() {
        if vcpu.word(place(i)) >> 62 == 0 {
            vcpu.set_word(place(i), 0);
        }
    }
}

/// The vCPU's timer is not active on this CPU any more.
pub fn withdraw(vcpu: &Vcpu) {
    if list_register_count() > 0 && find(vcpu, VIRTUAL_TIMER).is_some() {
        set_active(VIRTUAL_TIMER, false);
    }
}

/// Whether the vCPU has an interrupt to take.
pub fn has_interrupt(vcpu: &Vcpu) -> bool {
    vcpu.pending() != 0 || (0..list_register_count()).any(|i| vcpu.word(place(i)) & lr::PENDING != 0)
}

/// The virtual count at which the vCPU's timer interrupts; never, if it does not.
pub fn timer_deadline(vcpu: &Vcpu) -> u64 {
    let enabled = vcpu.word(CNTV_CTL) & 3 == 1;
    if enabled { vcpu.word(CNTV_CVAL) } else { u64::MAX }
}
