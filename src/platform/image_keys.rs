// SPDX-License-Identifier: GPL-2.0-only
//! The public keys that images of VMs can be signed with: built into Corevisor, or given by its bootloader, who is trusted
//! with the host's kernel as well.
//!
//! A file of keys is Ed25519 public keys (RFC 8032), 32 bytes each, one after the other, and nothing else.

use super::BootError;
use crate::vm::Signature;
use arrayvec::ArrayVec;
use ed25519_dalek::{PUBLIC_KEY_LENGTH, VerifyingKey};
use sha2::{Digest, Sha256};

/// Most keys, built in and given together.
pub const MAX_IMAGE_KEYS: usize = 8;
/// Those of the file that the variable IMAGE_KEYS named when Corevisor was built (build.rs).
const BUILT_IN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/image-keys"));

/// The keys.
#[derive(Clone, Debug, Default)]
pub struct ImageKeys(ArrayVec<VerifyingKey, MAX_IMAGE_KEYS>);

impl ImageKeys {
    /// The keys that are built in.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn built_in() -> Result<Self, BootError> {
        let mut keys = Self::default();
        keys.add(BUILT_IN)?;
        Ok(keys)
    }

    /// Adds the keys of a file; those that are there already count once.
    ///
    /// # Errors
    /// [`BootError::ImageKeys`] if it is not a file of keys, or there are more than [`MAX_IMAGE_KEYS`]. A key of small order,
    /// with which signatures are no proof, is none.
    pub fn add(&mut self, file: &[u8]) -> Result<(), BootError> {
        let (keys, rest) = file.as_chunks::<PUBLIC_KEY_LENGTH>();
        if !rest.is_empty() {
            return Err(BootError::ImageKeys("not a multiple of 32 bytes long"));
        }
        for key in keys {
            let key = VerifyingKey::from_bytes(key).ok().filter(|key| !key.is_weak());
            let key = key.ok_or(BootError::ImageKeys("with 32 bytes that are no Ed25519 public key"))?;
            if !self.0.contains(&key) {
                self.0
                    .try_push(key)
                    .map_err(|_| BootError::ImageKeys("with more than 8 keys, built-in ones included"))?;
            }
        }
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `signature` is one of `message` by one of the keys.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.iter().any(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// For each key the first 8 bytes of its SHA-256, by which people tell keys apart.
    pub fn fingerprints(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|key| fingerprint(key.as_bytes()))
    }
}

/// The first 8 bytes of the SHA-256 of a public key, as a big-endian number, so that it prints as it is.
pub fn fingerprint(key: &[u8; PUBLIC_KEY_LENGTH]) -> u64 {
    let hash: [u8; 32] = Sha256::digest(key).into();
    hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}
