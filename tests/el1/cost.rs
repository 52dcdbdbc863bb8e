// SPDX-License-Identifier: GPL-2.0-only
//! What single operations cost. The figures mean something where QEMU's clock counts instructions: see tools/cost.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "cost/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_cost runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
