// SPDX-License-Identifier: GPL-2.0-only
//! What a VM of the tests and the host agree on. Part of both: tests/el1/world.rs takes this file in, too.

#![allow(dead_code, reason = "each side uses a part of it")]

/// Guest address of the image; its first instruction is where the boot vCPU starts.
pub const IMAGE: u64 = 0x4000_0000;
/// Bytes that the image has in the VM: a block.
pub const IMAGE_SIZE: u64 = 2 << 20;
/// The console: a byte written to it is printed by the host.
pub const CONSOLE: u64 = 0x0900_0000;
/// The desk: registers of 8 bytes, emulated by the host ([`desk`]).
pub const DESK: u64 = 0x0A00_0000;
/// A GICv2 CPU interface, where the machine has one.
pub const GICV2_CPU: u64 = 0x0801_0000;
/// From here on the host answers faults with pages of 4 KiB.
pub const SMALL_PAGES: u64 = 0x5000_0000;
/// From here on the host answers faults with pages of 2 MiB.
pub const LARGE_PAGES: u64 = 0x8000_0000;
/// Most vCPUs.
pub const VCPUS: usize = 8;

/// What registers' values begin with that belong to a VM (`state.rs`).
pub const GUEST_MAGIC: u16 = 0xA5C3;
/// The same of the host's.
pub const HOST_MAGIC: u16 = 0x6D93;

/// Offsets in the desk.
pub mod desk {
    /// Read: which program to run, as [`super::program`] gives it.
    pub const PROGRAM: u64 = 0x00;
    /// Read: how many vCPUs the VM has.
    pub const VCPUS: u64 = 0x08;
    /// Read: the program's arguments.
    pub const ARGUMENTS: u64 = 0x40;
    /// Number of arguments.
    pub const ARGUMENT_COUNT: usize = 8;
    /// Read and written: the program's results.
    pub const RESULTS: u64 = 0x100;
    /// Number of results.
    pub const RESULT_COUNT: usize = 64;
    /// Written: the program has come to its end, with this value.
    pub const DONE: u64 = 0x400;
    /// Written: the program has failed, in this line of its source.
    pub const FAILED: u64 = 0x408;
    /// Read and written: whatever the test has put there (`Vm::set_hook`). To the end of the page.
    pub const HOOK: u64 = 0x800;
}

/// The number of the program of this name (FNV-1a).
pub const fn program(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x100_0000_01B3);
        i += 1;
    }
    hash
}

/// Offset in the image where a boot vCPU starts that notes its registers first.
pub const WITNESS: u64 = 8;

/// Offsets in the desk's hook for the program `canaries`.
pub mod canaries {
    /// Read: the instruction, or 0 for the end.
    pub const INSTRUCTION: u64 = 0;
    /// Read: the canaries' seed.
    pub const SEED: u64 = 8;
    /// Read: which general registers are as the host wants them.
    pub const CHOSEN: u64 = 16;
    /// Read: whether the instruction is refused, so that a handler runs.
    pub const HANDLED: u64 = 24;
    /// Read: the general registers that it changes. The instruction is the next thing that the VM does.
    pub const CHANGED: u64 = 32;
    /// Read: the general registers that the host wants.
    pub const X: u64 = 0x100;
    /// Number of the canary in CNTV_CVAL_EL0.
    pub const TIMER: u64 = 0xF0;
}
