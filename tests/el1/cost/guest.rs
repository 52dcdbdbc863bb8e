// SPDX-License-Identifier: GPL-2.0-only
//! The VMs whose exits are measured: a few instructions each, alone in an image of a page.

use core::arch::global_asm;

/// What one does, over and over.
#[derive(Clone, Copy)]
pub enum Program {
    /// [`CALLS`] calls that Corevisor answers, then a call to the host.
    Calls,
    /// [`CALLS`] times its second page shared and unshared again, then a call to the host.
    Sharing,
    /// A call to the host.
    HostCall,
    /// A load from a device.
    Load,
    /// A store to a device.
    Store,
    /// WFI.
    Wait,
    /// Nothing.
    Spin,
    /// Touches the first word of each page from [`PAGES`] on.
    TouchPages,
    /// Touches the first word of each 2 MiB from [`BLOCKS`] on.
    TouchBlocks,
    /// FP registers, and a call to the host.
    Fp,
}

/// Calls in a row, of those that the host sees nothing of.
pub const CALLS: u64 = 256;
/// Where [`Program::TouchPages`] begins.
pub const PAGES: u64 = 0x8000_0000;
/// Where [`Program::TouchBlocks`] begins.
pub const BLOCKS: u64 = 0xC000_0000;

// w0 of a call to the host: an id that nothing answers.
global_asm!(
    ".macro to_host",
    "movz x0, #0x8200, lsl #16",
    "hvc #0",
    ".endm",
    ".balign 8",
    "bench_calls:",
    "1: mov x19, #256",
    "2: movz x0, #0x8000, lsl #16", // SMCCC_VERSION
    "hvc #0",
    "subs x19, x19, #1",
    "b.ne 2b",
    "to_host",
    "b 1b",
    ".balign 8",
    "bench_sharing:",
    "1: mov x19, #256",
    "2: movz x0, #0xC600, lsl #16",
    "movk x0, #3", // MEM_SHARE
    "movz x1, #0x4000, lsl #16",
    "movk x1, #0x1000",
    "mov x2, xzr",
    "mov x3, xzr",
    "hvc #0",
    "cbnz x0, 3f",
    "movz x0, #0xC600, lsl #16",
    "movk x0, #4", // MEM_UNSHARE
    "hvc #0",
    "cbnz x0, 3f",
    "subs x19, x19, #1",
    "b.ne 2b",
    "to_host",
    "b 1b",
    "3: wfi", // refused: not what the host expects
    "b 3b",
    ".balign 8",
    "bench_host_call:",
    "1: to_host",
    "b 1b",
    ".balign 8",
    "bench_load:",
    "movz x2, #0x0900, lsl #16",
    "1: ldr w1, [x2, #24]",
    "b 1b",
    ".balign 8",
    "bench_store:",
    "movz x2, #0x0900, lsl #16",
    "1: str w1, [x2]",
    "b 1b",
    ".balign 8",
    "bench_wait:",
    "1: wfi",
    "b 1b",
    ".balign 8",
    "bench_spin:",
    "b .",
    ".balign 8",
    "bench_touch_pages:",
    "movz x2, #0x8000, lsl #16",
    "1: str xzr, [x2]",
    "add x2, x2, #4096",
    "b 1b",
    ".balign 8",
    "bench_touch_blocks:",
    "movz x2, #0xC000, lsl #16",
    "1: str xzr, [x2]",
    "add x2, x2, #0x200, lsl #12",
    "b 1b",
    ".balign 8",
    "bench_fp:",
    ".arch_extension fp",
    "mov x1, #0x300000",
    "msr cpacr_el1, x1",
    "isb",
    "1: fmov d0, x1",
    "to_host",
    "b 1b",
    ".balign 8",
    "bench_end: .quad 0",
);

unsafe extern "C" {
    static bench_calls: u8;
    static bench_sharing: u8;
    static bench_host_call: u8;
    static bench_load: u8;
    static bench_store: u8;
    static bench_wait: u8;
    static bench_spin: u8;
    static bench_touch_pages: u8;
    static bench_touch_blocks: u8;
    static bench_fp: u8;
    static bench_end: u8;
}

impl Program {
    /// Copies it to `to`.
    pub fn load(self, to: u64) {
        let start = match self {
            Self::Calls => &raw const bench_calls,
            Self::Sharing => &raw const bench_sharing,
            Self::HostCall => &raw const bench_host_call,
            Self::Load => &raw const bench_load,
            Self::Store => &raw const bench_store,
            Self::Wait => &raw const bench_wait,
            Self::Spin => &raw const bench_spin,
            Self::TouchPages => &raw const bench_touch_pages,
            Self::TouchBlocks => &raw const bench_touch_blocks,
            Self::Fp => &raw const bench_fp,
        };
        let length = (&raw const bench_end) as usize - start as usize;
        // SAFETY: code of the payload, and RAM that nobody uses.
        unsafe { core::ptr::copy_nonoverlapping(start, to as *mut u8, length) };
    }
}
