// SPDX-License-Identifier: GPL-2.0-only
//! A disk: a file of the host's.

use super::Backend;
use crate::Problem;
use crate::arguments::Disk;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR,
    VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::{Error, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{ByteValued, GuestMemoryMmap};

const SECTOR: u64 = 512;
/// Data are copied in pieces of that many bytes.
const PIECE: usize = 64 << 10;
/// A request has that many pieces of memory at most: a queue's entries without those of header and status.
const SEGMENTS: u32 = super::QUEUE_SIZE as u32 - 2;
const NAME: &[u8] = b"corevisor-disk";

/// A disk's file, opened. Whoever writes it has it for himself.
#[derive(Clone, Debug)]
pub struct Image {
    file: Arc<File>,
    sectors: u64,
    read_only: bool,
}

impl Image {
    /// Opens it.
    ///
    /// # Errors
    /// If that is not possible, or another program has locked it.
    pub fn open(disk: &Disk) -> Result<Self, Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("--disk {}: {why}", disk.file.display());
        let file = OpenOptions::new().read(true).write(!disk.read_only).open(&disk.file);
        let mut file = file.map_err(|why| problem(&why))?;
        let locked = if disk.read_only { file.try_lock_shared() } else { file.try_lock() };
        match locked {
            Err(TryLockError::WouldBlock) => {
                return Err(problem(&"another guest has it; give it to both with \",ro\""));
            }
            // Where locks are unknown the administrator takes care.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let sectors = file.seek(SeekFrom::End(0)).map_err(|why| problem(&why))? / SECTOR;
        if sectors == 0 {
            return Err(problem(&"smaller than a sector of 512 bytes"));
        }
        Ok(Self { file: Arc::new(file), sectors, read_only: disk.read_only })
    }
}

/// The device.
#[derive(Debug)]
pub struct Block {
    image: Image,
    /// Capacity, an unused word, the number of segments (5.2.4).
    config: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Header {
    kind: u32,
    reserved: u32,
    sector: u64,
}

// SAFETY: plain numbers, with nothing between them.
unsafe impl ByteValued for Header {}

impl Block {
    /// A disk with this content.
    pub fn new(image: Image) -> Self {
        let mut config = [0; 16];
        config[..8].copy_from_slice(&image.sectors.to_le_bytes());
        config[12..].copy_from_slice(&SEGMENTS.to_le_bytes());
        Self { image, config }
    }

    /// Does what a request asks for; what goes into its status.
    fn request(&self, reader: &mut Reader<'_>, data: &mut Writer<'_>) -> u32 {
        let Ok(header) = reader.read_obj::<Header>() else { return VIRTIO_BLK_S_IOERR };
        let done = match header.kind {
            VIRTIO_BLK_T_IN => self.read(header.sector, data),
            VIRTIO_BLK_T_OUT => self.write(header.sector, reader),
            VIRTIO_BLK_T_FLUSH => self.image.file.sync_data(),
            VIRTIO_BLK_T_GET_ID => identify(data),
            _ => return VIRTIO_BLK_S_UNSUPP,
        };
        if done.is_ok() { VIRTIO_BLK_S_OK } else { VIRTIO_BLK_S_IOERR }
    }

    fn read(&self, sector: u64, data: &mut Writer<'_>) -> io::Result<()> {
        let (mut at, mut left) = self.range(sector, data.available_bytes())?;
        let mut piece = vec![0; PIECE.min(left)];
        while left > 0 {
            let piece = &mut piece[..PIECE.min(left)];
            self.image.file.read_exact_at(piece, at)?;
            data.write_all(piece)?;
            at += piece.len() as u64;
            left -= piece.len();
        }
        Ok(())
    }

    fn write(&self, sector: u64, data: &mut Reader<'_>) -> io::Result<()> {
        if self.image.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let (mut at, mut left) = self.range(sector, data.available_bytes())?;
        let mut piece = vec![0; PIECE.min(left)];
        while left > 0 {
            let piece = &mut piece[..PIECE.min(left)];
            data.read_exact(piece)?;
            self.image.file.write_all_at(piece, at)?;
            at += piece.len() as u64;
            left -= piece.len();
        }
        Ok(())
    }

    /// Where in the file that is, if it is on the disk.
    fn range(&self, sector: u64, length: usize) -> io::Result<(u64, usize)> {
        let end = sector.checked_add((length as u64).div_ceil(SECTOR));
        if !(length as u64).is_multiple_of(SECTOR) || end.is_none_or(|end| end > self.image.sectors) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((sector * SECTOR, length))
    }
}

fn identify(data: &mut Writer<'_>) -> io::Result<()> {
    let mut name = [0; VIRTIO_BLK_ID_BYTES as usize];
    name[..NAME.len()].copy_from_slice(NAME);
    data.write_all(&name[..name.len().min(data.available_bytes())])
}

impl Backend for Block {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_SEG_MAX | u64::from(self.image.read_only) << VIRTIO_BLK_F_RO
    }

    fn queues(&self) -> usize {
        1
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn serve(&mut self, _: usize, queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<(), Error> {
        loop {
            queue.disable_notification(memory)?;
            while let Some(chain) = queue.iter(memory)?.next() {
                let head = chain.head_index();
                let mut reader = Reader::new(memory, chain.clone()).map_err(|_| Error::InvalidChain)?;
                let mut data = Writer::new(memory, chain).map_err(|_| Error::InvalidChain)?;
                // Without room for its status a request is none.
                let room = data.available_bytes().checked_sub(1).ok_or(Error::InvalidChain)?;
                let mut status = data.split_at(room).map_err(|_| Error::InvalidChain)?;
                let done = self.request(&mut reader, &mut data);
                status.write_all(&[done as u8]).map_err(|_| Error::InvalidChain)?;
                queue.add_used(memory, head, data.bytes_written() as u32 + 1)?;
            }
            if !queue.enable_notification(memory)? {
                return Ok(());
            }
        }
    }
}
