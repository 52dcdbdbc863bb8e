// SPDX-License-Identifier: GPL-2.0-only
//! Images, as Corevisor sees them.

use crate::{Problem, read};
use corevisor::vm::measure::{Digest, ImageHash, ImageMessage, image_message, measure};
use corevisor::vm::{Measurement, VmFlags};
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
    ///
    /// # Errors
    /// As [`Self::of`], and if the file can't be read.
    pub fn read(file: &Path, address: u64, pad: bool) -> Result<Self, Problem> {
        let mut bytes = read(file)?;
        if pad {
            bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        }
        Self::of(&bytes, address).map_err(|why| format!("{}: {why}", file.display()))
    }

    /// The image of these bytes, for guest address `address`.
    ///
    /// # Errors
    /// If it is one that Corevisor refuses, whoever signs it.
    pub fn of(bytes: &[u8], address: u64) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Err("an image of no bytes, which Corevisor refuses".into());
        }
        let size = bytes.len() as u64;
        if address.checked_add(size.next_multiple_of(PAGE)).is_none_or(|end| end >= END) {
            return Err(format!("it would end beyond {END:#x}, which Corevisor refuses"));
        }
        let mut hash = ImageHash::default();
        hash.add(bytes);
        Ok(Self { address, size, digest: hash.digest() })
    }

    /// What its signature is of.
    pub fn message(&self) -> ImageMessage {
        image_message(self.address, self.size, &self.digest)
    }
}

/// The measurement of a VM with these images, in the order in which the host announces them.
pub fn measurement(flags: VmFlags, images: &[Image]) -> Measurement {
    measure(flags, images.iter().map(|image| (image.address, image.size, image.digest)))
}
