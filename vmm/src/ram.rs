// SPDX-License-Identifier: GPL-2.0-only
//! A guest's memory, as this process has it.

use crate::Problem;
use crate::layout::{BLOCK, RAM};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// Memory that lies at the same offset in 2 MiB here as in the guest, so that the guest can have it in blocks.
#[derive(Debug)]
pub struct Ram {
    memory: GuestMemoryMmap,
    start: *mut u8,
    size: usize,
    // Holds the mapping; a little larger than the memory.
    _area: MmapRegion,
}

// SAFETY: the pointer is an address for KVM only; nothing is read or written through it.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

impl Ram {
    /// `size` bytes of it, zeroed.
    ///
    /// # Errors
    /// If there is not enough.
    pub fn new(size: u64) -> Result<Self, Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("--mem {}M: {why}", size >> 20);
        let (size, block) = (size as usize, BLOCK as usize);
        let area = MmapRegion::<()>::new(size + block).map_err(|why| problem(&why))?;
        let offset = area.as_ptr().align_offset(block);
        let start = area.as_ptr().wrapping_add(offset);
        // SAFETY: aligned to 2 MiB, it lies with all of its `size` bytes in `area`, which lives as long as this value and is
        // used in no other way.
        let region = unsafe { MmapRegionBuilder::new(size).with_raw_mmap_pointer(start) };
        let region = region.build().map_err(|why| problem(&why))?;
        let region = GuestRegionMmap::new(region, GuestAddress(RAM)).ok_or_else(|| problem(&"too large"))?;
        let memory = GuestMemoryMmap::from_regions(vec![region]).map_err(|why| problem(&why))?;
        // SAFETY: it changes how the kernel backs this memory, and nothing that the program sees. It may refuse.
        unsafe { libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE) };
        Ok(Self { memory, start, size, _area: area })
    }

    /// The memory, by guest addresses. Not to be touched when a protected guest has run.
    pub fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    /// Where this process has it.
    pub fn host_address(&self) -> u64 {
        self.start as u64
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size as u64
    }

    /// Fills a part of it.
    ///
    /// # Errors
    /// If that is not all in it.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.memory.write_slice(bytes, GuestAddress(address)).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::Ram;
    use crate::layout::{BLOCK, RAM};
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn aligned_and_all_there() {
        let ram = Ram::new(2 * BLOCK).unwrap();
        assert_eq!(ram.host_address() % BLOCK, 0);
        assert_eq!(ram.size(), 2 * BLOCK);
        let last = RAM + 2 * BLOCK - 3;
        ram.write(last, b"end").unwrap();
        let mut back = [0; 3];
        ram.memory().read_slice(&mut back, GuestAddress(last)).unwrap();
        assert_eq!(&back, b"end");
        assert!(ram.write(last, b"ends").is_err());
        assert!(ram.write(RAM - 1, b"a").is_err());
    }

    #[test]
    fn too_much_is_told() {
        assert!(Ram::new(1 << 60).unwrap_err().starts_with("--mem "));
    }
}
