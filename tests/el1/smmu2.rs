// SPDX-License-Identifier: GPL-2.0-only
//! SMMUv2s: what a host finds of their registers, and which it may write (`spec/layers/10-abi-flows.md` §10.11).
//!
//! QEMU has none. Memory plays them, that the device tree calls an SMMU: what Corevisor writes stays there, and the test call
//! PRIMITIVE shows it, past all rules (tools/qemu-runner).

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "smmu2/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_smmu2 runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
