// SPDX-License-Identifier: GPL-2.0-only
//! Images, as Corevisor sees them.

use crate::{Problem, read};
use corevisor::vm::measure::{Digest, ImageHash, ImageMessage, image_message};
use std::path::Path;

const PAGE: u64 = 4096;
/// Images end below this guest address (docs/abi.md, SET_BOOT_INFO).
const END: u64 = 1 << 40;

/// What of an image is signed, and measured.
#[derive(Debug)]
pub struct Image {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub digest: Digest,
}

impl Image {
    /// The image in `file`, for guest address `address`; with `pad` it is filled up with zeros to whole pages.
    pub fn read(file: &Path, address: u64, pad: bool) -> Result<Self, Problem> {
        let mut bytes = read(file)?;
        if bytes.is_empty() {
            return Err(format!("{}: an image of no bytes, which Corevisor refuses", file.display()));
        }
        if pad {
            bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        }
        let size = bytes.len() as u64;
        if address.checked_add(size.next_multiple_of(PAGE)).is_none_or(|end| end >= END) {
            return Err(format!("{}: it would end beyond {END:#x}, which Corevisor refuses", file.display()));
        }
        let mut hash = ImageHash::default();
        hash.add(&bytes);
        Ok(Self { address, size, digest: hash.digest() })
    }

    /// What its signature is of.
    pub fn message(&self) -> ImageMessage {
        image_message(self.address, self.size, &self.digest)
    }
}
