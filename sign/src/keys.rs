// SPDX-License-Identifier: GPL-2.0-only
//! Files of keys. A secret key is the 32 bytes that RFC 8032 calls so, a public one 32 bytes as well.

use crate::{Problem, read};
use corevisor::platform::image_keys::{self, ImageKeys};
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey, VerifyingKey};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// A new key, from the operating system's random numbers.
///
/// # Errors
/// If there are none.
pub fn generate() -> Result<SigningKey, Problem> {
    let mut secret = Zeroizing::new([0; SECRET_KEY_LENGTH]);
    getrandom::fill(secret.as_mut()).map_err(|why| format!("no random numbers: {why}"))?;
    Ok(SigningKey::from_bytes(&secret))
}

/// Writes a secret key to a new file, that its owner alone can read.
///
/// # Errors
/// If it exists, or can't be written.
pub fn write_secret(file: &Path, key: &SigningKey) -> Result<(), Problem> {
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    new.and_then(|mut file| file.write_all(key.as_bytes())).map_err(|why| format!("{}: {why}", file.display()))
}

/// Reads a secret key.
///
/// # Errors
/// If the file can't be read, or is not 32 bytes long.
pub fn read_secret(file: &Path) -> Result<SigningKey, Problem> {
    let bytes = Zeroizing::new(read(file)?);
    let secret = bytes.as_slice().try_into();
    let secret = secret.map_err(|_| format!("{}: a secret key is 32 bytes long, this is not", file.display()))?;
    Ok(SigningKey::from_bytes(secret))
}

/// Reads public keys.
///
/// # Errors
/// If the file can't be read, or holds none, or too many.
pub fn read_public(file: &Path) -> Result<ImageKeys, Problem> {
    let mut keys = ImageKeys::default();
    keys.add(&read(file)?).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(keys)
}

/// By what people tell keys apart; Corevisor's log shows it, too.
pub fn fingerprint(key: &VerifyingKey) -> String {
    format!("{:016x}", image_keys::fingerprint(key.as_bytes()))
}
