// SPDX-License-Identifier: GPL-2.0-only
//! Device memory: mapped as it is touched, never executable; SMMUs are out of reach.

use crate::rt::call::{log_read, stat};
use crate::rt::fault::{Access, EXTERNAL, IL, access, assert_refused, assert_refused_el0, read};
use crate::rt::{PAGE, console, tree};
use core::ops::Range;
use corevisor::abi::stat as id;

/// Where QEMU's `virt` has its SMMU, if it has one.
const VIRT_SMMU: Range<u64> = 0x0905_0000..0x0907_0000;

/// Whether the runner has asked for an SMMU.
pub fn smmu_expected() -> bool {
    tree::value(tree::node("/chosen").expect("/chosen"), "bootargs").ends_with(b" iommu=smmuv3\0")
}

/// The GIC's distributor, and its CPU interface or redistributors.
fn gic_ranges() -> impl Iterator<Item = u64> {
    let gic = tree::compatible("arm,gic-v3").or(tree::compatible("arm,cortex-a15-gic")).expect("a GIC");
    tree::ranges(gic).map(|range| range.start)
}

fn gic() -> u64 {
    gic_ranges().next().expect("the distributor")
}

fn read32(address: u64) -> u32 {
    access(Access::Read32, address, 0).unwrap_or_else(|fault| panic!("{address:#x}: {fault:x?}")) as u32
}

/// In blocks of 2 MiB; in pages where Corevisor keeps one of them to itself, GICH of a GICv2.
pub fn device_blocks_are_mapped_once() {
    const BLOCK: u64 = 2 << 20;
    let is_block = tree::compatible("arm,gic-v3").is_some();
    let address = gic();
    let before = [stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)];
    read32(address);
    assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0] + 1, before[1]]);
    for register in gic_ranges().take(2).flat_map(|start| [start, start + 4, start + 8]) {
        assert_eq!(register / BLOCK, address / BLOCK);
        read32(register);
    }
    let mapped = if is_block { 1 } else { 2 };
    assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0] + mapped, before[1]]);
}

/// A PL011, by its identification, and by registers that keep what is written.
pub fn uart_works() {
    const IBRD: u64 = 0x24;
    const ID: [(u64, u32); 6] =
        [(0xFE0, 0x11), (0xFE4, 0x10), (0xFF0, 0x0D), (0xFF4, 0xF0), (0xFF8, 0x05), (0xFFC, 0xB1)];
    let uart = console::uart();
    assert_eq!(tree::console(), Some(uart));
    for (register, value) in ID {
        assert_eq!(read32(uart + register), value, "{register:#x}");
    }
    let divisor = read32(uart + IBRD);
    for value in [0x1234, 0x4321, divisor] {
        let written = access(Access::Write32, uart + IBRD, value.into());
        assert!(written.is_ok(), "{written:x?}");
        assert_eq!(read32(uart + IBRD), value);
    }
}

/// GICD_TYPER and GICD_ISENABLER.
pub fn gic_works() {
    let gicd = gic();
    assert_ne!(read32(gicd + 4) & 0x1F, 0, "some shared interrupts");
    let shared = 0x104;
    assert!(access(Access::Write32, gicd + shared, 1 << 3).is_ok());
    assert_ne!(read32(gicd + shared) & (1 << 3), 0);
    assert!(access(Access::Write32, gicd + 0x184, 1 << 3).is_ok());
    assert_eq!(read32(gicd + shared) & (1 << 3), 0);
}

pub fn devices_are_not_executable() {
    // One that is mapped by now, and one that is not: QEMU's flash.
    for (page, mapped) in [(console::uart(), 0), (gic(), 0), (0, 1), (0x0400_0000, 1)] {
        let before = [stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)];
        assert_refused(Access::UnmappedBranch, page);
        assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0] + mapped, before[1] + 1]);
    }
    assert!(read(0).is_ok(), "the flash can be read");
}

/// Where nothing is, Corevisor maps as for a device, and the machine itself refuses.
pub fn holes_are_the_machines() {
    let hole = tree::ram().map(|ram| ram.end).max().expect("RAM") + (64 << 20);
    let before = [stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)];
    for address in [hole, hole + 8, hole + PAGE] {
        let fault = read(address).map_err(|fault| fault.esr);
        assert_eq!(fault, Err((0x25 << 26) | IL | EXTERNAL));
    }
    assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0] + 1, before[1]]);
}

/// Whether the log says that Corevisor keeps this range to itself.
fn withheld(range: &Range<u64>) -> bool {
    let mut line = [0; 512];
    let mut length = 0;
    let mut position = 0;
    loop {
        let (first, bytes, count) = log_read(position);
        if count == 0 {
            return false;
        }
        position = first + count as u64;
        for &byte in &bytes[..count] {
            if byte != b'\n' {
                line[length] = byte;
                length += 1;
                continue;
            }
            let text = core::str::from_utf8(&line[..length]).expect("the log is text");
            if let Some((_, numbers)) = text.split_once("SMMU registers withheld from the host: ") {
                let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16);
                let (start, end) = numbers.split_once(" - ").expect("a range");
                return number(start) == Ok(range.start) && number(end) == Ok(range.end);
            }
            length = 0;
        }
    }
}

/// QEMU's fw_cfg, which writes to any address, is not in the tree, and its registers are out of reach.
pub fn fw_cfg() {
    const VIRT_FW_CFG: u64 = 0x0902_0000;
    const DMA_ADDRESS: u64 = 16;
    assert!(tree::compatible("qemu,fw-cfg-mmio").is_none());
    for register in [VIRT_FW_CFG, VIRT_FW_CFG + DMA_ADDRESS] {
        for kind in [Access::Read, Access::Write, Access::Read32] {
            assert_refused(kind, register);
        }
    }
}

pub fn smmu_window() {
    assert_eq!(withheld(&VIRT_SMMU), smmu_expected());
    let before = [stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)];
    if !smmu_expected() {
        // A hole in 2 MiB of devices that are mapped by pages, as fw_cfg, which the host does not get, is one of them.
        assert!(read(VIRT_SMMU.start).is_err());
        assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0] + 1, before[1]]);
        return;
    }
    let mut count = 0;
    for page in VIRT_SMMU.step_by(PAGE as usize) {
        for kind in [Access::Read, Access::Write, Access::Read32, Access::UnmappedBranch] {
            assert_refused(kind, page);
        }
        assert_refused_el0(page);
        count += 7;
    }
    assert_eq!([stat(id::HOST_FAULT_DEVICE), stat(id::REFUSED_ACCESS)], [before[0], before[1] + count]);
    // Its neighbours are devices like others: the RTC's identification, and the first virtio transport's magic.
    assert_eq!(read32(0x0901_0FE0), 0x31);
    assert_eq!(read32(0x0A00_0000), 0x7472_6976);
}

/// GICH decides which interrupts a VM has: it is not the host's. GICV is a device like others.
pub fn the_hypervisors_gic_registers() {
    let Some(gic) = tree::compatible("arm,cortex-a15-gic") else { return };
    let (gich, gicv) = (tree::ranges(gic).nth(2).expect("GICH"), tree::ranges(gic).nth(3).expect("GICV"));
    let before = stat(id::REFUSED_ACCESS);
    let pages = gich.step_by(PAGE as usize);
    let count = pages.clone().count() as u64;
    for page in pages {
        assert_refused(Access::Read32, page);
        assert_refused(Access::Write32, page);
    }
    assert_eq!(stat(id::REFUSED_ACCESS), before + 2 * count);
    assert!(access(Access::Read32, gicv.start, 0).is_ok());
}
