// SPDX-License-Identifier: GPL-2.0-only
//! What the specification leaves to the machine and the hardware does not decide: reading the device tree, planning the
//! memory, loading the host, and the tree that the host is given (`DESIGN.md` §8).

pub mod discover;
pub mod host_image;
pub mod host_tree;
pub mod image_keys;
pub mod layout;
pub mod log_ring;
pub mod past_smmus;
pub mod smmus;
#[cfg(test)]
mod tests;

use crate::addr::Range;
use crate::refused::Refused;
use core::fmt;
use dtoolkit::error::{FdtParseError, PropertyError, StandardError};

/// Why boot stops. Each prints as one line that names what is wrong.
#[derive(Debug)]
pub enum BootError {
    /// Entered at an exception level other than EL2.
    ExceptionLevel(u8),
    /// The CPU can't run without the Virtualization Host Extensions (HCR_EL2.E2H reads as one).
    FixedE2h,
    /// No pointer, or one to no tree.
    NoDeviceTree(u64),
    /// Not a device tree, or a truncated one.
    DeviceTree(FdtParseError),
    /// A property that is needed is missing or malformed.
    Property(&'static str),
    /// No `multiboot,kernel` module.
    NoHostKernel,
    /// A module that is not in RAM.
    ModuleOutsideRam(&'static str, Range),
    /// Two modules, or a module and Corevisor, share memory.
    ModulesOverlap(&'static str, Range, &'static str, Range),
    /// No magic number where an Image has one.
    NoImageMagic(u64),
    /// The header of the Image makes no sense.
    BadImageHeader(&'static str),
    /// The gzip-compressed kernel does not decompress.
    BadGzip(&'static str),
    /// Keys for images of VMs that are none.
    ImageKeys(&'static str),
    /// No room.
    TooLittleRam(&'static str, u64),
    /// Neither GICv3 nor GICv2.
    NoGic,
    /// No PSCI, or CPUs that it does not start.
    NoPsci,
    /// More than [`crate::MAX_CPUS`].
    TooManyCpus(usize),
    /// More than [`crate::memory::MAX_REGIONS`] regions or reservations.
    TooManyRegions,
    /// More of a kind of device than the number, which is supported.
    TooMany(&'static str, usize),
    /// The tree does not name the CPU that we run on.
    UnknownBootCpu(u64),
    /// The core can't be set up.
    Core(Refused),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExceptionLevel(el) => {
                write!(f, "entered at EL{el}, Corevisor needs EL2 (QEMU: -machine virt,virtualization=on)")
            }
            Self::FixedE2h => f.write_str("this CPU has no EL2 without VHE (HCR_EL2.E2H is fixed to 1)"),
            Self::NoDeviceTree(x0) => write!(f, "device tree unreadable: x0={x0:#x} points to none"),
            Self::DeviceTree(e) => write!(f, "device tree unreadable: {e}"),
            Self::Property(name) => write!(f, "device tree unreadable: {name} is missing or malformed"),
            Self::NoHostKernel => {
                f.write_str("no host kernel: /chosen has no node compatible with \"multiboot,kernel\"")
            }
            Self::ModuleOutsideRam(what, range) => write!(f, "module {what} outside RAM: {range}"),
            Self::ModulesOverlap(a, ra, b, rb) => write!(f, "modules overlap: {a} {ra} and {b} {rb}"),
            Self::NoImageMagic(at) => write!(f, "host kernel has no arm64 Image magic at {at:#x}"),
            Self::BadImageHeader(what) => write!(f, "host kernel has a bad Image header: {what}"),
            Self::BadGzip(what) => write!(f, "host kernel is gzip-compressed but broken: {what}"),
            Self::ImageKeys(what) => write!(f, "keys for images of VMs: a file {what}"),
            Self::TooLittleRam(what, bytes) => {
                write!(f, "too little RAM: no free {} KiB for {what}", bytes.div_ceil(1024))
            }
            Self::NoGic => f.write_str("no GICv3 or GICv2 in the device tree"),
            Self::NoPsci => {
                f.write_str("no PSCI 0.2 or later by SMC, or CPUs that are not started by it (enable-method)")
            }
            Self::TooManyCpus(n) => write!(f, "too many CPUs: {n} (at most {})", crate::MAX_CPUS),
            Self::TooManyRegions => {
                write!(f, "too many memory regions: at most {} are supported", crate::memory::MAX_REGIONS)
            }
            Self::TooMany(what, max) => write!(f, "too many {what}: at most {max} are supported"),
            Self::UnknownBootCpu(mpidr) => write!(f, "device tree names no CPU with MPIDR {mpidr:#x}, the boot CPU's"),
            Self::Core(why) => write!(f, "the core can't be set up: {why}"),
        }
    }
}

impl From<FdtParseError> for BootError {
    fn from(e: FdtParseError) -> Self {
        Self::DeviceTree(e)
    }
}

impl From<PropertyError> for BootError {
    fn from(_: PropertyError) -> Self {
        Self::Property("a property that Corevisor needs")
    }
}

impl From<StandardError> for BootError {
    fn from(_: StandardError) -> Self {
        Self::Property("a node that Corevisor needs")
    }
}

impl From<Refused> for BootError {
    fn from(why: Refused) -> Self {
        Self::Core(why)
    }
}
