// SPDX-License-Identifier: GPL-2.0-only
//! The console, one exit to the host for each byte.

use crate::protocol::CONSOLE;
use core::arch::asm;
use core::fmt::{self, Write};

/// The console's register; format into it.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: a device.
            unsafe { asm!("str {:w}, [{}]", in(reg) u32::from(byte), in(reg) CONSOLE, options(nostack)) };
        }
        Ok(())
    }
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::console::Console, $($text)*);
    }};
}
