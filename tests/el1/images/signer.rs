// SPDX-License-Identifier: GPL-2.0-only
//! Who signs. The public keys of the first two are in the module that tools/qemu-runner gives Corevisor.

use crate::rt::PAGE;
use corevisor::vm::measure::{Digest, ImageHash, image_message};
use ed25519_dalek::{Signer, SigningKey};

/// Seeds of keys that Corevisor has.
pub const TRUSTED: [u8; 2] = [0x42, 0x43];
/// That of one that it has not.
pub const OTHER: u8 = 0x44;

/// The digest of an image that is filled up with zeros to whole pages, and its size then.
pub fn padded(bytes: &[u8]) -> (Digest, u64) {
    let size = (bytes.len() as u64).next_multiple_of(PAGE);
    let mut hash = ImageHash::default();
    hash.add(bytes);
    hash.add(&[0; PAGE as usize][..(size - bytes.len() as u64) as usize]);
    (hash.digest(), size)
}

/// The signature of such an image, as SET_BOOT_INFO takes it.
pub fn sign(seed: u8, address: u64, bytes: &[u8]) -> [u64; 8] {
    let (digest, size) = padded(bytes);
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(&image_message(address, size, &digest)).to_bytes();
    let (words, _) = signature.as_chunks::<8>();
    core::array::from_fn(|i| u64::from_le_bytes(words[i]))
}
