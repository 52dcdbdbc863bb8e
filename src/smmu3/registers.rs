// SPDX-License-Identifier: GPL-2.0-only
//! Registers of an SMMUv3 (Arm IHI 0070, chapter 6): where they lie, the fields that Corevisor looks at, and how it reaches
//! them.

use crate::addr::{Pa, Range};
use crate::machine::{Machine, Width};
use bitflags::bitflags;

/// Bytes of the two pages of 64 KiB that registers are in.
pub const WINDOW: u64 = 0x2_0000;

/// Identification 0.
pub const IDR0: u64 = 0x00;
/// Identification 1.
pub const IDR1: u64 = 0x04;
/// Identification 3.
pub const IDR3: u64 = 0x0C;
/// Identification 5.
pub const IDR5: u64 = 0x14;
/// Control 0: what is on.
pub const CR0: u64 = 0x20;
/// What of [`CR0`] has come into effect.
pub const CR0ACK: u64 = 0x24;
/// Control 1: how tables and queues are cached.
pub const CR1: u64 = 0x28;
/// Control 2.
pub const CR2: u64 = 0x2C;
/// What becomes of accesses while the SMMU is off.
pub const GBPA: u64 = 0x44;
/// Which interrupts are on.
pub const IRQ_CTRL: u64 = 0x50;
/// What of it has come into effect.
pub const IRQ_CTRLACK: u64 = 0x54;
/// Errors: a bit that differs from [`GERRORN`]'s is one that was not acknowledged yet.
pub const GERROR: u64 = 0x60;
/// Errors that were acknowledged.
pub const GERRORN: u64 = 0x64;
/// Where the stream table is, 8 bytes.
pub const STRTAB_BASE: u64 = 0x80;
/// Its size and format.
pub const STRTAB_BASE_CFG: u64 = 0x88;
/// Where the command queue is, 8 bytes, and its size.
pub const CMDQ_BASE: u64 = 0x90;
/// Where the next command will be written.
pub const CMDQ_PROD: u64 = 0x98;
/// Where the SMMU reads the next command.
pub const CMDQ_CONS: u64 = 0x9C;
/// Where the event queue is, 8 bytes, and its size.
pub const EVENTQ_BASE: u64 = 0xA0;
/// Where the SMMU writes the next event. In the second page.
pub const EVENTQ_PROD: u64 = 0x1_00A8;
/// Where the next event will be read. In the second page.
pub const EVENTQ_CONS: u64 = 0x1_00AC;

bitflags! {
    /// Fields of IDR0 of one bit.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Idr0: u64 {
        /// Stage 2.
        const S2P = 1 << 0;
        /// TTF: tables in AArch64's format.
        const AARCH64 = 1 << 3;
        /// Reads tables and queues coherently.
        const COHACC = 1 << 4;
        /// EL2's translations are told apart.
        const HYP = 1 << 9;
        /// Devices can ask for translations, and use them themselves.
        const ATS = 1 << 10;
        /// STALL_MODEL: accesses that fault must be stalled.
        const STALL_FORCED = 1 << 25;
        /// ST_LEVEL: stream tables of two levels.
        const TWO_LEVEL = 1 << 27;
        const _ = !0;
    }

    /// Fields of IDR1 of one bit.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Idr1: u64 {
        /// Queues lie where the hardware has them.
        const QUEUES_PRESET = 1 << 29;
        /// So do tables.
        const TABLES_PRESET = 1 << 30;
        const _ = !0;
    }

    /// Fields of IDR3.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Idr3: u64 {
        /// Invalidation by range.
        const RIL = 1 << 10;
        /// BBML, upper bit: 2. A block may be replaced by a table that says the same (3.21.1.1).
        const BBML_2 = 1 << 12;
        const _ = !0;
    }

    /// Fields of CR0.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Cr0: u64 {
        /// Translates.
        const SMMUEN = 1 << 0;
        /// Records events.
        const EVENTQEN = 1 << 2;
        /// Carries commands out.
        const CMDQEN = 1 << 3;
        /// What a device says that it has translated itself is not taken on trust: its stream's entry decides.
        const ATSCHK = 1 << 4;
    }

    /// Fields of CR2.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Cr2: u64 {
        /// Streams beyond the table are recorded.
        const RECINVSID = 1 << 1;
        /// CPUs' invalidations have no effect.
        const PTM = 1 << 2;
    }

    /// Fields of GBPA.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gbpa: u64 {
        /// Accesses end in an abort.
        const ABORT = 1 << 20;
        /// A change is under way.
        const UPDATE = 1 << 31;
        const _ = !0;
    }

    /// Fields of GERROR.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Gerror: u64 {
        /// A command could not be carried out.
        const CMDQ_ERR = 1 << 0;
        /// An event could not be written.
        const EVENTQ_ABT_ERR = 1 << 2;
        const _ = !0;
    }
}

/// IDR1.SIDSIZE, bits of a stream's id.
pub const IDR1_SIDSIZE: u64 = 0x3F;
/// IDR1.EVENTQS, log2 of the most entries, 5 bits from this one on.
pub const IDR1_EVENTQS_SHIFT: u32 = 16;
/// IDR1.CMDQS, likewise.
pub const IDR1_CMDQS_SHIFT: u32 = 21;
/// IDR5.OAS.
pub const IDR5_OAS: u64 = 7;
/// IDR5.GRAN4K.
pub const IDR5_GRAN4K: u64 = 1 << 4;
/// CR1: tables and queues in inner-shareable, write-back memory.
pub const CR1_WRITE_BACK: u64 = TABLES_WRITE_BACK << 6 | TABLES_WRITE_BACK;
/// SH, OC and IC of one of the two.
const TABLES_WRITE_BACK: u64 = 0b11 << 4 | 0b01 << 2 | 0b01;
/// STRTAB_BASE_CFG.FMT: two levels.
pub const STRTAB_TWO_LEVEL: u64 = 1 << 16;
/// STRTAB_BASE_CFG.SPLIT, from this bit on.
pub const STRTAB_SPLIT_SHIFT: u32 = 6;
/// STRTAB_BASE.RA, CMDQ_BASE.RA, EVENTQ_BASE.WA: what is read, or written, may be allocated in caches.
pub const BASE_ALLOCATE: u64 = 1 << 62;
/// CMDQ_CONS.ERR, from this bit on.
pub const CMDQ_CONS_ERR_SHIFT: u32 = 24;
/// Bits of CMDQ_CONS.ERR.
pub const CMDQ_CONS_ERR: u64 = 0x7F;
/// EVENTQ_PROD.OVFLG and EVENTQ_CONS.OVACKFLG.
pub const OVERFLOW: u64 = 1 << 31;

/// The registers of one SMMUv3.
pub struct Registers<'m, M> {
    /// What they belong to.
    pub machine: &'m M,
    /// Where they lie.
    pub window: Range,
}

impl<M: Machine> Registers<'_, M> {
    fn at(&self, register: u64) -> Pa {
        Pa::low_48(self.window.start + register)
    }

    /// Reads one of 4 bytes.
    pub fn read(&self, register: u64) -> u64 {
        self.machine.mmio_read(self.at(register), Width::Word)
    }

    /// Writes one of 4 bytes.
    pub fn write(&self, register: u64, value: u64) {
        self.machine.mmio_write(self.at(register), Width::Word, value);
    }

    /// Writes one of 8 bytes.
    pub fn write_double(&self, register: u64, value: u64) {
        self.machine.mmio_write(self.at(register), Width::Double, value);
    }
}
