// SPDX-License-Identifier: GPL-2.0-only
//! Registers of a memory-mapped virtio device (Virtual I/O Device 1.2, 4.2.2).

/// `virt`.
pub const MAGIC: u32 = 0x7472_6976;
/// A device that knows no older drivers.
pub const VERSION_MODERN: u32 = 2;
/// Of no vendor in particular: `CVSR`.
pub const VENDOR: u32 = 0x5253_5643;

pub const MAGIC_VALUE: u64 = 0x000;
pub const VERSION: u64 = 0x004;
pub const DEVICE_ID: u64 = 0x008;
pub const VENDOR_ID: u64 = 0x00C;
pub const DEVICE_FEATURES: u64 = 0x010;
pub const DEVICE_FEATURES_SEL: u64 = 0x014;
pub const DRIVER_FEATURES: u64 = 0x020;
pub const DRIVER_FEATURES_SEL: u64 = 0x024;
pub const QUEUE_SEL: u64 = 0x030;
pub const QUEUE_NUM_MAX: u64 = 0x034;
pub const QUEUE_NUM: u64 = 0x038;
pub const QUEUE_READY: u64 = 0x044;
pub const QUEUE_NOTIFY: u64 = 0x050;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACK: u64 = 0x064;
pub const STATUS: u64 = 0x070;
pub const QUEUE_DESC_LOW: u64 = 0x080;
pub const QUEUE_DESC_HIGH: u64 = 0x084;
pub const QUEUE_DRIVER_LOW: u64 = 0x090;
pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
pub const QUEUE_DEVICE_LOW: u64 = 0x0A0;
pub const QUEUE_DEVICE_HIGH: u64 = 0x0A4;
pub const SHM_LEN_LOW: u64 = 0x0B0;
pub const SHM_BASE_HIGH: u64 = 0x0BC;
pub const CONFIG: u64 = 0x100;

/// The device has used buffers.
pub const INTERRUPT_USED: u32 = 1 << 0;
/// The device's configuration, or its state, has changed.
pub const INTERRUPT_CONFIG: u32 = 1 << 1;
