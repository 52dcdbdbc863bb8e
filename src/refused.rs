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
    /// The VM has no table: it does not exist.
    NoTable(Vmid),
    /// The VM, or the vCPU, is not in the state that the call asks for.
    State(Vmid),
    /// The page is not the VM's, or at another place of it.
    NotVmPage(Pfn),
    /// All VM ids are in use.
    NoVmid,
    /// The image window is full.
    WindowFull,
    /// An image is not complete, or not where it has to be; or a saved VM that is loaded is not complete.
    Image,
    /// An image is not what a signature of it says, or nobody of whom there is a key has signed it.
    NotSigned,
    /// No image can be authentic: there is no key.
    NoKeys,
    /// The context bank is another's, still maps pages, or is not there.
    Bank,
    /// The SMMU register can't be accessed so.
    Register(u64),
    /// The interrupt controller's register at this offset in its page can't be accessed so.
    GicRegister(u64),
    /// The command, of this number, names something that it can't, or is one that the host does not have.
    ItsCommand(u8),
    /// The SMMU does not come to an end with an invalidation.
    SmmuStuck,
    /// Where the vCPU is to start lies in none of the VM's images.
    Entry(u64),
    /// A saved page or vCPU was altered, is another VM's, or is not the latest.
    NotAuthentic,
    /// The platform lacks what the call needs.
    Unavailable,
    /// The host wants something of a vCPU's interrupt interface that it can't have: 0 for ICH_HCR, else the number of the
    /// list register plus 1.
    Interrupts(usize),
    /// A VM left for a reason that it must not leave for; ESR_EL2.
    Exit(u64),
    /// A table exists where a block is asked for, or a block where a page is (D-07).
    LevelConflict,
}

impl Refused {
    /// The number that the caller finds in x0.
    pub const fn code(self) -> i64 {
        match self {
            Self::NotSupported => abi::NOT_SUPPORTED,
            Self::Argument(_)
            | Self::OutOfReach
            | Self::LevelConflict
            | Self::Entry(_)
            | Self::NoTable(_)
            | Self::Interrupts(_) => abi::INVALID_PARAMETER,
            Self::NotHostPage(_)
            | Self::NotVmPage(_)
            | Self::Bank
            | Self::Image
            | Self::NotSigned
            | Self::NotAuthentic => abi::DENIED,
            Self::State(_) | Self::Register(_) | Self::GicRegister(_) | Self::ItsCommand(_) | Self::Exit(_) => {
                abi::DENIED
            }
            Self::Busy(_) | Self::SmmuStuck => abi::BUSY,
            Self::NoTables(_) | Self::NoVmid | Self::WindowFull => abi::NO_MEMORY,
            Self::Unavailable | Self::NoKeys => abi::NOT_SUPPORTED,
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
            Self::NoTable(v) => write!(f, "{v} does not exist"),
            Self::State(v) => write!(f, "{v}, or the vCPU, is not in the right state"),
            Self::NotVmPage(pfn) => write!(f, "page {} is not the VM's, or elsewhere in it", pfn.base()),
            Self::NoVmid => f.write_str("no VM id left"),
            Self::WindowFull => f.write_str("the image window is full"),
            Self::Image => f.write_str("an image, or a saved VM, is incomplete or misplaced"),
            Self::NotSigned => f.write_str("no key of Corevisor's has signed this image for this address"),
            Self::NoKeys => f.write_str("there is no key for signed images: none built in, and no module with any"),
            Self::Bank => f.write_str("the context bank is another's, in use, or not there"),
            Self::Register(offset) => write!(f, "SMMU register {offset:#x} can't be accessed so"),
            Self::GicRegister(offset) => write!(f, "interrupt controller's register {offset:#x} can't be accessed so"),
            Self::ItsCommand(number) => write!(f, "command {number:#x} can't be given so"),
            Self::SmmuStuck => f.write_str("the SMMU does not end an invalidation"),
            Self::Entry(pc) => write!(f, "entry point {pc:#x} lies in no image"),
            Self::NotAuthentic => f.write_str("the saved state is not authentic, or not the latest"),
            Self::Unavailable => f.write_str("the platform lacks what this needs"),
            Self::Interrupts(0) => f.write_str("ICH_HCR in the run page is malformed"),
            Self::Interrupts(n) => write!(f, "list register {} in the run page is malformed", n - 1),
            Self::Exit(esr) => write!(f, "the VM left with esr={esr:#x}"),
            Self::LevelConflict => f.write_str("block and page mappings conflict"),
        }
    }
}
