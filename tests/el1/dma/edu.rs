// SPDX-License-Identifier: GPL-2.0-only
//! QEMU's `edu` device (docs/specs/edu in QEMU's documentation): it copies between memory and a buffer of its own, a tenth
//! of a second after it was told to.

use super::pci::{self, Device};
use crate::rt::{cpu, machine};
use crate::world::gic;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// Vendor, and device << 16.
const ID: u32 = 0x11E8_1234;

/// Registers of 8 bytes.
mod register {
    pub const DMA_SOURCE: u64 = 0x80;
    pub const DMA_DESTINATION: u64 = 0x88;
    pub const DMA_COUNT: u64 = 0x90;
    pub const DMA_COMMAND: u64 = 0x98;
}
const COMMAND_RUN: u64 = 1 << 0;
/// From the device's buffer to memory, not the other way.
const COMMAND_STORE: u64 = 1 << 1;
/// Where the device has its buffer, in its own view.
const BUFFER: u64 = 0x4_0000;
/// Microseconds that a copy takes.
const DELAY: u64 = 100_000;

/// Words that are copied at once: less than the buffer, whose last byte some versions can not copy.
pub const WORDS: usize = 256;
/// The same in bytes.
pub const BYTES: u64 = 8 * WORDS as u64;

/// What moves at once.
pub type Words = [u64; WORDS];

/// Where a device's data come from and go to, of the host's own image.
#[repr(C, align(4096))]
struct Page([AtomicU64; WORDS]);

/// A device.
pub struct Edu {
    device: Device,
    page: Page,
}

/// Device `n` of those that the machine has.
pub fn edu(n: usize) -> &'static Edu {
    static ALL: Once<ArrayVec<Edu, 4>> = Once::new();
    let all = ALL.call_once(|| {
        gic::set_up();
        let page = || Page([const { AtomicU64::new(0) }; WORDS]);
        pci::find(ID).into_iter().map(|device| Edu { device, page: page() }).collect()
    });
    all.get(n).unwrap_or_else(|| panic!("{} devices: see MACHINES in tools/qemu-runner", all.len()))
}

impl Edu {
    /// The stream that the SMMU knows it by: `virt` makes it of the requester's number.
    pub fn stream(&self) -> u64 {
        self.device.requester
    }

    fn set(&self, register: u64, value: u64) {
        // SAFETY: a register of the device; what it copies is the test's business.
        unsafe { ((self.device.registers + register) as *mut u64).write_volatile(value) };
    }

    fn is_running(&self) -> bool {
        // SAFETY: as above.
        let command = unsafe { ((self.device.registers + register::DMA_COMMAND) as *const u64).read_volatile() };
        command & COMMAND_RUN != 0
    }

    /// Tells it to copy, and does not wait.
    fn start(&self, command: u64, source: u64, destination: u64) {
        assert!(!self.is_running());
        self.set(register::DMA_SOURCE, source);
        self.set(register::DMA_DESTINATION, destination);
        self.set(register::DMA_COUNT, BYTES);
        // SAFETY: what was written before is in memory when the device looks.
        unsafe { core::arch::asm!("dsb sy", options(nostack)) };
        self.set(register::DMA_COMMAND, command | COMMAND_RUN);
    }

    /// Tells it to fill its buffer from `at` on.
    pub fn start_load(&self, at: u64) {
        self.start(0, at, BUFFER);
    }

    /// Tells it to copy its buffer to `at`.
    pub fn start_store(&self, at: u64) {
        self.start(COMMAND_STORE, BUFFER, at);
    }

    /// Waits until it is done.
    pub fn wait(&self) {
        static SET_UP: [Once<()>; cpu::MAX] = [const { Once::new() }; cpu::MAX];
        SET_UP[cpu::index()].call_once(gic::set_up_cpu);
        let end = machine::after(20);
        while self.is_running() {
            assert!(machine::now() < end, "a copy does not end");
            gic::set_alarm(DELAY / 16);
            gic::wait();
        }
        gic::quiet();
    }

    /// Fills its buffer from `at` on.
    pub fn load(&self, at: u64) {
        self.start_load(at);
        self.wait();
    }

    /// Copies its buffer to `at`.
    pub fn store(&self, at: u64) {
        self.start_store(at);
        self.wait();
    }

    /// The page of the host's that its data pass through.
    pub fn page(&self) -> u64 {
        &raw const self.page as u64
    }

    /// Puts this in its buffer.
    pub fn fill(&self, words: &Words) {
        self.page.0.iter().zip(words).for_each(|(to, &word)| to.store(word, Ordering::SeqCst));
        self.load(self.page());
    }

    /// What it has in its buffer.
    pub fn content(&self) -> Words {
        self.page.0.iter().for_each(|to| to.store(!0, Ordering::SeqCst));
        self.store(self.page());
        core::array::from_fn(|i| self.page.0[i].load(Ordering::SeqCst))
    }
}
