// SPDX-License-Identifier: GPL-2.0-only
//! The primitives of the machine that work on pages of the host, by the test call PRIMITIVE.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "machine/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_machine runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
