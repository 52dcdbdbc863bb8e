// SPDX-License-Identifier: GPL-2.0-only
//! The firmware: the library, the assembly in `boot/`, and the panic handler.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod firmware {
    core::arch::global_asm!(include_str!("../boot/entry.S"));
    core::arch::global_asm!(include_str!("../boot/vectors.S"));
    core::arch::global_asm!(include_str!("../boot/fpsimd.S"));

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        corevisor::arch::fatal::panicked(info)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the firmware is built by `make image`, for aarch64-unknown-none-softfloat");
    std::process::exit(1);
}
