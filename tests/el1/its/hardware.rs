// SPDX-License-Identifier: GPL-2.0-only
//! Registers, memory for tables, and pages that change hands.

use crate::rt::call::{self, test_call};
use crate::rt::fault::{Access, access};
use crate::rt::{PAGE, tree};
use core::cell::UnsafeCell;

/// Offsets in the control frame of the ITS.
pub mod gits {
    pub const CTLR: u64 = 0x00;
    pub const TYPER: u64 = 0x08;
    pub const CBASER: u64 = 0x80;
    pub const CWRITER: u64 = 0x88;
    pub const CREADR: u64 = 0x90;
    pub const BASER: u64 = 0x100;
    pub const TRANSLATER: u64 = 0x1_0040;
    pub const QUIESCENT: u64 = 1 << 31;
    pub const INDIRECT: u64 = 1 << 62;
}

/// Offsets in the frame RD_base of a redistributor.
pub mod gicr {
    pub const CTLR: u64 = 0x00;
    pub const TYPER: u64 = 0x08;
    pub const WAKER: u64 = 0x14;
    pub const PROPBASER: u64 = 0x70;
    pub const PENDBASER: u64 = 0x78;
}

pub const VALID: u64 = 1 << 63;

/// The host's memory, aligned as the largest table.
#[repr(C, align(65536))]
pub struct Block(UnsafeCell<[u8; 0x1_0000]>);

// SAFETY: reached by raw accesses only.
unsafe impl Sync for Block {}

impl Block {
    const fn new() -> Self {
        Self(UnsafeCell::new([0; 0x1_0000]))
    }

    pub fn at(&self) -> u64 {
        self.0.get() as u64
    }
}

pub static CONFIG: Block = Block::new();
pub static PENDING: Block = Block::new();
pub static DEVICES: Block = Block::new();
/// Of collections, the queue, ITTs.
pub static OTHERS: Block = Block::new();
/// Pages that change hands.
pub static SPARE: Block = Block::new();

pub fn collections() -> u64 {
    OTHERS.at()
}

pub fn queue() -> u64 {
    OTHERS.at() + PAGE
}

pub fn itts() -> u64 {
    OTHERS.at() + 2 * PAGE
}

fn registers(name: &str, index: usize) -> u64 {
    let node = tree::compatible(name).unwrap_or_else(|| panic!("no {name}"));
    tree::ranges(node).nth(index).expect("registers").start
}

pub fn gicd() -> u64 {
    registers("arm,gic-v3", 0)
}

pub fn gicr() -> u64 {
    registers("arm,gic-v3", 1)
}

pub fn its() -> u64 {
    registers("arm,gic-v3-its", 0)
}

/// Reads a register of 8 bytes.
pub fn read(address: u64) -> u64 {
    access(Access::Read, address, 0).unwrap_or_else(|fault| panic!("{address:#x}: {fault:x?}"))
}

/// Reads one of 4 bytes.
pub fn read32(address: u64) -> u64 {
    access(Access::Read32, address, 0).unwrap_or_else(|fault| panic!("{address:#x}: {fault:x?}")) & 0xFFFF_FFFF
}

/// Writes a register of 8 bytes; whether that was accepted.
pub fn try_write(address: u64, value: u64) -> bool {
    access(Access::Write, address, value).is_ok()
}

pub fn try_write32(address: u64, value: u64) -> bool {
    access(Access::Write32, address, value).is_ok()
}

pub fn write(address: u64, value: u64) {
    assert!(try_write(address, value), "{address:#x} := {value:#x}");
}

pub fn write32(address: u64, value: u64) {
    assert!(try_write32(address, value), "{address:#x} := {value:#x}");
}

/// A write that is refused as accesses to Corevisor's memory are, and leaves the register as it is.
pub fn assert_refused(address: u64, value: u64) {
    use crate::rt::fault::{EXTERNAL, IL, WNR};
    let before = read(address);
    let fault = access(Access::Write, address, value).expect_err("accepted");
    assert_eq!(fault.esr, 0x25 << 26 | IL | WNR | EXTERNAL, "{address:#x} := {value:#x}");
    assert_eq!(read(address), before, "{address:#x} := {value:#x}");
}

/// Makes the page at `address` a VM's.
pub fn take(address: u64) -> i64 {
    call::hvc(test_call::TAKE_PAGE, &[address / PAGE])
}

/// Gives it back, zeroed.
pub fn give(address: u64) -> i64 {
    call::hvc(test_call::GIVE_PAGE, &[address / PAGE])
}

/// The page can be a VM's, and was.
pub fn assert_free(address: u64) {
    assert_eq!([take(address), give(address)], [0, 0], "{address:#x}");
}

/// A page of [`SPARE`] that is a VM's while `f` runs.
pub fn with_a_vms_page(f: impl FnOnce(u64)) {
    let page = SPARE.at();
    assert_eq!(take(page), 0);
    f(page);
    assert_eq!(give(page), 0);
}

/// What is no memory of the host's: a VM's page, Corevisor's, a device, nothing, what no address can be.
pub fn memory_of_others(vms: u64) -> impl Iterator<Item = u64> {
    let corevisors = tree::corevisor().flat_map(|range| [range.start, range.end - PAGE]);
    let end = tree::ram().map(|ram| ram.end).max().expect("RAM");
    [vms, its(), end, 1 << 46].into_iter().chain(corevisors)
}
