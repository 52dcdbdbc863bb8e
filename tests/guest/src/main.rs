// SPDX-License-Identifier: GPL-2.0-only
//! What the VMs of the tests run, at EL1 of a VM: one image with many programs, of which the host names one.
//!
//! The host side is tests/el1/world.rs, and both take in `protocol.rs`. To add a program: a file in `programs/` with a
//! `pub fn run()`, which the boot vCPU calls, and its name in the list of `programs.rs`. A program takes arguments from
//! and gives results to the desk ([`desk`]), starts other vCPUs by [`smp::start`], prints by `say!`, and fails by a
//! panic. When `run` returns, the VM tells the host that it is done and powers off. Programs that must live with
//! exceptions use [`exception::catch`], and [`code::execute`] for single instructions.

#![no_std]
#![no_main]

mod code;
mod console;
mod desk;
mod exception;
mod fp;
mod gic;
mod hvc;
mod programs;
mod protocol;
mod register;
mod smp;
mod state;
mod timer;

use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(
    include_str!("entry.S"),
    boot = sym boot,
    secondary = sym smp::secondary,
    vcpus = const protocol::VCPUS,
);
global_asm!(
    include_str!("vectors.S"),
    frame_size = const size_of::<exception::Frame>(),
    handler = sym exception::handle,
);

/// The boot vCPU. x0 is what the host, or a loader, gave it.
extern "C" fn boot(x0: u64) -> ! {
    smp::note_start(x0);
    let wanted = desk::program();
    match programs::PROGRAMS.iter().find(|(name, _)| protocol::program(name) == wanted) {
        Some((_, run)) => run(),
        None => panic!("there is no program {wanted:#x}"),
    }
    desk::done(0);
    hvc::system_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    say!("vcpu{}: {info}", smp::this());
    desk::failed(info.location().map_or(0, |location| location.line().into()));
    hvc::system_off()
}
