// SPDX-License-Identifier: GPL-2.0-only
//! Stream table entries (IHI 0070, 5.2).

use super::registers::Registers;
use crate::addr::Pa;
use crate::machine::Machine;

/// Words of an entry.
const WORDS: usize = 8;
/// Bytes of one.
pub const STE_SIZE: u64 = 8 * WORDS as u64;
/// Tables of stage 2 start at level 1 up to so many bits of address, else at level 0.
const LEVEL_1_START_BITS: u32 = 42;

/// A table of stage 2, as an entry names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stage2 {
    /// Where the walk starts: at level 0, or for up to 42 bits at concatenated tables of level 1.
    pub root: Pa,
    /// log2 of the addresses that it translates, 32 to 48.
    pub ipa_bits: u32,
    /// What its translations are known by in the SMMU.
    pub vmid: u16,
    /// S2PS: the physical addresses that the SMMU puts out.
    pub oas: u64,
}

/// A stream table entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ste(pub [u64; WORDS]);

impl Ste {
    /// The stream's accesses end in an abort, which is recorded.
    pub const ABORT: Self = Self([0; WORDS]);
    /// V, in the first word: the entry is in use.
    pub const VALID: u64 = 1 << 0;

    /// The stream's accesses are translated by `table`, and by no stage 1. Those that fault are ended, and recorded.
    pub const fn translated(table: Stage2) -> Self {
        const CONFIG_STAGE_2: u64 = 0b110 << 1;
        const SHCFG_INCOMING: u64 = 0b01 << 44;
        // S2IR0, S2OR0 and S2SH0: walks in inner-shareable, write-back memory. S2TG, of 4 KiB, is 0.
        const WALKS_WRITE_BACK: u64 = 0b01 << 40 | 0b01 << 42 | 0b11 << 44;
        const S2AA64: u64 = 1 << 51;
        const S2R: u64 = 1 << 58;
        let first_level = if table.ipa_bits > LEVEL_1_START_BITS { 2 } else { 1 }; // S2SL0
        let mut words = [0; WORDS];
        words[0] = Self::VALID | CONFIG_STAGE_2;
        words[1] = SHCFG_INCOMING;
        words[2] = table.vmid as u64
            | (64 - table.ipa_bits as u64) << 32
            | first_level << 38
            | WALKS_WRITE_BACK
            | table.oas << 48
            | S2AA64
            | S2R;
        words[3] = table.root.as_u64();
        Self(words)
    }

    /// Whether it is in use.
    pub const fn is_valid(&self) -> bool {
        self.0[0] & Self::VALID != 0
    }

    /// The VMID of its translations, if it is in use.
    pub fn vmid(&self) -> Option<u16> {
        self.is_valid().then_some(self.0[2] as u16)
    }

    /// Reads the entry at `at`.
    pub fn load<M: Machine>(machine: &M, at: Pa) -> Self {
        Self(core::array::from_fn(|n| machine.pt_load(word(at, n))))
    }

    /// Writes all of it to `at`, where no SMMU looks for an entry yet.
    pub fn store<M: Machine>(&self, machine: &M, at: Pa) {
        for (n, value) in self.0.into_iter().enumerate() {
            machine.pt_store(word(at, n), value);
        }
    }

    /// Writes all but the first word to `at`, where there is an entry that is not in use; then that, which puts it in use
    /// (3.21.3.1).
    pub fn store_in_use<M: Machine>(&self, registers: &Registers<'_, M>, at: Pa) {
        let machine = registers.machine;
        for (n, value) in self.0.into_iter().enumerate().skip(1) {
            machine.pt_store(word(at, n), value);
        }
        machine.publish_tables();
        machine.pt_store(at, self.0[0]);
    }
}

fn word(at: Pa, n: usize) -> Pa {
    Pa::low_48(at.as_u64() + 8 * n as u64)
}
