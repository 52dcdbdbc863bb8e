// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor's end by a read where a page of the host's was mapped before.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "crash/tests.rs"]
mod tests;

/// The argument of the test call CRASH.
#[cfg(target_os = "none")]
const KIND: u64 = 3;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_crash_window runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
