// SPDX-License-Identifier: GPL-2.0-only
//! Registers of ITSs and redistributors (Arm IHI 0069H, 12.10, 12.11, 12.18, 12.19), and commands of an ITS (5.3): where
//! they lie, and the fields that Corevisor looks at.

/// Bytes of a frame of registers.
pub const FRAME: u64 = 0x1_0000;
/// Bytes of a command.
pub const COMMAND: u64 = 32;

/// The control frame of an ITS.
pub mod gits {
    /// Control, 4 bytes.
    pub const CTLR: u64 = 0x00;
    /// Implementation, 4 bytes.
    pub const IIDR: u64 = 0x04;
    /// Type.
    pub const TYPER: u64 = 0x08;
    /// Errors, 4 bytes.
    pub const STATUSR: u64 = 0x40;
    /// The command queue.
    pub const CBASER: u64 = 0x80;
    /// Where in it the next command will be written.
    pub const CWRITER: u64 = 0x88;
    /// Where in it the next command will be read.
    pub const CREADR: u64 = 0x90;
    /// The tables, 8 of 8 bytes.
    pub const BASER: core::ops::Range<u64> = 0x100..0x140;

    /// CTLR: the ITS takes interrupts and commands.
    pub const ENABLED: u64 = 1;
    /// CTLR: all that was asked for is done.
    pub const QUIESCENT: u64 = 1 << 31;
    /// CBASER and BASER: the memory is there.
    pub const VALID: u64 = 1 << 63;
    /// BASER: a table of tables.
    pub const INDIRECT: u64 = 1 << 62;
    /// CBASER and BASER: cacheable, inner shareable memory.
    pub const NORMAL_WB: u64 = 0b111 << 59 | 0b01 << 10;
    /// CBASER and BASER: not cacheable.
    pub const NORMAL_NC: u64 = 0b001 << 59;
    /// CBASER and BASER: whose caches agree about the memory.
    pub const SHAREABILITY: u64 = 0b11 << 10;
    /// BASER: what the hardware says, type and entry size.
    pub const READ_ONLY: u64 = 0b111 << 56 | 0b1_1111 << 48;
    /// CREADR: the queue has stopped at a command with an error.
    pub const STALLED: u64 = 1;
    /// CWRITER: the queue goes on after that.
    pub const RETRY: u64 = 1;
    /// CWRITER and CREADR: the offset in the queue.
    pub const OFFSET: u64 = 0x7FFF << 5;
    /// TYPER: a collection's target is a redistributor's address.
    pub const PTA: u64 = 1 << 19;
    /// TYPER: what belongs to GICv4, which the host does not find: VLPIs, VMOVP, VSGI, VMAPP, SVPET, nID.
    pub const TYPER_V4: u64 = 1 << 1 | 1 << 37 | 0b1_1111 << 39;

    /// BASER.Type.
    pub const fn table(baser: u64) -> u64 {
        (baser >> 56) & 0b111
    }
    /// [`table`]: devices.
    pub const DEVICES: u64 = 1;
    /// [`table`]: collections.
    pub const COLLECTIONS: u64 = 4;

    /// Bytes of an entry of the table of BASER.
    pub const fn entry_size(baser: u64) -> u64 {
        ((baser >> 48) & 0b1_1111) + 1
    }
    /// BASER.Page_Size, for 4 KiB, 16 KiB, 64 KiB.
    pub const PAGE_SIZE_SHIFT: u32 = 8;
    /// Bytes of a page of the table of BASER.
    pub const fn page_size(baser: u64) -> u64 {
        match (baser >> PAGE_SIZE_SHIFT) & 0b11 {
            0 => 0x1000,
            1 => 0x4000,
            _ => 0x1_0000,
        }
    }
    /// TYPER: bytes of an entry of an ITT.
    pub const fn itt_entry_size(typer: u64) -> u64 {
        ((typer >> 4) & 0xF) + 1
    }
    /// TYPER: bits of an event's number.
    pub const fn event_bits(typer: u64) -> u64 {
        ((typer >> 8) & 0x1F) + 1
    }
    /// TYPER: bits of a device's number.
    pub const fn device_bits(typer: u64) -> u64 {
        ((typer >> 13) & 0x1F) + 1
    }
}

