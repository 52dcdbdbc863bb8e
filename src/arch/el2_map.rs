// SPDX-License-Identifier: GPL-2.0-only
//! EL2's own stage-1 map: the identity, W^X, 4 KiB granule, 48 bits (Arm ARM D8).
//!
//! Maps are built, made current, and then not changed: three in a boot (image and device tree; all RAM; what remains).
//! The last stays: Write-Once-Kernel-Mapping of `spec/layers/12-wdrf.md` §12.5. The exceptions are two pages and a
//! block for each CPU ([`super::fixmap`], [`super::block_window`]), which are never used to reach what Corevisor maps otherwise.

use crate::addr::{PAGE_SIZE, PMD_SIZE, PUD_SIZE, Range};
use crate::platform::BootError;
use crate::read_sysreg;
use crate::refused::Refused;
use bitflags::bitflags;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

bitflags! {
    /// Bits of an EL2 stage-1 descriptor.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Bits: u64 {
        const VALID = 1 << 0;
        /// At levels 0 to 2 a table, at level 3 a page.
        const TABLE_OR_PAGE = 1 << 1;
        /// AttrIndx: [`MAIR`]'s attribute 1, normal memory. Clear: attribute 0, a device.
        const NORMAL = 1 << 2;
        /// AP[1]: RES1 in a regime with one privilege level.
        const AP_RES1 = 1 << 6;
        /// AP[2].
        const READ_ONLY = 1 << 7;
        const INNER_SHAREABLE = 0b11 << 8;
        const AF = 1 << 10;
        const XN = 1 << 54;
        const _ = !0;
    }
}

/// What a range may be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Code: read and execute.
    Code,
    /// Constants: read.
    ReadOnly,
    /// Variables: read and write.
    ReadWrite,
    /// Device registers: read and write.
    Device,
}

impl Access {
    const fn bits(self) -> Bits {
        let common = Bits::VALID.union(Bits::AF).union(Bits::AP_RES1);
        let normal = common.union(Bits::NORMAL).union(Bits::INNER_SHAREABLE);
        match self {
            Self::Code => normal.union(Bits::READ_ONLY),
            Self::ReadOnly => normal.union(Bits::READ_ONLY).union(Bits::XN),
            Self::ReadWrite => normal.union(Bits::XN),
            Self::Device => common.union(Bits::XN),
        }
    }

    /// The level-3 descriptor that maps the page at `address` for this.
    pub const fn page(self, address: u64) -> u64 {
        address | self.bits().union(Bits::TABLE_OR_PAGE).bits()
    }

    /// The level-2 descriptor that maps the 2 MiB at `address` for this.
    pub const fn block(self, address: u64) -> u64 {
        address | self.bits().bits()
    }
}

/// Attribute 0: Device-nGnRE; attribute 1: normal, write-back.
const MAIR: u64 = 0xFF04;
/// TCR_EL2: T0SZ 16 (48 bits), write-back inner-shareable walks, 4 KiB granule, RES1 bits 31 and 23. PS is added.
const TCR: u64 = 16 | (0b01 << 8) | (0b01 << 10) | (0b11 << 12) | (1 << 23) | (1 << 31);
/// SCTLR_EL2: M, C, SA, I, WXN, and the RES1 bits 4, 5, 11, 16, 18, 22, 23, 28, 29.
const SCTLR: u64 = 0x30C5_0830 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12) | (1 << 19);

type Table = [u64; 512];

/// Pages that all maps of a boot are made of; those of the last one are never given back.
const POOL_PAGES: usize = 96;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[Table; POOL_PAGES]>);

// SAFETY: every table is handed out once (`NEXT`), to the boot CPU.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool(UnsafeCell::new([[0; 512]; POOL_PAGES]));
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A zeroed table.
fn new_table() -> Result<*mut Table, BootError> {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    if n >= POOL_PAGES {
        return Err(BootError::TooManyRegions);
    }
    // SAFETY: within the pool, and nobody else gets the same `n`.
    Ok(unsafe { POOL.0.get().cast::<Table>().add(n) })
}

/// A map under construction.
pub struct El2Map(*mut Table);

/// Values of EL2's translation registers: TTBR0_EL2, MAIR_EL2, TCR_EL2 and SCTLR_EL2.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// TTBR0_EL2.
    pub ttbr0: u64,
    /// MAIR_EL2.
    pub mair: u64,
    /// TCR_EL2.
    pub tcr: u64,
    /// SCTLR_EL2.
    pub sctlr: u64,
}

