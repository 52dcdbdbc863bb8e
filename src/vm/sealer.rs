// SPDX-License-Identifier: GPL-2.0-only
//! How pages and vCPUs of a VM are saved outside Corevisor (`spec/layers/10-abi-flows.md` §10.10, which leaves it open):
//! encrypted and authenticated by ChaCha20-Poly1305 (RFC 8439) with a key that lives as long as Corevisor runs.
//!
//! A saved VM is more than its pieces. The *lineage* says whose they are and the *epoch* of which state; both are
//! authenticated with each piece, and the [`Sealer`] remembers the latest epoch of each lineage and which VM goes on from
//! it. So a state is continued at most once, by one VM, and never an older one than the last.

use super::{Generation, Manifest, Measurement, VmFlags};
use crate::addr::{VcpuId, Vmid};
use crate::machine::Machine;
use crate::refused::Refused;
use arrayvec::ArrayVec;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag};
use core::ops::Range;

/// Saved VMs that are remembered. The one whose lineage is oldest is forgotten first, and can't be loaded any more.
const MAX_LINEAGES: usize = 32;

/// What decides, besides key and nonce, whether a piece opens.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// What it is.
    pub piece: Piece,
    /// The state of the VM that it belongs to.
    pub generation: Generation,
    /// With vCPUs, what else belongs to it.
    pub manifest: Manifest,
}

/// A piece of a saved VM.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    /// The page at a guest page number.
    Page(u64),
    /// The general registers of a vCPU.
    GeneralRegisters(VcpuId),
    /// Its system registers.
    SystemRegisters(VcpuId),
}

impl Label {
    fn bytes(&self) -> [u8; 48] {
        let (kind, number) = match self.piece {
            Piece::Page(gfn) => (1, gfn),
            Piece::GeneralRegisters(vcpu) => (2, vcpu.index() as u64),
            Piece::SystemRegisters(vcpu) => (3, vcpu.index() as u64),
        };
        let Self { generation, manifest, .. } = self;
        let words = [kind, number, generation.lineage, generation.epoch, manifest.pages, manifest.vcpus];
        let mut bytes = [0; 48];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

/// What is kept with a ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seal {
    /// The nonce: a number that no other ciphertext has.
    pub nonce: u64,
    /// The authentication tag.
    pub tag: [u64; 2],
}

/// What the host keeps with a saved page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SavedPage {
    /// Nonce and tag.
    pub seal: Seal,
    /// Where the page belongs.
    pub gfn: u64,
    /// In which VM.
    pub generation: Generation,
}

/// The cipher with its key, and nonces that nobody else has. The work is done outside the lock.
pub struct Sealing {
    cipher: ChaCha20Poly1305,
    nonces: Range<u64>,
}

fn nonce_bytes(nonce: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    bytes.into()
}

impl Sealing {
    /// Encrypts `text` in place.
    ///
    /// # Errors
    /// If there is no nonce left, or `text` is longer than the cipher allows.
    pub fn seal(&mut self, label: &Label, text: &mut [u8]) -> Result<Seal, Refused> {
        let nonce = self.nonces.next().ok_or(Refused::Unavailable)?;
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce_bytes(nonce), &label.bytes(), text.into())
            .map_err(|_| Refused::Unavailable)?;
        let tag = u128::from_le_bytes(tag.into());
        Ok(Seal { nonce, tag: [tag as u64, (tag >> 64) as u64] })
    }
}

/// The cipher with its key, to open what was sealed.
pub struct Opening(ChaCha20Poly1305);

impl Opening {
    /// Decrypts `text` in place.
    ///
    /// # Errors
    /// [`Refused::NotAuthentic`] if it is not what was sealed with this label; `text` is unchanged then.
    pub fn open(&self, seal: Seal, label: &Label, text: &mut [u8]) -> Result<(), Refused> {
        let tag = u128::from(seal.tag[0]) | u128::from(seal.tag[1]) << 64;
        let tag = Tag::from(tag.to_le_bytes());
        self.0
            .decrypt_inout_detached(&nonce_bytes(seal.nonce), &label.bytes(), text.into(), &tag)
            .map_err(|_| Refused::NotAuthentic)
    }
}

/// What stays of a VM when it is saved, and loaded into another record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// What kind of VM it is.
    pub flags: VmFlags,
    /// What it began as.
    pub measurement: Measurement,
}

/// A saved VM that is remembered.
#[derive(Debug)]
struct Lineage {
    /// Its latest state.
    latest: Generation,
    /// The VM that was saved, or goes on from it, until that is destroyed.
    holder: Option<Vmid>,
    /// What was saved, and whatever goes on from it is the same.
    identity: Identity,
}

