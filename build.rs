// SPDX-License-Identifier: GPL-2.0-only
//! Hands the linker scripts to the AArch64 images, and the keys for images of VMs to the library.

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=linker.ld");
    println!("cargo::rerun-if-changed=boot");
    println!("cargo::rerun-if-env-changed=EARLYCON");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
        println!("cargo::rustc-link-arg=-T{root}/linker.ld");
    }
    image_keys();
}

/// The file that IMAGE_KEYS names (src/platform/image_keys.rs tells its format), or none.
fn image_keys() {
    const KEY: usize = 32;
    const MOST: usize = 8;
    println!("cargo::rerun-if-env-changed=IMAGE_KEYS");
    let keys = match env::var("IMAGE_KEYS") {
        Ok(file) if !file.is_empty() => {
            println!("cargo::rerun-if-changed={file}");
            fs::read(&file).unwrap_or_else(|why| panic!("IMAGE_KEYS={file}: {why}"))
        }
        _ => Vec::new(),
    };
    assert!(
        keys.len().is_multiple_of(KEY) && keys.len() <= MOST * KEY,
        "IMAGE_KEYS: {} bytes are not up to {MOST} public keys of {KEY} bytes",
        keys.len()
    );
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(Path::new(&out).join("image-keys"), keys).expect("OUT_DIR can be written");
}
