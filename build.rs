// SPDX-License-Identifier: GPL-2.0-only
//! Hands the linker scripts to the AArch64 images.

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=boot");
    println!("cargo::rerun-if-env-changed=EARLYCON");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg=-T{root}/linker.ld");
    }
}
