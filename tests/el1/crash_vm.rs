// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor's end by a panic while another CPU runs a VM: that CPU stops, too.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "crash/vm.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_crash_vm runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
