// SPDX-License-Identifier: GPL-2.0-only
//! Where a guest has what: devices below 1 GiB, where Corevisor lets the host emulate them; RAM from there on.

use crate::Problem;
use crate::kernel::Kernel;

/// Images of protected guests lie in blocks of this size that hold nothing else.
pub const BLOCK: u64 = 2 << 20;
/// The first address of RAM.
pub const RAM: u64 = 1 << 30;
/// The most RAM. Corevisor's guests have 40 bits of address space; this is what the tables of the device tree leave easy.
pub const MAX_RAM: u64 = 64 << 30;
/// The most virtual CPUs, as Corevisor has it.
pub const MAX_CPUS: u32 = 8;

/// The interrupt controller's distributor.
pub const GIC_DISTRIBUTOR: u64 = 0x0800_0000;
/// Its size.
pub const GIC_DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Its redistributors, one beside the other.
pub const GIC_REDISTRIBUTORS: u64 = 0x080A_0000;
/// The size of one.
pub const GIC_REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// How many interrupts it has, private ones included.
pub const GIC_INTERRUPTS: u32 = 96;

/// The serial port.
pub const SERIAL: u64 = 0x0900_0000;
/// Its size.
pub const SERIAL_SIZE: u64 = 0x1000;
/// Its interrupt, as a number of a shared one.
pub const SERIAL_INTERRUPT: u32 = 0;

/// The first virtio device.
pub const VIRTIO: u64 = 0x0A00_0000;
/// From one virtio device to the next; a page, so that each can be guarded by itself.
pub const VIRTIO_STRIDE: u64 = 0x1000;
/// How much of that is the device.
pub const VIRTIO_SIZE: u64 = 0x200;
/// The first virtio device's interrupt; the next has the next.
pub const VIRTIO_INTERRUPT: u32 = 16;
/// The most virtio devices.
pub const VIRTIO_MAX: usize = 32;

/// The largest device tree (Linux: `Documentation/arch/arm64/booting.rst`).
pub const FDT_MAX: u64 = BLOCK;

/// Where the images of a guest lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The kernel, and its entry point.
    pub kernel: u64,
    /// The device tree.
    pub fdt: u64,
    /// The RAM disk.
    pub initrd: u64,
}

impl Place {
    /// Places a kernel, a device tree and a RAM disk of `initrd` bytes, in this order, in `ram` bytes of RAM.
    ///
    /// # Errors
    /// If there is not enough RAM.
    pub fn new(kernel: &Kernel, initrd: u64, ram: u64) -> Result<Self, Problem> {
        let at = RAM + kernel.text_offset;
        let fdt = (at + kernel.size).next_multiple_of(BLOCK);
        let disk = fdt + FDT_MAX;
        let end = (disk + initrd).next_multiple_of(BLOCK);
        // Linux needs some for itself before it can say that it has too little.
        let least = end - RAM + 32 * (1 << 20);
        if ram < least {
            return Err(format!("kernel and RAM disk need more memory: --mem {}M at least", least >> 20));
        }
        Ok(Self { kernel: at, fdt, initrd: disk })
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE, GIC_REDISTRIBUTOR_SIZE, GIC_REDISTRIBUTORS, MAX_CPUS};
    use super::{Place, RAM, SERIAL, SERIAL_SIZE, VIRTIO, VIRTIO_INTERRUPT, VIRTIO_MAX, VIRTIO_STRIDE};
    use crate::kernel::Kernel;

    #[test]
    fn devices_are_below_ram_and_apart() {
        let devices = [
            (GIC_DISTRIBUTOR, GIC_DISTRIBUTOR_SIZE),
            (GIC_REDISTRIBUTORS, u64::from(MAX_CPUS) * GIC_REDISTRIBUTOR_SIZE),
            (SERIAL, SERIAL_SIZE),
            (VIRTIO, VIRTIO_MAX as u64 * VIRTIO_STRIDE),
            (RAM, 0),
        ];
        for pair in devices.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?}");
        }
        assert!(VIRTIO_INTERRUPT as usize + VIRTIO_MAX + 32 <= super::GIC_INTERRUPTS as usize);
    }

    #[test]
    fn images_share_no_block() {
        let kernel = Kernel { bytes: vec![0; 100], text_offset: 0x8_0000, size: 3 * BLOCK };
        let place = Place::new(&kernel, BLOCK + 1, 64 << 20).unwrap();
        assert_eq!(place, Place { kernel: RAM + 0x8_0000, fdt: RAM + 4 * BLOCK, initrd: RAM + 5 * BLOCK });
    }

    #[test]
    fn too_little_memory_is_told() {
        let kernel = Kernel { bytes: vec![0; 100], text_offset: 0, size: BLOCK };
        assert_eq!(
            Place::new(&kernel, 1, 32 << 20).unwrap_err(),
            "kernel and RAM disk need more memory: --mem 38M at least"
        );
        assert!(Place::new(&kernel, 1, 38 << 20).is_ok());
    }
}