/// The frame RD_base of a redistributor.
pub mod gicr {
    /// Control, 4 bytes.
    pub const CTLR: u64 = 0x00;
    /// Type.
    pub const TYPER: u64 = 0x08;
    /// Errors, 4 bytes.
    pub const STATUSR: u64 = 0x10;
    /// Power, 4 bytes.
    pub const WAKER: u64 = 0x14;
    /// Makes an LPI pending.
    pub const SETLPIR: u64 = 0x40;
    /// Makes it not pending.
    pub const CLRLPIR: u64 = 0x48;
    /// The table of what LPIs are.
    pub const PROPBASER: u64 = 0x70;
    /// The table of which are pending.
    pub const PENDBASER: u64 = 0x78;
    /// Forgets what is cached of an LPI.
    pub const INVLPIR: u64 = 0xA0;
    /// Forgets what is cached of all.
    pub const INVALLR: u64 = 0xB0;

    /// CTLR: the tables are in use.
    pub const ENABLE_LPIS: u64 = 1;
    /// CTLR: what was written has not had its effect yet.
    pub const RWP: u64 = 1 << 3;
    /// TYPER: there are physical LPIs.
    pub const PLPIS: u64 = 1;
    /// TYPER: there are virtual LPIs, and two more frames.
    pub const VLPIS: u64 = 1 << 1;
    /// TYPER: the last one of its region.
    pub const LAST: u64 = 1 << 4;
    /// TYPER: what belongs to GICv4 and does not say how many frames there are: Dirty, RVPEID.
    pub const TYPER_V4: u64 = 1 << 2 | 1 << 7;
    /// INVLPIR and INVALLR: of a vPE.
    pub const VIRTUAL: u64 = 1 << 63;
    /// PROPBASER: bits of an LPI's number, less one.
    pub const ID_BITS: u64 = 0x1F;
    /// From the frame RD_base to the frame VLPI_base.
    pub const VLPI_FRAME: u64 = 0x2_0000;
}

/// What a command does, its lowest byte.
pub mod command {
    /// An event goes to another collection.
    pub const MOVI: u64 = 0x01;
    /// An event happens.
    pub const INT: u64 = 0x03;
    /// It is not pending any more.
    pub const CLEAR: u64 = 0x04;
    /// Waits for a redistributor.
    pub const SYNC: u64 = 0x05;
    /// A device gets an ITT, or loses it.
    pub const MAPD: u64 = 0x08;
    /// A collection gets a redistributor.
    pub const MAPC: u64 = 0x09;
    /// An event gets an interrupt.
    pub const MAPTI: u64 = 0x0A;
    /// An event gets the interrupt with its number.
    pub const MAPI: u64 = 0x0B;
    /// Forgets what is cached of an event's interrupt.
    pub const INV: u64 = 0x0C;
    /// Forgets what is cached of a collection's.
    pub const INVALL: u64 = 0x0D;
    /// All that is pending moves to another redistributor.
    pub const MOVALL: u64 = 0x0E;
    /// An event loses its interrupt.
    pub const DISCARD: u64 = 0x0F;

    /// MAPD and MAPC: there is one.
    pub const VALID: u64 = 1 << 63;
    /// MAPD, third word: the ITT's address.
    pub const ITT: u64 = ((1 << 52) - 1) & !0xFF;
    /// MAPD, second word: bits of the event numbers, less one.
    pub const SIZE: u64 = 0x1F;
    /// Where a redistributor is named: bits 50:16.
    pub const RDBASE: u64 = ((1 << 51) - 1) & !0xFFFF;
}
