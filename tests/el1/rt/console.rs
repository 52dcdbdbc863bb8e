// SPDX-License-Identifier: GPL-2.0-only
//! Output by the PL011 that the device tree names, and the emulator's end by semihosting.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// QEMU's `virt`.
static UART: AtomicU64 = AtomicU64::new(0x0900_0000);
static TURN: AtomicBool = AtomicBool::new(false);

/// Prints to the PL011 at `address` from here on.
pub fn use_uart(address: u64) {
    UART.store(address, Ordering::Relaxed);
}

/// The UART's address.
pub fn uart() -> u64 {
    UART.load(Ordering::Relaxed)
}

struct Pl011;

impl Write for Pl011 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const FR: u64 = 0x18;
        const FR_TXFF: u32 = 1 << 5;
        for byte in text.bytes() {
            // SAFETY: the UART's registers, mapped as a device; Corevisor prints to them, too, which mixes up nothing
            // but the output.
            unsafe {
                while ((uart() + FR) as *const u32).read_volatile() & FR_TXFF != 0 {}
                (uart() as *mut u32).write_volatile(byte.into());
            }
        }
        Ok(())
    }
}

/// Prints, one CPU at a time.
pub fn print(text: fmt::Arguments<'_>) {
    while TURN.swap(true, Ordering::Acquire) {
        core::hint::spin_loop();
    }
    let _ = Pl011.write_fmt(text);
    TURN.store(false, Ordering::Release);
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::rt::console::print(format_args!("{}\n", format_args!($($text)*))) };
}

/// Ends the emulator with `status` (Arm semihosting, SYS_EXIT_EXTENDED).
pub fn exit(status: u64) -> ! {
    const SYS_EXIT_EXTENDED: u64 = 0x20;
    const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x2_0026;
    let block = [ADP_STOPPED_APPLICATION_EXIT, status];
    loop {
        // SAFETY: the emulator reads `block`, and ends.
        unsafe {
            core::arch::asm!("hlt #0xf000", in("x0") SYS_EXIT_EXTENDED, in("x1") block.as_ptr(), options(nostack));
        }
    }
}
