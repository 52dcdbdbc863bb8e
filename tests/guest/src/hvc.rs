// SPDX-License-Identifier: GPL-2.0-only
//! Calls by HVC: to Corevisor, and through it to the host.

#![allow(dead_code, reason = "for programs to come")]

use core::arch::asm;

/// PSCI (Arm DEN0022).
pub mod psci {
    pub const VERSION: u64 = 0x8400_0000;
    pub const CPU_SUSPEND_64: u64 = 0xC400_0001;
    pub const CPU_OFF: u64 = 0x8400_0002;
    pub const CPU_ON_64: u64 = 0xC400_0003;
    pub const AFFINITY_INFO_64: u64 = 0xC400_0004;
    pub const SYSTEM_OFF: u64 = 0x8400_0008;
    pub const SYSTEM_RESET: u64 = 0x8400_0009;
    pub const FEATURES: u64 = 0x8400_000A;
}

/// HVC #0 with x0 to x17 as given; afterwards they are what it left there.
pub fn raw(registers: &mut [u64; 18]) {
    let r = registers;
    // SAFETY: x18 to x30 are kept by whoever serves the call, and so is this VM's memory but for what the call is about.
    unsafe {
        asm!(
            "hvc #0",
            inout("x0") r[0], inout("x1") r[1], inout("x2") r[2], inout("x3") r[3],
            inout("x4") r[4], inout("x5") r[5], inout("x6") r[6], inout("x7") r[7],
            inout("x8") r[8], inout("x9") r[9], inout("x10") r[10], inout("x11") r[11],
            inout("x12") r[12], inout("x13") r[13], inout("x14") r[14], inout("x15") r[15],
            inout("x16") r[16], inout("x17") r[17],
            options(nostack),
        );
    }
}

/// A call with arguments from x1 on; x0 to x3 as they come back.
pub fn call(id: u64, arguments: &[u64]) -> [u64; 4] {
    let mut registers = [0; 18];
    registers[0] = id;
    registers[1..=arguments.len()].copy_from_slice(arguments);
    raw(&mut registers);
    [registers[0], registers[1], registers[2], registers[3]]
}

/// The specification's grant (11) of `size` bytes from `address` on to the host.
pub fn grant(address: u64, size: u64) {
    call(11, &[0, address, size]);
}

/// The specification's revoke (12).
pub fn revoke(address: u64, size: u64) {
    call(12, &[0, address, size]);
}

/// pKVM's MEM_SHARE of the page at `address`.
pub fn share(address: u64) -> i64 {
    call(0xC600_0003, &[address, 0, 0])[0] as i64
}

/// pKVM's MEM_UNSHARE.
pub fn unshare(address: u64) -> i64 {
    call(0xC600_0004, &[address, 0, 0])[0] as i64
}

/// PSCI SYSTEM_OFF.
pub fn system_off() -> ! {
    loop {
        call(psci::SYSTEM_OFF, &[]);
    }
}
