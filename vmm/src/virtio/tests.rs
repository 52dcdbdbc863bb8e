// SPDX-License-Identifier: GPL-2.0-only
//! The devices as a guest's driver sees them.

use super::block::{Block, Image};
use super::console::Console;
use super::registers as reg;
use super::{Backend, Virtio, word};
use crate::arguments::Disk;
use crate::bus::{Device, Interrupt};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

const BASE: u64 = 0x4000_0000;
const SIZE: usize = 1 << 20;
/// Of a queue, from where it begins.
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const QUEUE: u64 = 0x4000;
/// Where buffers lie.
const DATA: u64 = BASE + 0x8_0000;
const ENTRIES: u16 = 16;
const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;

/// A driver of a guest's.
struct Driver<B> {
    device: Virtio<B>,
    memory: GuestMemoryMmap,
    event: EventFd,
    made: Vec<u16>,
}

/// A piece of memory: where, how much, whether the device writes it.
type Piece = (u64, u32, bool);

impl<B: Backend> Driver<B> {
    fn new(backend: B) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), SIZE)]).unwrap();
        let event = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let interrupt = Interrupt::new(event.try_clone().unwrap());
        let made = vec![0; backend.queues()];
        Self { device: Virtio::new(backend, memory.clone(), interrupt).unwrap(), memory, event, made }
    }

    fn get(&mut self, offset: u64) -> u32 {
        let mut data = [0; 4];
        self.device.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    fn set(&mut self, offset: u64, value: u32) {
        self.device.write(offset, &value.to_le_bytes());
    }

    /// As Linux does it, without EVENT_IDX.
    fn start(&mut self) {
        self.set(reg::STATUS, 0);
        self.set(reg::STATUS, 1 | 2);
        self.set(reg::DRIVER_FEATURES_SEL, 1);
        self.set(reg::DRIVER_FEATURES, 1);
        self.set(reg::STATUS, 1 | 2 | 8);
        assert_eq!(self.get(reg::STATUS), 1 | 2 | 8);
        for number in 0..self.made.len() {
            self.place(number as u32, BASE + number as u64 * QUEUE);
            assert_eq!(self.get(reg::QUEUE_READY), 1);
        }
        self.set(reg::STATUS, 1 | 2 | 4 | 8);
    }

    fn place(&mut self, number: u32, at: u64) {
        self.set(reg::QUEUE_SEL, number);
        self.set(reg::QUEUE_NUM, u32::from(ENTRIES));
        let parts = [
            (reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH, at),
            (reg::QUEUE_DRIVER_LOW, reg::QUEUE_DRIVER_HIGH, at + AVAILABLE),
            (reg::QUEUE_DEVICE_LOW, reg::QUEUE_DEVICE_HIGH, at + USED),
        ];
        for (low, high, address) in parts {
            self.set(low, word(address, 0));
            self.set(high, word(address, 1));
        }
        self.set(reg::QUEUE_READY, 1);
    }

    fn store(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn load(&self, at: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    /// Makes a chain of pieces available, and notifies.
    fn offer(&mut self, number: usize, pieces: &[Piece]) {
        let at = BASE + number as u64 * QUEUE;
        for (entry, (address, size, writes)) in pieces.iter().enumerate() {
            let last = entry + 1 == pieces.len();
            let flags = if last { 0 } else { NEXT } | if *writes { DEVICE_WRITES } else { 0 };
            let descriptor = [
                &address.to_le_bytes()[..],
                &size.to_le_bytes(),
                &flags.to_le_bytes(),
                &(entry as u16 + 1).to_le_bytes(),
            ];
            self.store(at + 16 * entry as u64, &descriptor.concat());
        }
        self.make_available(number, self.made[number].wrapping_add(1));
        self.set(reg::QUEUE_NOTIFY, number as u32);
    }

    fn make_available(&mut self, number: usize, index: u16) {
        let at = BASE + number as u64 * QUEUE + AVAILABLE;
        self.store(at + 4 + 2 * u64::from(self.made[number] % ENTRIES), &0_u16.to_le_bytes());
        self.made[number] = index;
        self.store(at + 2, &index.to_le_bytes());
    }

    /// How many chains the device has used, and what it has written into the last.
    fn used(&self, number: usize) -> (u16, u32) {
        let at = BASE + number as u64 * QUEUE + USED;
        let index = u16::from_le_bytes(self.load(at + 2, 2).try_into().unwrap());
        let last = at + 4 + 8 * u64::from(index.wrapping_sub(1) % ENTRIES);
        (index, u32::from_le_bytes(self.load(last + 4, 4).try_into().unwrap()))
    }
}

struct TestDisk(PathBuf);

impl TestDisk {
    fn new(test: &str, sectors: usize) -> Self {
        let file = std::env::temp_dir().join(format!("corevisor-vm-disk-{}-{test}", std::process::id()));
        std::fs::write(&file, (0..sectors * 512).map(|at| (at / 512) as u8 + 1).collect::<Vec<_>>()).unwrap();
        Self(file)
    }

    fn open(&self, read_only: bool) -> Result<Image, String> {
        Image::open(&Disk { file: self.0.clone(), read_only })
    }
}

impl Drop for TestDisk {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A request of the disk's; its status, and what was written in all.
fn request(driver: &mut Driver<Block>, kind: u32, sector: u64, data: &[Piece]) -> (u8, u32) {
    driver.store(DATA, &[&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat());
    driver.store(DATA + 16, &[0xFF]);
    let before = driver.used(0).0;
    let pieces = [&[(DATA, 16, false)], data, &[(DATA + 16, 1, true)]].concat();
    driver.offer(0, &pieces);
    let (used, written) = driver.used(0);
    assert_eq!(used, before.wrapping_add(1));
    (driver.load(DATA + 16, 1)[0], written)
}

const BUFFER: u64 = DATA + 0x1000;

#[test]
fn what_a_driver_looks_for() {
    let disk = TestDisk::new("identity", 4);
    let mut driver = Driver::new(Block::new(disk.open(true).unwrap()));
    let identity = [reg::MAGIC_VALUE, reg::VERSION, reg::DEVICE_ID].map(|offset| driver.get(offset));
    assert_eq!(identity, [0x7472_6976, 2, 2]);
    // Read-only, flush, segments; and VERSION_1, EVENT_IDX.
    assert_eq!(driver.get(reg::DEVICE_FEATURES), 1 << 2 | 1 << 5 | 1 << 9 | 1 << 29);
    driver.set(reg::DEVICE_FEATURES_SEL, 1);
    assert_eq!(driver.get(reg::DEVICE_FEATURES), 1);
    driver.set(reg::DEVICE_FEATURES_SEL, 2);
    assert_eq!(driver.get(reg::DEVICE_FEATURES), 0);
    assert_eq!((driver.get(reg::CONFIG), driver.get(reg::CONFIG + 12)), (4, 254));
    assert_eq!(driver.get(reg::CONFIG + 16), 0);
    driver.set(reg::QUEUE_SEL, 1);
    assert_eq!(driver.get(reg::QUEUE_NUM_MAX), 0);
    // Of any other width there is nothing.
    let mut byte = [0];
    driver.device.read(reg::MAGIC_VALUE, &mut byte);
    assert_eq!(byte, [0]);
}

#[test]
fn features_that_are_not_offered_are_not_accepted() {
    let disk = TestDisk::new("features", 4);
    let mut driver = Driver::new(Block::new(disk.open(false).unwrap()));
    for (half, features) in [(0, 0), (1, 3)] {
        driver.set(reg::STATUS, 0);
        driver.set(reg::DRIVER_FEATURES_SEL, half);
        driver.set(reg::DRIVER_FEATURES, features);
        driver.set(reg::STATUS, 1 | 2 | 8);
        assert_eq!(driver.get(reg::STATUS), 1 | 2);
    }
}

#[test]
fn disk_reads_and_writes() {
    let disk = TestDisk::new("requests", 4);
    let mut driver = Driver::new(Block::new(disk.open(false).unwrap()));
    driver.start();
    assert_eq!(request(&mut driver, 0, 1, &[(BUFFER, 600, true), (BUFFER + 0x1000, 424, true)]), (0, 1025));
    assert_eq!(driver.load(BUFFER + 511, 2), [2, 3]);
    assert_eq!(driver.load(BUFFER + 0x1000 + 423, 1), [3]);
    assert!(driver.event.read().is_ok());
    assert_eq!(driver.get(reg::INTERRUPT_STATUS), 1);
    driver.set(reg::INTERRUPT_ACK, 1);
    assert_eq!(driver.get(reg::INTERRUPT_STATUS), 0);
    driver.store(BUFFER, &[9; 512]);
    assert_eq!(request(&mut driver, 1, 3, &[(BUFFER, 512, false)]), (0, 1));
    assert_eq!(request(&mut driver, 4, 0, &[]), (0, 1));
    let content = std::fs::read(&disk.0).unwrap();
    assert_eq!((content[1535], &content[1536..]), (3, &[9; 512][..]));
    assert_eq!(request(&mut driver, 8, 0, &[(BUFFER, 20, true)]), (0, 21));
    assert_eq!(driver.load(BUFFER, 14), b"corevisor-disk");
}

#[test]
fn disk_refuses() {
    let disk = TestDisk::new("refuses", 4);
    let before = std::fs::read(&disk.0).unwrap();
    let mut driver = Driver::new(Block::new(disk.open(true).unwrap()));
    driver.start();
    let whole = [(BUFFER, 512, true)];
    assert_eq!(request(&mut driver, 0, 4, &whole).0, 1);
    assert_eq!(request(&mut driver, 0, u64::MAX, &whole).0, 1);
    assert_eq!(request(&mut driver, 0, 3, &[(BUFFER, 1024, true)]).0, 1);
    assert_eq!(request(&mut driver, 0, 0, &[(BUFFER, 511, true)]).0, 1);
    assert_eq!(request(&mut driver, 1, 0, &[(BUFFER, 512, false)]).0, 1);
    assert_eq!(request(&mut driver, 77, 0, &whole).0, 2);
    assert_eq!(std::fs::read(&disk.0).unwrap(), before);
}

#[test]
fn a_broken_queue_stops_the_device_until_reset() {
    let disk = TestDisk::new("broken", 4);
    let mut driver = Driver::new(Block::new(disk.open(false).unwrap()));
    // Nowhere to write the status; memory that isn't there; more chains than there are entries.
    let broken: [fn(&mut Driver<Block>); 3] = [
        |driver| driver.offer(0, &[(DATA, 16, false)]),
        |driver| driver.offer(0, &[(DATA, 16, false), (BASE + SIZE as u64, 513, true)]),
        |driver| {
            driver.make_available(0, driver.made[0].wrapping_add(ENTRIES + 1));
            driver.set(reg::QUEUE_NOTIFY, 0);
        },
    ];
    for break_it in broken {
        driver.start();
        driver.store(BASE, &[0; 0x4000]);
        driver.made[0] = 0;
        assert_eq!(request(&mut driver, 4, 0, &[]).0, 0);
        break_it(&mut driver);
        assert_eq!(driver.get(reg::STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
        let used = driver.used(0);
        driver.offer(0, &[(DATA, 16, false), (DATA + 16, 1, true)]);
        assert_eq!(driver.used(0), used);
    }
}

#[test]
fn a_queue_outside_of_memory_is_not_ready() {
    let disk = TestDisk::new("outside", 4);
    let mut driver = Driver::new(Block::new(disk.open(false).unwrap()));
    for at in [0, BASE + SIZE as u64 - 64, u64::MAX - 0x3FFF] {
        driver.set(reg::STATUS, 0);
        driver.place(0, at);
        assert_eq!(driver.get(reg::QUEUE_READY), 0, "{at:#x}");
    }
    // One in use does not move.
    driver.start();
    driver.set(reg::QUEUE_DESC_LOW, 0);
    assert_eq!(request(&mut driver, 4, 0, &[]).0, 0);
}

#[test]
fn a_disk_that_is_written_is_for_one_guest() {
    let disk = TestDisk::new("lock", 4);
    let written = disk.open(false).unwrap();
    for read_only in [false, true] {
        assert!(disk.open(read_only).unwrap_err().contains("another guest"));
    }
    drop(written);
    let _one = disk.open(true).unwrap();
    let _two = disk.open(true).unwrap();
    assert!(disk.open(false).is_err());
}

#[test]
fn files_that_are_no_disks() {
    let disk = TestDisk::new("none", 0);
    assert!(disk.open(true).unwrap_err().contains("smaller than a sector"));
    let missing = Disk { file: "/nonexistent".into(), read_only: true };
    assert!(Image::open(&missing).unwrap_err().starts_with("--disk /nonexistent: No such file"));
}

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn console_shows_and_types() {
    let shown = Shown::default();
    let mut driver = Driver::new(Console::new(shown.clone()));
    // What is typed before there is a driver waits.
    driver.device.backend().input(b"hello");
    driver.device.work();
    driver.start();
    driver.store(DATA, b"login: ");
    driver.offer(1, &[(DATA, 3, false), (DATA + 3, 4, false)]);
    assert_eq!(*shown.0.lock().unwrap(), b"login: ");
    assert_eq!(driver.used(1), (1, 0));
    driver.offer(0, &[(BUFFER, 3, true)]);
    assert_eq!((driver.used(0), driver.load(BUFFER, 3)), ((1, 3), b"hel".to_vec()));
    driver.offer(0, &[(BUFFER, 100, true)]);
    assert_eq!((driver.used(0), driver.load(BUFFER, 2)), ((2, 2), b"lo".to_vec()));
    driver.offer(0, &[(BUFFER, 100, true)]);
    assert_eq!(driver.used(0).0, 2);
    driver.device.backend().input(b"!");
    driver.device.work();
    assert_eq!(driver.used(0), (3, 1));
}
