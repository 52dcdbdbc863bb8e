// SPDX-License-Identifier: GPL-2.0-only
//! The end: a panic, or an exception at EL2 itself. Prints what there is to know, without allocating or waiting for
//! anybody, and stops every CPU.

use super::console::Unlocked;
use super::percpu::{self, Epitaph};
use super::{image, traps};
use crate::addr::{Pa, VMID_COUNT, Vmid};
use crate::platform::BootError;
use crate::read_sysreg;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Taken by the first CPU that dies of an exception; boot/vectors.S parks any other.
#[unsafe(no_mangle)]
static EPITAPH_TAKEN: AtomicU32 = AtomicU32::new(0);

/// Set before the host is stopped: whoever comes to EL2 stays there.
static HALTED: AtomicBool = AtomicBool::new(false);
/// CPUs that came, and stayed.
static PARKED: AtomicUsize = AtomicUsize::new(0);
/// The first level of each stage-2 table, for as long as it exists; 0 otherwise.
static ROOTS: [AtomicU64; VMID_COUNT] = [const { AtomicU64::new(0) }; VMID_COUNT];
/// Size of each, in pages.
static ROOT_PAGES: AtomicUsize = AtomicUsize::new(0);

/// Most frames that a backtrace shows.
const BACKTRACE_DEPTH: usize = 32;
/// Turns of a loop that waits for the other CPUs to stop.
const PATIENCE: u32 = 50_000_000;

/// Tells the end where the table of `v` is, which it will take away, and of how many pages the first level of any is.
pub fn know_root(v: Vmid, at: Pa, pages: usize) {
    ROOT_PAGES.store(pages, Ordering::Relaxed);
    ROOTS[v.index()].store(at.as_u64(), Ordering::Release);
}

/// The table of `v` is no more.
pub fn forget_root(v: Vmid) {
    ROOTS[v.index()].store(0, Ordering::Release);
}

/// Whether some CPU has met its end; then the caller must [`park`].
pub fn is_halted() -> bool {
    HALTED.load(Ordering::Relaxed)
}

/// Sleeps for good.
pub fn park() -> ! {
    PARKED.fetch_add(1, Ordering::Relaxed);
    loop {
        aarch64_cpu::asm::wfi();
    }
}

/// Boot can't go on: says why, in one line.
pub fn boot_stop(why: &BootError) -> ! {
    let _ = writeln!(Unlocked, "[corevisor] ERROR cpu0: boot stopped: {why}");
    end()
}

/// A panic of ours.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    let fp: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, x29", out(reg) fp, options(nomem, nostack)) };
    if stop_host() {
        let _ = writeln!(Unlocked, "\n[corevisor] ERROR cpu{}: {info}", percpu::index());
        context();
        backtrace(fp);
        farewell();
    }
    end()
}

/// An exception taken from EL2 to EL2, or one from the host that is never routed here; from boot/vectors.S.
#[unsafe(no_mangle)]
extern "C" fn fatal_exception(epitaph: &Epitaph, kind: u64) -> ! {
    const KINDS: [&str; 4] = ["synchronous exception", "IRQ", "FIQ", "SError"];
    if stop_host() {
        let kind = KINDS.get(kind as usize).unwrap_or(&"exception");
        let _ = writeln!(Unlocked, "\n[corevisor] ERROR cpu{}: unexpected {kind} at EL2", percpu::index());
        context();
        for (row, registers) in epitaph[..31].chunks(4).enumerate() {
            let _ = write!(Unlocked, "[corevisor]  ");
            for (i, value) in registers.iter().enumerate() {
                let _ = write!(Unlocked, " x{:<2} {value:#018x}", row * 4 + i);
            }
            let _ = writeln!(Unlocked);
        }
        let _ = writeln!(Unlocked, "[corevisor]   sp  {:#018x}", epitaph[31]);
        frame(0, read_sysreg!("elr_el2"));
        backtrace(epitaph[29]);
        farewell();
    }
    end()
}

