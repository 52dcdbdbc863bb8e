// SPDX-License-Identifier: GPL-2.0-only
//! Virtio devices of shared guests (OASIS: Virtual I/O Device 1.2), by memory-mapped registers.

pub mod block;
pub mod console;
pub(crate) mod registers;

use crate::bus::{Device, Interrupt};
use registers as reg;
use std::sync::{Arc, Mutex, PoisonError};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vm_superio::Trigger;
use vmm_sys_util::eventfd::EventFd;

/// Entries of a queue, at most.
pub const QUEUE_SIZE: u16 = 256;
/// Features of all devices.
const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX;

/// What makes a virtio device the one that it is.
pub trait Backend: Send {
    /// Its device id.
    fn id(&self) -> u32;
    /// Its own features.
    fn features(&self) -> u64;
    /// Number of its queues.
    fn queues(&self) -> usize;
    /// Its configuration.
    fn config(&self) -> &[u8];
    /// Works on what is in a queue.
    ///
    /// # Errors
    /// If the guest has broken the queue.
    fn serve(&mut self, number: usize, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<(), virtio_queue::Error>;
}

/// A virtio device: its registers, and what is behind them.
pub struct Virtio<B> {
    backend: B,
    memory: GuestMemoryMmap,
    interrupt: Interrupt,
    queues: Vec<Queue>,
    status: u32,
    interrupt_status: u32,
    device_features_word: u32,
    driver_features_word: u32,
    driver_features: u64,
    selected: u32,
}

impl<B: Backend> Virtio<B> {
    /// A device that is reset.
    ///
    /// # Errors
    /// If its queues can't be.
    pub fn new(backend: B, memory: GuestMemoryMmap, interrupt: Interrupt) -> Result<Self, virtio_queue::Error> {
        let queues = (0..backend.queues()).map(|_| Queue::new(QUEUE_SIZE)).collect::<Result<_, _>>()?;
        Ok(Self {
            backend,
            memory,
            interrupt,
            queues,
            status: 0,
            interrupt_status: 0,
            device_features_word: 0,
            driver_features_word: 0,
            driver_features: 0,
            selected: 0,
        })
    }

    /// What is behind it.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Works on all queues, if the guest's driver is ready.
    pub fn work(&mut self) {
        (0..self.queues.len()).for_each(|number| self.serve(number));
    }

    fn serve(&mut self, number: usize) {
        let Some(queue) = self.queues.get_mut(number) else { return };
        let stopped = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK == 0 || self.status & stopped != 0 || !queue.ready() {
            return;
        }
        let served = self.backend.serve(number, queue, &self.memory);
        match served.and_then(|()| queue.needs_notification(&self.memory)) {
            Ok(true) => self.raise(reg::INTERRUPT_USED),
            Ok(false) => {}
            Err(_) => {
                self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
                self.raise(reg::INTERRUPT_CONFIG);
            }
        }
    }

    fn raise(&mut self, why: u32) {
        self.interrupt_status |= why;
        // An interrupt that nobody waits for any more is lost with its VM.
        let _ = self.interrupt.trigger();
    }

    fn reset(&mut self) {
        self.queues.iter_mut().for_each(QueueT::reset);
        self.status = 0;
        self.interrupt_status = 0;
        self.driver_features = 0;
    }

    fn offered(&self) -> u64 {
        FEATURES | self.backend.features()
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            return self.reset();
        }
        // The driver learns whether its choice is accepted by whether the bit stays.
        let acceptable =
            self.driver_features & !self.offered() == 0 && self.driver_features >> VIRTIO_F_VERSION_1 & 1 != 0;
        self.status = value | self.status & VIRTIO_CONFIG_S_NEEDS_RESET;
        if !acceptable {
            self.status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        let event_idx = self.driver_features >> VIRTIO_RING_F_EVENT_IDX & 1 != 0;
        self.queues.iter_mut().for_each(|queue| queue.set_event_idx(event_idx));
    }

    fn register(&self, offset: u64) -> u32 {
        let queue = self.queues.get(self.selected as usize);
        match offset {
            reg::MAGIC_VALUE => reg::MAGIC,
            reg::VERSION => reg::VERSION_MODERN,
            reg::DEVICE_ID => self.backend.id(),
            reg::VENDOR_ID => reg::VENDOR,
            reg::DEVICE_FEATURES => word(self.offered(), self.device_features_word),
            reg::QUEUE_NUM_MAX => queue.map_or(0, |queue| u32::from(queue.max_size())),
            reg::QUEUE_READY => queue.map_or(0, |queue| u32::from(queue.ready())),
            reg::INTERRUPT_STATUS => self.interrupt_status,
            reg::STATUS => self.status,
            // There is no shared memory, of any number.
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH => u32::MAX,
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u64, value: u32) {
        let negotiating = self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0;
        match offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_word = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_word = value,
            reg::DRIVER_FEATURES if negotiating => {
                set_word(&mut self.driver_features, self.driver_features_word, value)
            }
            reg::QUEUE_SEL => self.selected = value,
            reg::QUEUE_NOTIFY => self.serve(value as usize),
            reg::INTERRUPT_ACK => self.interrupt_status &= !value,
            reg::STATUS => self.set_status(value),
            _ => self.set_queue_register(offset, value),
        }
    }

    fn set_queue_register(&mut self, offset: u64, value: u32) {
        let Some(queue) = self.queues.get_mut(self.selected as usize) else { return };
        if offset == reg::QUEUE_READY {
            queue.set_ready(value == 1);
            // One that does not lie in the guest's memory is not ready, which the driver can read.
            if value == 1 && !queue.is_valid(&self.memory) {
                queue.set_ready(false);
            }
        }
        // A queue in use does not move.
        if queue.ready() {
            return;
        }
        match offset {
            reg::QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            reg::QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            reg::QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            reg::QUEUE_DRIVER_LOW => queue.set_avail_ring_address(Some(value), None),
            reg::QUEUE_DRIVER_HIGH => queue.set_avail_ring_address(None, Some(value)),
            reg::QUEUE_DEVICE_LOW => queue.set_used_ring_address(Some(value), None),
            reg::QUEUE_DEVICE_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }
}

impl<B: Backend> Device for Virtio<B> {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(from) = offset.checked_sub(reg::CONFIG) {
            let config = self.backend.config().iter().skip(from as usize);
            data.iter_mut().zip(config).for_each(|(to, from)| *to = *from);
        } else if data.len() == 4 {
            data.copy_from_slice(&self.register(offset).to_le_bytes());
        }
    }

    /// Nothing of the devices' configuration can be written.
    fn write(&mut self, offset: u64, data: &[u8]) {
        if let (true, Ok(bytes)) = (offset < reg::CONFIG, data.try_into()) {
            self.set_register(offset, u32::from_le_bytes(bytes));
        }
    }
}

/// Waits until the guest notifies a device, again and again, until `stop` says so.
pub fn serve_until<B: Backend>(device: &Arc<Mutex<Virtio<B>>>, notified: &EventFd, stop: impl Fn() -> bool) {
    while notified.read().is_ok() && !stop() {
        device.lock().unwrap_or_else(PoisonError::into_inner).work();
    }
}

/// Half of a 64-bit register; those that don't exist are 0.
fn word(value: u64, number: u32) -> u32 {
    if number < 2 { (value >> (32 * number)) as u32 } else { 0 }
}

fn set_word(value: &mut u64, number: u32, half: u32) {
    if number < 2 {
        *value = *value & !(u64::from(u32::MAX) << (32 * number)) | u64::from(half) << (32 * number);
    }
}

#[cfg(test)]
pub(crate) mod tests;
