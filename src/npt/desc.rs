// SPDX-License-Identifier: GPL-2.0-only
//! Stage-2 descriptors (Arm ARM D8.3, "Translation table descriptor formats").

use crate::addr::{PAGE_SHIFT, PAGE_SIZE, PMD_SIZE, PUD_SIZE, Pa};
use bitflags::bitflags;

bitflags! {
    /// Bits of a stage-2 descriptor.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Bits: u64 {
        /// The descriptor is in use.
        const VALID = 1 << 0;
        /// At levels 0 to 2 a table, at level 3 a page; clear: a block.
        const TABLE_OR_PAGE = 1 << 1;
        /// MemAttr: normal memory, inner and outer write-back.
        const NORMAL_WB = 0b1111 << 2;
        /// MemAttr: Device-nGnRE.
        const DEVICE_NGNRE = 0b0001 << 2;
        /// S2AP: reads allowed.
        const READ = 1 << 6;
        /// S2AP: writes allowed.
        const WRITE = 1 << 7;
        /// Inner shareable.
        const INNER_SHAREABLE = 0b11 << 8;
        /// Access flag.
        const AF = 1 << 10;
        /// Execute never.
        const XN = 1 << 54;
        /// Software: the page was given away (specification: `PAGE_GUEST`).
        const GIVEN_AWAY = 1 << 57;
        const _ = !0;
    }
}

/// Attributes of RAM: normal write-back, read, write, execute, as a level-3 descriptor. The specification's 0xFFF has
/// bit 11 set, which hardware reserves (`spec/SPEC.md` §0.10).
pub const PAGE_S2_KERNEL: u64 = Bits::VALID
    .union(Bits::TABLE_OR_PAGE)
    .union(Bits::NORMAL_WB)
    .union(Bits::READ)
    .union(Bits::WRITE)
    .union(Bits::INNER_SHAREABLE)
    .union(Bits::AF)
    .bits();
/// Attributes of device memory, read-only; used together with [`S2_RDWR`].
pub const PAGE_S2_DEVICE: u64 = Bits::VALID
    .union(Bits::TABLE_OR_PAGE)
    .union(Bits::DEVICE_NGNRE)
    .union(Bits::READ)
    .union(Bits::INNER_SHAREABLE)
    .union(Bits::AF)
    .union(Bits::XN)
    .bits();
/// Reads and writes allowed.
pub const S2_RDWR: u64 = Bits::READ.union(Bits::WRITE).bits();
/// Attributes of a page in the image window. Nothing but [`crate::vm`] reads the window's table: they only keep an entry
/// well-formed.
pub const PAGE_HYP: u64 = Bits::VALID
    .union(Bits::TABLE_OR_PAGE)
    .union(Bits::NORMAL_WB)
    .union(Bits::READ)
    .union(Bits::INNER_SHAREABLE)
    .union(Bits::AF)
    .union(Bits::XN)
    .bits();
/// The invalid descriptor of a page that the host has given away.
pub const PAGE_GUEST: u64 = Bits::GIVEN_AWAY.bits();

const _: () = assert!(PAGE_S2_KERNEL == 0x7FF && PAGE_S2_DEVICE == 0x0040_0000_0000_0747 && S2_RDWR == 0xC0);

/// A level of the walk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// 512 GiB an entry; tables only.
    L0,
    /// 1 GiB an entry.
    L1,
    /// 2 MiB an entry; the specification's block level.
    L2,
    /// 4 KiB an entry.
    L3,
}

impl Level {
    /// log2 of what one entry of this level maps.
    pub const fn shift(self) -> u32 {
        match self {
            Self::L0 => 39,
            Self::L1 => 30,
            Self::L2 => 21,
            Self::L3 => PAGE_SHIFT,
        }
    }

    /// Bytes that one entry of this level maps.
    pub const fn size(self) -> u64 {
        1 << self.shift()
    }
}

const _: () = assert!(Level::L1.size() == PUD_SIZE && Level::L2.size() == PMD_SIZE);

/// One entry of a stage-2 table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Desc(u64);

impl Desc {
    /// The entry of an address that nothing is mapped at.
    pub const NONE: Self = Self(0);

    /// Reads an entry.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// A pointer to the next level's table (`page | 3`).
    pub const fn table(page: Pa) -> Self {
        Self(page.as_u64() | Bits::VALID.bits() | Bits::TABLE_OR_PAGE.bits())
    }

    /// The entry that maps `page` at `level` (1 to 3) with `attributes` given as for level 3.
    pub const fn leaf(page: Pa, level: Level, attributes: u64) -> Self {
        let type_bits = match level {
            Level::L3 => attributes,
            _ => attributes & !Bits::TABLE_OR_PAGE.bits(),
        };
        Self(page.as_u64() | type_bits)
    }

    /// The plain bits.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Whether the entry is all zero: nothing was ever put here.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether a walker would use it.
    pub const fn is_valid(self) -> bool {
        self.0 & Bits::VALID.bits() != 0
    }

    /// Whether, at levels 0 to 2, it points to a table.
    pub const fn is_table(self) -> bool {
        let table = Bits::VALID.bits() | Bits::TABLE_OR_PAGE.bits();
        self.0 & table == table
    }

    /// The same, but invalid.
    pub const fn cut_off(self) -> Self {
        Self(self.0 & !Bits::VALID.bits())
    }

    /// Spec: `PP(x)`: the page address inside.
    pub const fn pp(self) -> Pa {
        Pa::low_48(self.0 & !(PAGE_SIZE - 1))
    }

    /// The attribute bits: everything but the address, as for level 3.
    pub const fn attributes(self) -> u64 {
        (self.0 & !self.pp().as_u64()) | Bits::TABLE_OR_PAGE.bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_differs_from_a_page_in_one_bit() {
        let pa = Pa::new(0x4020_0000).unwrap();
        let page = Desc::leaf(pa, Level::L3, PAGE_S2_KERNEL);
        let block = Desc::leaf(pa, Level::L2, PAGE_S2_KERNEL);
        assert_eq!(page.as_u64() ^ block.as_u64(), 2);
        assert!(!block.is_table() && block.is_valid());
        assert_eq!(block.attributes(), PAGE_S2_KERNEL);
        assert_eq!(block.pp(), pa);
    }

    #[test]
    fn a_page_given_away_is_invalid_and_has_no_address() {
        let given = Desc::from_u64(PAGE_GUEST);
        assert!(!given.is_valid() && !given.is_none());
        assert_eq!(given.pp().as_u64(), 0);
    }
}
