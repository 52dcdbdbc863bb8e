// SPDX-License-Identifier: GPL-2.0-only
//! A GICv3's ITS and LPIs: what they may use of memory, and that interrupts arrive.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "its/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_its runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
