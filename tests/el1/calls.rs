// SPDX-License-Identifier: GPL-2.0-only
//! The host's calls: SMCCC services, unknown ids, argument ranges, STATS and LOG_READ.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "calls/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_calls runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
