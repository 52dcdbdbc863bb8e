// SPDX-License-Identifier: GPL-2.0-only
//! What is signed, and what is measured: byte for byte, for Corevisor and for the tools of those who sign.
//!
//! Numbers are 8 bytes, little-endian. Both kinds of bytes begin with a context of their own, so that neither, nor anything
//! else that a key signs, can be taken for the other.

use super::{Measurement, VmFlags};
use crate::addr::Vmid;
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::trap::Registers;
use core::fmt;
use sha2::{Digest as _, Sha256};

/// What the message of an image begins with.
const IMAGE_CONTEXT: &[u8; 24] = b"Corevisor VM image, v1\0\0";
/// What is hashed for the measurement of a VM begins with this.
const VM_CONTEXT: &[u8; 24] = b"Corevisor VM, v1\0\0\0\0\0\0\0\0";

/// A SHA-256 (FIPS 180-4) of an image.
pub type Digest = [u8; 32];

/// Length of [`ImageMessage`].
pub const IMAGE_MESSAGE_SIZE: usize = IMAGE_CONTEXT.len() + 8 + 8 + 32;
/// What the signature of an image is of.
pub type ImageMessage = [u8; IMAGE_MESSAGE_SIZE];

/// The message for an image of `size` bytes with this digest, at guest address `load_addr`: context, address, size, digest.
pub fn image_message(load_addr: u64, size: u64, digest: &Digest) -> ImageMessage {
    let mut message = [0; IMAGE_MESSAGE_SIZE];
    let parts: [&[u8]; 4] = [IMAGE_CONTEXT, &load_addr.to_le_bytes(), &size.to_le_bytes(), digest];
    for (to, from) in message.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    message
}

/// The digest of an image, part by part.
#[derive(Clone, Default)]
pub struct ImageHash(Sha256);

impl ImageHash {
    /// The next bytes of the image.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all that was added.
    pub fn digest(&self) -> Digest {
        self.0.clone().finalize().into()
    }
}

impl PartialEq for ImageHash {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for ImageHash {}

impl fmt::Debug for ImageHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageHash({:x?})", self.digest())
    }
}

/// The measurement of a VM with `flags` and these images, each a guest address, a size in bytes and a digest, in the order in
/// which the host has announced them: context, flags, number of images, and each image.
pub fn measure(flags: VmFlags, images: impl ExactSizeIterator<Item = (u64, u64, Digest)>) -> Measurement {
    let mut hash = Sha256::new();
    hash.update(VM_CONTEXT);
    hash.update(flags.bits().to_le_bytes());
    hash.update((images.len() as u64).to_le_bytes());
    for (load_addr, size, digest) in images {
        hash.update(load_addr.to_le_bytes());
        hash.update(size.to_le_bytes());
        hash.update(digest);
    }
    hash.finalize().into()
}

impl<M: Machine> Corevisor<M> {
    /// The measurement of `v`, and what kind of VM it is. Of one that goes on from a saved state it is that of the VM that
    /// was saved. Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::State`] if it was never VERIFIED, or is being destroyed.
    pub fn measurement<const OUTER: u8>(
        &self,
        v: Vmid,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(Measurement, VmFlags), Refused> {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        let measurement = vm.measurement.filter(|_| vm.destroying.is_none());
        Ok((measurement.ok_or(Refused::State(v))?, vm.flags))
    }

    /// Writes it to x1 to x5, as VM_MEASUREMENT returns it. Returns what goes to x0. Lock VM(v).
    ///
    /// # Errors
    /// As [`Self::measurement`]; nothing is written then.
    pub(crate) fn show_measurement<const OUTER: u8>(
        &self,
        v: Vmid,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        let (measurement, flags) = self.measurement(v, outer)?;
        for (reg, word) in regs[1..5].iter_mut().zip(measurement.as_chunks::<8>().0) {
            *reg = u64::from_le_bytes(*word);
        }
        regs[5] = flags.bits();
        Ok(0)
    }
}