/// The key, and what is known of saved VMs; the object of lock CRYPT.
pub struct Sealer {
    key: Option<Key>,
    next_nonce: u64,
    next_lineage: u64,
    lineages: ArrayVec<Lineage, MAX_LINEAGES>,
}

impl Sealer {
    /// No key yet.
    pub const fn new() -> Self {
        Self { key: None, next_nonce: 1, next_lineage: 1, lineages: ArrayVec::new_const() }
    }

    /// The cipher, with a key made at its first use, and `nonces` nonces that were never used and never will be again.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if the machine has no entropy, or nonces have run out.
    pub fn sealing(&mut self, machine: &impl Machine, nonces: u64) -> Result<Sealing, Refused> {
        let key = match self.key {
            Some(key) => key,
            None => machine.entropy().ok_or(Refused::Unavailable)?.into(),
        };
        let first = self.next_nonce;
        self.next_nonce = first.checked_add(nonces).ok_or(Refused::Unavailable)?;
        self.key = Some(key);
        Ok(Sealing { cipher: ChaCha20Poly1305::new(&key), nonces: first..self.next_nonce })
    }

    /// Leaves no nonce.
    #[cfg(test)]
    pub fn exhaust_nonces(&mut self) {
        self.next_nonce = u64::MAX;
    }

    /// The cipher.
    ///
    /// # Errors
    /// [`Refused::NotAuthentic`] as long as nothing was saved.
    pub fn opening(&self) -> Result<Opening, Refused> {
        self.key.map(|key| Opening(ChaCha20Poly1305::new(&key))).ok_or(Refused::NotAuthentic)
    }

    /// The state that `v`, which is `identity`, is saved in: `known`, or the first of a new lineage. It is its latest from
    /// now on.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if no lineage can be forgotten for a new one.
    pub fn save(&mut self, v: Vmid, known: Option<Generation>, identity: Identity) -> Result<Generation, Refused> {
        if let Some(latest) = known {
            self.advance(v, latest);
            return Ok(latest);
        }
        if self.lineages.is_full() {
            let oldest = self.lineages.iter().position(|saved| saved.holder.is_none()).ok_or(Refused::Unavailable)?;
            self.lineages.remove(oldest);
        }
        let latest = Generation { lineage: self.next_lineage, epoch: 1 };
        self.next_lineage += 1;
        self.lineages.push(Lineage { latest, holder: Some(v), identity });
        Ok(latest)
    }

    /// Whether `v`, which is `known`, and a VM of the kind `flags`, may go on from `wanted`.
    ///
    /// # Errors
    /// [`Refused::NotAuthentic`] if that is not the latest state of a lineage, not that of `v`, or of another kind of VM;
    /// [`Refused::State`] as long as there is another VM that goes on from it.
    pub fn check_load(
        &self,
        v: Vmid,
        known: Option<Generation>,
        flags: VmFlags,
        wanted: Generation,
    ) -> Result<(), Refused> {
        let saved = self.lineages.iter().find(|saved| saved.latest == wanted).ok_or(Refused::NotAuthentic)?;
        match saved.holder {
            Some(holder) if holder != v => Err(Refused::State(holder)),
            _ if known.is_some_and(|known| known != wanted) => Err(Refused::NotAuthentic),
            _ if saved.identity.flags != flags => Err(Refused::NotAuthentic),
            _ => Ok(()),
        }
    }

    /// `v` goes on from `wanted`, as [`Self::check_load`] allows.
    pub fn load(&mut self, v: Vmid, wanted: Generation) {
        if let Some(saved) = self.lineages.iter_mut().find(|saved| saved.latest == wanted) {
            saved.holder = Some(v);
        }
    }

    /// The measurement of the VM that `v` goes on from, if it does from `wanted`.
    pub fn measurement(&self, v: Vmid, wanted: Generation) -> Option<Measurement> {
        let saved = self.lineages.iter().find(|saved| saved.latest == wanted && saved.holder == Some(v))?;
        Some(saved.identity.measurement)
    }

    fn advance(&mut self, v: Vmid, latest: Generation) {
        let held = |saved: &&mut Lineage| saved.latest.lineage == latest.lineage && saved.holder == Some(v);
        if let Some(saved) = self.lineages.iter_mut().find(held) {
            saved.latest = latest;
        }
    }

    /// `v`, which is `latest`, is destroyed. If it was saved in this very state, that can be loaded into another VM.
    pub fn release(&mut self, v: Vmid, latest: Generation) {
        self.advance(v, latest);
        for saved in self.lineages.iter_mut().filter(|saved| saved.holder == Some(v)) {
            saved.holder = None;
        }
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Self::new()
    }
}
