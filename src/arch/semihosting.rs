// SPDX-License-Identifier: GPL-2.0-only
//! Ending the emulator with an exit status (Arm semihosting, SYS_EXIT_EXTENDED). In test images only.

const SYS_EXIT_EXTENDED: u64 = 0x20;
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x2_0026;

/// Ends the emulator with `status`.
pub fn exit(status: u64) -> ! {
    let block = [ADP_STOPPED_APPLICATION_EXIT, status];
    loop {
        // SAFETY: the emulator reads `block` and ends; without one, the instruction is undefined and ends us as well.
        unsafe {
            core::arch::asm!("hlt #0xf000", in("x0") SYS_EXIT_EXTENDED, in("x1") block.as_ptr(), options(nostack));
        }
    }
}
