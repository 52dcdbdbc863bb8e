// SPDX-License-Identifier: GPL-2.0-only
//! Memory: what the device tree says, what is refused, what is mapped, and pages that change hands.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "memory/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_memory runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