/// Registers that tell what happened, and to whom.
fn context() {
    let _ = writeln!(
        Unlocked,
        "[corevisor]   esr {:#x} elr {:#x} far {:#x} hpfar {:#x} spsr {:#x} vttbr {:#x}",
        read_sysreg!("esr_el2"),
        read_sysreg!("elr_el2"),
        read_sysreg!("far_el2"),
        read_sysreg!("hpfar_el2"),
        read_sysreg!("spsr_el2"),
        read_sysreg!("vttbr_el2"),
    );
}

/// Return addresses as offsets into target/corevisor.elf: `addr2line -e` names the lines.
fn backtrace(mut fp: u64) {
    for depth in 1..BACKTRACE_DEPTH {
        if !traps::on_a_stack(fp) {
            return;
        }
        // SAFETY: a 16-byte aligned address on one of our stacks, where frame records lie.
        let [next, lr] = unsafe { *(fp as *const [u64; 2]) };
        if lr == 0 {
            return;
        }
        frame(depth, lr);
        if next <= fp {
            return; // the chain leads up the stack
        }
        fp = next;
    }
}

fn frame(depth: usize, pc: u64) {
    let text = image::text();
    if text.contains(pc) {
        let _ = writeln!(Unlocked, "[corevisor]   #{depth} corevisor+{:#x}", pc - text.start);
    } else {
        let _ = writeln!(Unlocked, "[corevisor]   #{depth} {pc:#x}");
    }
}

/// Stops every other CPU: the stage-2 tables of the host and of all VMs are emptied, so that the next instruction of each
/// is a fault, which brings it here. No interrupt is needed, and masking interrupts is no help. False if another CPU is
/// at it already.
fn stop_host() -> bool {
    if HALTED.swap(true, Ordering::SeqCst) {
        return false;
    }
    let roots = ROOTS.iter().map(|root| root.load(Ordering::Acquire) as *mut u64);
    for root in roots.filter(|root| !root.is_null()) {
        for i in 0..ROOT_PAGES.load(Ordering::Relaxed) * 512 {
            // SAFETY: the first level of a table, in our memory. Whoever holds its lock is of no interest now.
            unsafe { root.add(i).write_volatile(0) };
        }
    }
    // SAFETY: ends translations of EL1 and EL0, none of ours.
    unsafe { core::arch::asm!("dsb ishst", "tlbi alle1is", "dsb ish", "isb", options(nostack)) };
    true
}

/// Waits a while for the others, and says how it went. The last line has a fixed end, for scripts.
fn farewell() {
    let others = traps::cpus_on().saturating_sub(1);
    let mut patience = PATIENCE;
    while PARKED.load(Ordering::Relaxed) < others && patience > 0 {
        patience -= 1;
        core::hint::spin_loop();
    }
    let parked = PARKED.load(Ordering::Relaxed);
    let _ =
        writeln!(Unlocked, "[corevisor]   {parked} of {others} other CPUs stopped (a sleeping one stops as it wakes)");
    let _ = writeln!(Unlocked, "[corevisor] HALTED");
}

fn end() -> ! {
    #[cfg(feature = "semihosting")]
    super::semihosting::exit(2);
    #[cfg(not(feature = "semihosting"))]
    loop {
        // SAFETY: masks everything and sleeps.
        unsafe { core::arch::asm!("msr daifset, #0xf", "wfi", options(nomem, nostack)) };
    }
}

/// Provokes an end, for the tests of this file (`abi::test_call::CRASH`).
#[cfg(feature = "semihosting")]
pub fn crash(kind: u64) {
    #[inline(never)]
    fn overflow(depth: u64) -> u64 {
        let pad = core::hint::black_box([depth; 64]);
        if depth == u64::MAX { 0 } else { overflow(depth + 1) + pad[(depth % 64) as usize] }
    }
    match kind {
        0 => {
            // SAFETY: none: address 0 is not mapped, and that this ends us is what is wanted.
            unsafe { core::ptr::read_volatile(core::hint::black_box(8) as *const u64) };
        }
        1 => {
            core::hint::black_box(overflow(0));
        }
        3 => super::fixmap::read_after_use(),
        _ => panic!("a test asked for this"),
    }
}
