// SPDX-License-Identifier: GPL-2.0-only
//! What a hostile host, or a hostile VM, tries: docs/threat-model.md tells by number what, and what must come of it.
//!
//! A test's name begins with the number. Each asserts the exact answer; that no page's owner or content, and no counter,
//! has changed (`victim::Watch`); that the VM that was attacked still runs and has all its secrets; and that nothing is lost
//! when it is gone (`victim::with_victim`).

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "attacks/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_attacks runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
