// SPDX-License-Identifier: GPL-2.0-only
//! Registers of an SMMUv2 with pages of 4 KiB (Arm IHI 0062D.c, chapters 9 to 17): where they lie in the window, and the
//! fields that Corevisor looks at.

use bitflags::bitflags;

/// Bytes of the window: a global half and a half of context banks (`spec/layers/10-abi-flows.md` §10.11).
pub const WINDOW: u64 = 0x1_0000;
/// The context banks start here (specification: `SMMU_GLOBAL_BASE`).
pub const BANKS: u64 = 0x8000;
/// log2 of the bytes of one context bank.
pub const BANK_SHIFT: u32 = 12;

/// Global register space 0 (chapters 9 and 10).
pub mod gr0 {
    /// Configuration.
    pub const SCR0: u64 = 0x00;
    /// VMID of bypassed streams.
    pub const SCR2: u64 = 0x08;
    /// Implementation-defined control.
    pub const SACR: u64 = 0x10;
    /// Identification 0.
    pub const IDR0: u64 = 0x20;
    /// Identification 1.
    pub const IDR1: u64 = 0x24;
    /// Identification 2.
    pub const IDR2: u64 = 0x28;
    /// Identification 6.
    pub const IDR6: u64 = 0x38;
    /// Identification 7: the revision.
    pub const IDR7: u64 = 0x3C;
    /// Fault address, 8 bytes; then up to [`SGFSYNR2`] what else there is to know of a global fault.
    pub const SGFAR: u64 = 0x40;
    /// Fault syndrome 2.
    pub const SGFSYNR2: u64 = 0x58;
    /// Invalidate by VMID.
    pub const TLBIVMID: u64 = 0x64;
    /// Invalidate all of non-secure, non-Hyp.
    pub const TLBIALLNSNH: u64 = 0x68;
    /// Invalidate all of Hyp.
    pub const TLBIALLH: u64 = 0x6C;
    /// Wait for invalidations.
    pub const STLBGSYNC: u64 = 0x70;
    /// Whether they are still going on.
    pub const STLBGSTATUS: u64 = 0x74;
    /// Invalidate Hyp by address.
    pub const TLBIVAH: u64 = 0x78;
    /// Invalidate stage 1 by VMID.
    pub const TLBIVMIDS1: u64 = 0xB8;
    /// Address translation operations, 8 bytes each, and their result [`SGPAR`].
    pub const GATS: core::ops::Range<u64> = 0x100..0x140;
    /// Result of an address translation operation.
    pub const SGPAR: u64 = 0x180;
    /// Which streams an entry of the stream mapping table matches; one word for each entry.
    pub const SMR: core::ops::Range<u64> = 0x800..0xA00;
    /// Where they go; one word for each entry.
    pub const S2CR: core::ops::Range<u64> = 0xC00..0xE00;
}

/// Global register space 1 (chapter 11).
pub mod gr1 {
    /// What a context bank is for; one word for each bank.
    pub const CBAR: core::ops::Range<u64> = 0x1000..0x1200;
    /// More of it.
    pub const CBA2R: core::ops::Range<u64> = 0x1800..0x1A00;
}

/// Registers of a context bank (chapters 15 and 16).
pub mod cb {
    /// System control.
    pub const SCTLR: u64 = 0x000;
    /// Implementation-defined control.
    pub const ACTLR: u64 = 0x004;
    /// Resume a stalled transaction.
    pub const RESUME: u64 = 0x008;
    /// Root of the table.
    pub const TTBR0: u64 = 0x020;
    /// Its upper half.
    pub const TTBR0_HIGH: u64 = 0x024;
    /// Root of stage 1's second table.
    pub const TTBR1: u64 = 0x028;
    /// Format of the table (TTBCR).
    pub const TCR: u64 = 0x030;
    /// Context identification, stage 1.
    pub const CONTEXTIDR: u64 = 0x034;
    /// Memory attributes, stage 1.
    pub const MAIR0: u64 = 0x038;
    /// Memory attributes, stage 1.
    pub const MAIR1: u64 = 0x03C;
    /// Result of an address translation operation.
    pub const PAR: u64 = 0x050;
    /// Fault status.
    pub const FSR: u64 = 0x058;
    /// Restores the fault status.
    pub const FSRRESTORE: u64 = 0x05C;
    /// Fault address.
    pub const FAR: u64 = 0x060;
    /// Fault syndrome 0.
    pub const FSYNR0: u64 = 0x068;
    /// Fault syndrome 1.
    pub const FSYNR1: u64 = 0x06C;
    /// Fault address, intermediate.
    pub const IPAFAR: u64 = 0x070;
    /// Invalidations by address or ASID, 8 bytes each.
    pub const TLBI: core::ops::Range<u64> = 0x600..0x640;
    /// Wait for invalidations.
    pub const TLBSYNC: u64 = 0x7F0;
    /// Address translation operations, 8 bytes each.
    pub const ATS: core::ops::Range<u64> = 0x800..0x820;
}

