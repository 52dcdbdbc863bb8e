// SPDX-License-Identifier: GPL-2.0-only
//! Keys, signatures and measurements of the images that Corevisor's virtual machines start from: for `corevisor-sign`, and
//! for programs that start virtual machines.

pub mod image;
pub mod keys;

use std::path::Path;

/// What has gone wrong, for people.
pub type Problem = String;

/// The bytes of `file`.
///
/// # Errors
/// What the operating system says, with the file's name.
pub fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(file).map_err(|why| format!("{}: {why}", file.display()))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
