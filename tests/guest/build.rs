// SPDX-License-Identifier: GPL-2.0-only
//! Hands the linker its script.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::rustc-link-arg=-T{root}/link.ld");
}