bitflags! {
    /// Fields of SMMU_sCR0.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Scr0: u64 {
        /// All streams bypass the SMMU.
        const CLIENTPD = 1 << 0;
        /// Stream ids of 16 bits: SMR and S2CR change their layout.
        const EXIDENABLE = 1 << 3;
        /// A stream that nothing matches faults.
        const USFCFG = 1 << 10;
        /// A stream that matches twice faults.
        const SMCFCFG = 1 << 21;
        /// VMIDs of 16 bits.
        const VMID16EN = 1 << 31;
        const _ = !0;
    }
}

bitflags! {
    /// Fields of SMMU_CBn_SCTLR.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Sctlr: u64 {
        /// Translates. If clear, what is routed to the bank reaches memory untranslated.
        const M = 1 << 0;
        /// A fault is reported to the device.
        const CFRE = 1 << 5;
        /// A fault raises an interrupt.
        const CFIE = 1 << 6;
        /// A fault stalls the transaction, instead of ending it.
        const CFCFG = 1 << 7;
        /// Others go on while one is stalled.
        const HUPCF = 1 << 8;
        const _ = !0;
    }
}

/// The bits of VMID in sCR2.BPVMID and CBAR.
pub const VMID: u64 = 0xFF;

/// SMR.VALID.
pub const SMR_VALID: u64 = 1 << 31;
/// SMR.MASK, from this bit on.
pub const SMR_MASK_SHIFT: u32 = 16;
/// Bits of SMR.ID and SMR.MASK.
pub const STREAM_ID: u64 = 0x7FFF;

/// S2CR.TYPE, from this bit on, two bits.
pub const S2CR_TYPE_SHIFT: u32 = 16;
/// S2CR.TYPE: translate, by the bank in [`S2CR_CBNDX`].
pub const S2CR_TRANSLATE: u64 = 0;
/// S2CR.TYPE: fault.
pub const S2CR_FAULT: u64 = 2;
/// S2CR.CBNDX.
pub const S2CR_CBNDX: u64 = 0xFF;

/// CBAR.TYPE and all above it. TYPE 0, in bits 17:16, is a bank of stage 2.
pub const CBAR_TYPE_SHIFT: u32 = 16;
/// CBAR.IRPTNDX: the bank's interrupt.
pub const CBAR_IRPTNDX: u64 = 0xFF << 24;
/// CBA2R.VA64: the format of AArch64.
pub const CBA2R_VA64: u64 = 1 << 0;
/// CBA2R.MONC: counts as monitored.
pub const CBA2R_MONC: u64 = 1 << 1;

/// IDR0.NUMSMRG: entries of the stream mapping table.
pub const IDR0_NUMSMRG: u64 = 0xFF;
/// IDR0.NUMSIDB, bits of a stream id, from this bit on, four bits.
pub const IDR0_NUMSIDB_SHIFT: u32 = 9;
/// IDR0.EXIDS: stream ids of 16 bits.
pub const IDR0_EXIDS: u64 = 1 << 8;
/// IDR0.BTM: invalidations that CPUs broadcast are heard.
pub const IDR0_BTM: u64 = 1 << 13;
/// IDR0.NTS: stage 1 and then stage 2.
pub const IDR0_NTS: u64 = 1 << 28;
/// IDR0.S2TS: stage 2.
pub const IDR0_S2TS: u64 = 1 << 29;
/// IDR0.S1TS: stage 1.
pub const IDR0_S1TS: u64 = 1 << 30;
/// IDR0.SES: the Secure state.
pub const IDR0_SES: u64 = 1 << 31;
/// IDR0.SMS: entries match streams, instead of being indexed by them.
pub const IDR0_SMS: u64 = 1 << 27;

/// IDR1.NUMCB: context banks.
pub const IDR1_NUMCB: u64 = 0xFF;
/// IDR1.NUMS2CB, context banks of stage 2 only, from this bit on, eight bits.
pub const IDR1_NUMS2CB_SHIFT: u32 = 16;
/// IDR1.NUMPAGENDXB, log2 of the pages in one half of the window less 1, from this bit on, three bits.
pub const IDR1_NUMPAGENDXB_SHIFT: u32 = 28;
/// IDR1.PAGESIZE: pages of 64 KiB.
pub const IDR1_PAGESIZE: u64 = 1 << 31;

/// IDR2.IAS: bits of addresses that come in, as a number.
pub const IDR2_IAS: u64 = 0xF;
/// IDR2.IAS: 40 bits.
pub const IDR2_IAS_40: u64 = 2;
/// IDR2.OAS: bits of addresses that go out, as a number.
pub const IDR2_OAS: u64 = 0xF << 4;
/// IDR2.PTFSv8_4kB: tables of AArch64 with a granule of 4 KiB.
pub const IDR2_PTFSV8_4KB: u64 = 1 << 12;

/// TLBGSTATUS.GSACTIVE.
pub const GSACTIVE: u64 = 1 << 0;

/// TCR of every bank, the format of the tables of [`crate::spt`]: an input of 40 bits (T0SZ 24), the walk starts at level 1
/// (SL0 1), write-back inner and outer, inner shareable, granule 4 KiB (TG0 0), output of 40 bits (PASize 2); bit 31 is one
/// in a bank of stage 2.
pub const TCR_STAGE_2: u64 = 24 | (1 << 6) | (1 << 8) | (1 << 10) | (3 << 12) | (2 << 16) | (1 << 31);
