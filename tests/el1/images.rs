// SPDX-License-Identifier: GPL-2.0-only
//! Signed VMs, and a host that tries to have something else run in their place.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "images/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_images runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
