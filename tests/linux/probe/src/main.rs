// SPDX-License-Identifier: GPL-2.0-only
//! A Linux program without libc that touches physical memory through `/dev/mem`, and reads the system's counter.
//!
//! ```text
//! probe read ADDRESS            user space loads from the page
//! probe write ADDRESS VALUE     user space stores to it
//! probe kernel-read ADDRESS     the kernel itself loads from it, as the argument of a system call
//! probe kernel-write ADDRESS    the kernel itself stores to it, as the result of a system call
//! probe clock                   prints CNTVCT_EL0 and CNTFRQ_EL0
//! ```
//!
//! Each prints one line `probe: …`. An access that the machine refuses ends the program before that: by SIGBUS (exit
//! status 135 in a shell) where the program itself made it, with an oops of the kernel (SIGSEGV, 139) where the kernel did.
#![no_std]
#![no_main]

mod syscall;

use core::arch::{asm, global_asm};
use core::ffi::CStr;
use core::fmt::{self, Write};

use syscall::{Errno, Fd};

// The kernel starts a program with the argument count and vector on the stack (no return address, no registers).
global_asm!(
    ".global _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "ldr x0, [sp]",
    "add x1, sp, #8",
    "bl main",
    "brk #0",
);

/// Standard output, through the system call.
struct Out;

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        syscall::write(Fd::STDOUT, text.as_bytes()).map(|_| ()).map_err(|_| fmt::Error)
    }
}

/// Why the program ends with status 1.
enum Failure {
    Usage,
    Call(&'static str, Errno),
}

/// What one page of physical memory is mapped for.
struct PhysicalPage {
    start: *mut u8,
    offset: usize,
}

impl PhysicalPage {
    const SIZE: usize = 4096;

    /// Maps the page that holds `address`.
    fn map(address: usize) -> Result<Self, Failure> {
        let mem = syscall::open_read_write(c"/dev/mem").map_err(|e| Failure::Call("open /dev/mem", e))?;
        let offset = address % Self::SIZE;
        let start = syscall::map_shared(mem, address - offset, Self::SIZE).map_err(|e| Failure::Call("mmap", e))?;
        Ok(Self { start, offset })
    }

    /// The word at the address.
    fn word(&self) -> *mut u32 {
        self.start.wrapping_add(self.offset).cast()
    }
}

fn run(arguments: &[&str]) -> Result<(), Failure> {
    match *arguments {
        ["read", address] => {
            let page = PhysicalPage::map(number(address)?)?;
            // SAFETY: the page is mapped; what the load does to the machine is what the caller wants to know.
            let value = unsafe { page.word().read_volatile() };
            let _ = writeln!(Out, "probe: read {value:#010x}");
        }
        ["write", address, value] => {
            let page = PhysicalPage::map(number(address)?)?;
            let value = number(value)? as u32;
            // SAFETY: as above, for the store.
            unsafe { page.word().write_volatile(value) };
            let _ = writeln!(Out, "probe: wrote {value:#010x}");
        }
        // Of all calls that take or fill a structure these hold no lock at that moment: after the oops the program
        // can be cleared away.
        ["kernel-read", address] => {
            let page = PhysicalPage::map(number(address)?)?;
            let result = syscall::set_own_scheduling(page.word().cast_const());
            let _ = writeln!(Out, "probe: kernel read, and answered {}", result.err().map_or(0, |e| e.0));
        }
        ["kernel-write", address] => {
            let page = PhysicalPage::map(number(address)?)?;
            syscall::real_time(page.word().cast()).map_err(|e| Failure::Call("clock_gettime", e))?;
            let _ = writeln!(Out, "probe: kernel wrote");
        }
        ["clock"] => {
            let (count, frequency) = clock();
            let _ = writeln!(Out, "probe: clock {count} at {frequency} Hz");
        }
        _ => return Err(Failure::Usage),
    }
    Ok(())
}

/// The system counter as user space sees it, and its frequency.
fn clock() -> (u64, u64) {
    let (count, frequency): (u64, u64);
    // SAFETY: both registers only tell; Linux lets user space read them.
    unsafe {
        asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency,
            options(nomem, nostack));
    }
    (count, frequency)
}

/// A number in hexadecimal (with 0x) or decimal.
fn number(text: &str) -> Result<usize, Failure> {
    match text.strip_prefix("0x") {
        Some(digits) => usize::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|_| Failure::Usage)
}

/// Entered from `_start` with the arguments as the kernel laid them out.
#[no_mangle]
extern "C" fn main(count: usize, vector: *const *const core::ffi::c_char) -> ! {
    const MOST: usize = 4;
    let mut arguments = [""; MOST];
    let given = count.saturating_sub(1).min(MOST);
    for (index, argument) in arguments.iter_mut().enumerate().take(given) {
        // SAFETY: the kernel gives `count` pointers to strings that live as long as the program; the first is its name.
        let text = unsafe { CStr::from_ptr(*vector.add(index + 1)) };
        *argument = text.to_str().unwrap_or("");
    }
    let status = match run(&arguments[..given]) {
        Ok(()) => 0,
        Err(Failure::Usage) => {
            let _ = writeln!(Out, "probe: usage: read|write|kernel-read|kernel-write ADDRESS [VALUE], or clock");
            2
        }
        Err(Failure::Call(what, errno)) => {
            let _ = writeln!(Out, "probe: {what} failed: errno {}", errno.0);
            1
        }
    };
    syscall::exit(status)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Out, "probe: {info}");
    syscall::exit(3)
}
