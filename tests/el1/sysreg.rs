// SPDX-License-Identifier: GPL-2.0-only
//! System registers and instructions that Corevisor traps, that do not exist, and that are the host's.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "sysreg/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_sysreg runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