unsafe extern "C" {
    /// boot/entry.S.
    fn switch_el2_map(ttbr0: u64, mair: u64, tcr: u64, sctlr: u64);
}

impl El2Map {
    /// Nothing mapped.
    pub fn new() -> Result<Self, BootError> {
        Ok(Self(new_table()?))
    }

    /// Corevisor's image, with the rights of each part, and without the pages below its stacks.
    pub fn with_image() -> Result<Self, BootError> {
        use super::image;
        let mut map = Self::new()?;
        map.map(image::text(), Access::Code)?;
        map.map(image::rodata(), Access::ReadOnly)?;
        map.map(image::data(), Access::ReadWrite)?;
        map.map(image::boot_stack(), Access::ReadWrite)?;
        map.map(image::epitaph_stack(), Access::ReadWrite)?;
        Ok(map)
    }

    /// Maps the pages of `range` onto themselves, in the largest blocks. Pages that are mapped already stay as they are.
    pub fn map(&mut self, range: Range, access: Access) -> Result<(), BootError> {
        let range = range.align_out(PAGE_SIZE);
        let mut at = range.start;
        while at < range.end {
            at += self.map_one(at, range.end - at, access)?;
        }
        Ok(())
    }

    /// Maps the largest block at `at` of at most `room` bytes that the table has room for; returns its size.
    fn map_one(&mut self, at: u64, room: u64, access: Access) -> Result<u64, BootError> {
        let mut table = self.0;
        for (level, size) in [(0, 1 << 39), (1, PUD_SIZE), (2, PMD_SIZE), (3, PAGE_SIZE)] {
            let index = (at / size) as usize % 512;
            // SAFETY: a table of the pool, which only this map uses; 512 entries.
            let entry = unsafe { &mut (*table)[index] };
            let fits = level > 0 && at.is_multiple_of(size) && room >= size;
            let old = Bits::from_bits_retain(*entry);
            if !old.contains(Bits::VALID) {
                if fits {
                    *entry = if level == 3 { access.page(at) } else { access.block(at) };
                    return Ok(size);
                }
                *entry = new_table()? as u64 | (Bits::VALID | Bits::TABLE_OR_PAGE).bits();
            } else if level == 3 || !old.contains(Bits::TABLE_OR_PAGE) {
                return Ok(size - at % size);
            }
            table = (*entry & 0x0000_FFFF_FFFF_F000) as *mut Table;
        }
        Ok(PAGE_SIZE)
    }

    /// Makes `table`, a level-3 table, translate the 2 MiB from `at` on. The level-2 table that does so.
    ///
    /// # Errors
    /// If something is mapped there.
    pub fn set_table(&mut self, at: u64, table: u64) -> Result<&'static [AtomicU64; 512], BootError> {
        const LINK: Bits = Bits::VALID.union(Bits::TABLE_OR_PAGE);
        let mut parent = self.0;
        for (level, size) in [(0, 1 << 39), (1, PUD_SIZE), (2, PMD_SIZE)] {
            let index = (at / size) as usize % 512;
            // SAFETY: as in `map_one`.
            let entry = unsafe { &mut (*parent)[index] };
            let old = Bits::from_bits_retain(*entry);
            match old.contains(Bits::VALID) {
                false if level == 2 => *entry = table | LINK.bits(),
                false => *entry = new_table()? as u64 | LINK.bits(),
                true if level < 2 && old.contains(Bits::TABLE_OR_PAGE) => {}
                true => return Err(BootError::Core(Refused::OutOfReach)),
            }
            if level < 2 {
                parent = (*entry & 0x0000_FFFF_FFFF_F000) as *mut Table;
            }
        }
        // SAFETY: a table of the pool, which stays, and of the layout of its words.
        Ok(unsafe { &*parent.cast() })
    }

    /// The registers that make this map current.
    pub fn registers(&self) -> Registers {
        let parange = (read_sysreg!("id_aa64mmfr0_el1") & 0xF).min(0b0101);
        Registers { ttbr0: self.0 as u64, mair: MAIR, tcr: TCR | (parange << 16), sctlr: SCTLR }
    }

    /// Makes it current on this CPU.
    ///
    /// # Safety
    /// It must map all that is in use: the image, and whatever live references point to.
    pub unsafe fn switch(&self) {
        let r = self.registers();
        // SAFETY: the map is the identity, as the one before it or as no map; the caller vouches for its extent.
        unsafe { switch_el2_map(r.ttbr0, r.mair, r.tcr, r.sctlr) };
    }
}
