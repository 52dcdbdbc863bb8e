// SPDX-License-Identifier: GPL-2.0-only
//! The guest's devices by address.

use crate::Problem;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vm_superio::Trigger;
use vmm_sys_util::eventfd::EventFd;

/// A device that the guest reaches by loads and stores.
pub trait Device: Send {
    /// The guest loads. What the device has no answer for stays 0.
    fn read(&mut self, offset: u64, data: &mut [u8]);
    /// The guest stores.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// An interrupt that a device raises by an event that KVM waits for.
#[derive(Debug)]
pub struct Interrupt(EventFd);

impl Interrupt {
    /// Of this event.
    pub fn new(event: EventFd) -> Self {
        Self(event)
    }
}

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// A device, and where it is.
struct Window {
    address: u64,
    size: u64,
    device: Arc<Mutex<dyn Device>>,
}

/// All devices.
#[derive(Default)]
pub struct Bus {
    windows: Vec<Window>,
    missed: AtomicBool,
}

impl Bus {
    /// Adds a device.
    ///
    /// # Errors
    /// If something is there.
    pub fn add(&mut self, address: u64, size: u64, device: Arc<Mutex<dyn Device>>) -> Result<(), Problem> {
        let overlaps = |window: &Window| window.address < address + size && address < window.address + window.size;
        if self.windows.iter().any(overlaps) {
            return Err(format!("two devices at {address:#x}"));
        }
        self.windows.push(Window { address, size, device });
        Ok(())
    }

    /// The guest loads. Where nothing is it finds zeros.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some((offset, device)) = self.find(address, data.len()) {
            device.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
        }
    }

    /// The guest stores.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some((offset, device)) = self.find(address, data.len()) {
            device.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
        }
    }

    /// The device that an access is all in. The first one that misses is told, for whoever writes a guest.
    fn find(&self, address: u64, length: usize) -> Option<(u64, &Mutex<dyn Device>)> {
        let found = self.windows.iter().find_map(|window| {
            let offset = address.checked_sub(window.address)?;
            let inside = offset.checked_add(length as u64)? <= window.size;
            inside.then_some((offset, window.device.as_ref()))
        });
        if found.is_none() && !self.missed.swap(true, Ordering::Relaxed) {
            eprint!("corevisor-vm: the guest accesses {address:#x}, where nothing is; it finds zeros\r\n");
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, Device};
    use std::sync::{Arc, Mutex};

    /// Answers with offsets, keeps what was written last.
    #[derive(Default)]
    struct Probe(Vec<(u64, Vec<u8>)>);

    impl Device for Probe {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            data.fill(offset as u8 + 1);
        }

        fn write(&mut self, offset: u64, data: &[u8]) {
            self.0.push((offset, data.to_vec()));
        }
    }

    #[test]
    fn accesses_find_their_device() {
        let (one, two) = (Arc::new(Mutex::new(Probe::default())), Arc::new(Mutex::new(Probe::default())));
        let mut bus = Bus::default();
        bus.add(0x1000, 0x10, one.clone()).unwrap();
        bus.add(0x1010, 0x10, two.clone()).unwrap();
        assert!(bus.add(0x101F, 1, one.clone()).is_err());
        let read = |address: u64| {
            let mut data = [0xFF; 4];
            bus.read(address, &mut data);
            data
        };
        assert_eq!(read(0x1004), [5; 4]);
        assert_eq!(read(0x1010), [1; 4]);
        // Beside, and across an end.
        for address in [0, 0xFFC, 0xFFE, 0x100D, 0x101D, 0x1020, u64::MAX] {
            assert_eq!(read(address), [0; 4], "{address:#x}");
        }
        bus.write(0x101C, &[1, 2, 3, 4]);
        bus.write(0x101D, &[1, 2, 3, 4]);
        assert_eq!(two.lock().unwrap().0, [(0xC, vec![1, 2, 3, 4])]);
        assert!(one.lock().unwrap().0.is_empty());
    }
}
