// SPDX-License-Identifier: GPL-2.0-only
//! What devices of a hostile host reach: its own memory, and no other (50 to 54 of docs/threat-model.md).
//!
//! The device is QEMU's `edu`, which copies between memory and a buffer of its own. On a machine without an SMMU the same
//! attacks succeed, and the tests ask for just that: they can fail.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "dma/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_dma runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
