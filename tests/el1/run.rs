// SPDX-License-Identifier: GPL-2.0-only
//! VMs that run: their programs are in tests/guest, and world.rs is their host.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "run/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_run runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
