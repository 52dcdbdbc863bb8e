// SPDX-License-Identifier: GPL-2.0-only
//! Why Corevisor said no. Where the specification halts, a function here returns one of these, with nothing changed.

use crate::abi;
use crate::addr::{Pfn, Vmid};
use core::fmt;

/// The reason of a refusal; `spec/SPEC.md` §0.6 lists what the specification halts on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The call does not exist, or not yet.
    NotSupported,
    /// An argument lies outside the range that the call accepts; which one, counted from x1.
    Argument(u8),
    /// The page is not the host's to touch or to give.
    NotHostPage(Pfn),
    /// The page is in use (shared, or mapped for DMA) and can't change hands.
    Busy(Pfn),
    /// The address lies beyond what the stage-2 table translates, or in a window that Corevisor keeps to itself.
    OutOfReach,
    /// The principal has used up its page-table pages.
    NoTables(Vmid),
    /// A table exists where a block is asked for, or a block where a page is (D-07).
    LevelConflict,
}

impl Refused {
    /// The number that the caller finds in x0.
    pub const fn code(self) -> i64 {
        match self {
            Self::NotSupported => abi::NOT_SUPPORTED,
            Self::Argument(_) | Self::OutOfReach | Self::LevelConflict => abi::INVALID_PARAMETER,
            Self::NotHostPage(_) => abi::DENIED,
            Self::Busy(_) => abi::BUSY,
            Self::NoTables(_) => abi::NO_MEMORY,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSupported => f.write_str("not supported"),
            Self::Argument(n) => write!(f, "argument {n} out of range"),
            Self::NotHostPage(pfn) => write!(f, "page {} is not the host's", pfn.base()),
            Self::Busy(pfn) => write!(f, "page {} is in use", pfn.base()),
            Self::OutOfReach => f.write_str("address out of the host's reach"),
            Self::NoTables(v) => write!(f, "no page-table pages left for {v}"),
            Self::LevelConflict => f.write_str("block and page mappings conflict"),
        }
    }
}
