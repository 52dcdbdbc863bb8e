// SPDX-License-Identifier: GPL-2.0-only
//! What a host and VMs find of each other, and of Corevisor: nothing. In registers, in run pages, in all RAM; over many
//! switches, lives and saved states. The long form takes hours (`make soak`).

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod rt;
#[cfg(target_os = "none")]
#[path = "../guest/src/state.rs"]
mod state;
#[cfg(target_os = "none")]
#[path = "proofs/tests.rs"]
mod tests;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {
    println!("el1_proofs runs under Corevisor: it needs --target aarch64-unknown-none-softfloat");
}
