// SPDX-License-Identifier: GPL-2.0-only
//! Several CPUs: PSCI, and pages that change hands while others use what lies beside them.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "smp/tests.rs"]
mod tests;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_smp runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
