// SPDX-License-Identifier: GPL-2.0-only
//! What Corevisor is for, told on the console: `make demo`.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[path = "demo/report.rs"]
mod report;
#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "demo/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_demo runs under Corevisor: make demo");
}
