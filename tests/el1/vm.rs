// SPDX-License-Identifier: GPL-2.0-only
//! The calls that make VMs, load them, save them and destroy them. None of them runs.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "vm/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_vm runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
