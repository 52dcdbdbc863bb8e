// SPDX-License-Identifier: GPL-2.0-only
//! A console with one port.

use super::Backend;
use std::collections::VecDeque;
use std::io::{Read, Write};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use virtio_queue::{Error, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::GuestMemoryMmap;

const RECEIVE: usize = 0;
/// Output is copied in pieces of that many bytes.
const PIECE: usize = 4096;

/// The device.
#[derive(Debug)]
pub struct Console<W> {
    output: W,
    /// What was typed and has not found a buffer yet.
    typed: VecDeque<u8>,
}

impl<W: Write> Console<W> {
    /// A console that writes to `output`.
    pub fn new(output: W) -> Self {
        Self { output, typed: VecDeque::new() }
    }

    /// Takes what the guest is to have, when the device works next.
    pub fn input(&mut self, bytes: &[u8]) {
        self.typed.extend(bytes);
    }

    fn receive(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<(), Error> {
        while !self.typed.is_empty() {
            let Some(chain) = queue.iter(memory)?.next() else { return Ok(()) };
            let head = chain.head_index();
            let mut writer = Writer::new(memory, chain).map_err(|_| Error::InvalidChain)?;
            let size = writer.available_bytes().min(self.typed.len());
            let bytes: Vec<u8> = self.typed.drain(..size).collect();
            writer.write_all(&bytes).map_err(|_| Error::InvalidChain)?;
            queue.add_used(memory, head, size as u32)?;
        }
        Ok(())
    }

    fn transmit(&mut self, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<(), Error> {
        loop {
            queue.disable_notification(memory)?;
            while let Some(chain) = queue.iter(memory)?.next() {
                let head = chain.head_index();
                let mut reader = Reader::new(memory, chain).map_err(|_| Error::InvalidChain)?;
                let mut piece = [0; PIECE];
                while let Ok(size @ 1..) = reader.read(&mut piece) {
                    // Output may get lost: a guest does not stop because nobody listens.
                    let _ = self.output.write_all(&piece[..size]);
                }
                let _ = self.output.flush();
                queue.add_used(memory, head, 0)?;
            }
            if !queue.enable_notification(memory)? {
                return Ok(());
            }
        }
    }
}

impl<W: Write + Send> Backend for Console<W> {
    fn id(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> usize {
        2
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn serve(&mut self, number: usize, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<(), Error> {
        if number == RECEIVE { self.receive(queue, memory) } else { self.transmit(queue, memory) }
    }
}
