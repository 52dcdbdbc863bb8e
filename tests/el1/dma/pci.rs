// SPDX-License-Identifier: GPL-2.0-only
//! The devices on a PCI host bridge that the device tree names, as far as the tests need them: bus 0, function 0, one BAR.

use crate::rt::tree;
use arrayvec::ArrayVec;
use dtoolkit::fdt::FdtNode;

/// Offsets in a function's configuration space (PCI Local Bus Specification, 6.1).
mod config {
    pub const ID: u64 = 0x00;
    pub const COMMAND: u64 = 0x04;
    pub const BAR0: u64 = 0x10;
}
/// Memory space, and bus master.
const COMMAND_ON: u16 = 1 << 1 | 1 << 2;
/// Bytes of configuration space for each device: eight functions of 4 KiB.
const DEVICE: u64 = 1 << 15;
const DEVICES: u64 = 32;
/// Bits of a BAR that are no address.
const BAR_FLAGS: u32 = 0xF;
/// Kinds of address space in `ranges`: 32-bit memory.
const SPACE: u32 = 3 << 24;
const SPACE_MEMORY_32: u32 = 2 << 24;

/// A device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// What requests of it are known by: bus, device, function.
    pub requester: u64,
    /// Address of its first BAR's registers.
    pub registers: u64,
}

fn read(at: u64) -> u32 {
    // SAFETY: a register of configuration space, which nothing else uses.
    unsafe { (at as *const u32).read_volatile() }
}

fn write(at: u64, value: u32) {
    // SAFETY: as above.
    unsafe { (at as *mut u32).write_volatile(value) };
}

fn host_bridge() -> Option<FdtNode<'static>> {
    tree::compatible("pci-host-ecam-generic")
}

/// Start of the window for 32-bit BARs, as the CPU and as the bus has it.
fn window(bridge: FdtNode<'static>) -> (u64, u32) {
    let mut cells = tree::value(bridge, "ranges").as_chunks().0.iter().copied().map(u32::from_be_bytes);
    // Child address (3 cells), parent address (2), size (2).
    loop {
        let [space, _, child, high, low] = core::array::from_fn(|_| cells.next().expect("a window for 32-bit memory"));
        cells.nth(1);
        if space & SPACE == SPACE_MEMORY_32 {
            return (u64::from(high) << 32 | u64::from(low), child);
        }
    }
}

/// All devices with these identification registers (vendor, and device << 16), whose BARs it places: for one caller.
pub fn find(id: u32) -> ArrayVec<Device, 4> {
    let mut found = ArrayVec::new();
    let Some(bridge) = host_bridge() else { return found };
    let ecam = tree::ranges(bridge).next().expect("configuration space").start;
    let (mut cpu, mut bus) = window(bridge);
    for device in 0..DEVICES {
        let space = ecam + device * DEVICE;
        if read(space + config::ID) != id {
            continue;
        }
        write(space + config::BAR0, u32::MAX);
        let size = (!(read(space + config::BAR0) & !BAR_FLAGS)).wrapping_add(1);
        assert!(size.is_power_of_two() && bus.is_multiple_of(size), "BAR of {size:#x} bytes");
        write(space + config::BAR0, bus);
        // SAFETY: as above; the status in the other half is not written.
        unsafe { ((space + config::COMMAND) as *mut u16).write_volatile(COMMAND_ON) };
        found.push(Device { requester: device << 3, registers: cpu });
        (cpu, bus) = (cpu + u64::from(size), bus + size);
    }
    found
}
