// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootAux (`spec/layers/06-boot.md` §6.3): an image becomes memory of its VM, by blocks of 2 MiB.

use super::Image;
use crate::addr::{COREVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::npt::Level;
use crate::refused::Refused;

impl Image {
    /// First address of the first block that it reaches into.
    pub(super) const fn first_block(&self) -> Ipa {
        self.load_addr.align_down(PMD_SIZE)
    }

    /// Number of blocks that it reaches into.
    pub(super) const fn blocks(&self) -> u64 {
        (self.load_addr.as_u64() % PMD_SIZE + self.pages() * PAGE_SIZE).div_ceil(PMD_SIZE)
    }
}

impl<M: Machine> Corevisor<M> {
    /// Spec: BA-1. Makes blocks of `image` memory of `v`, mapped by level-2 entries: from block `from` on, at most `most` of
    /// them. The image is complete and lies in memory as it is to lie in the VM ([`Self::verify_and_load_images`]). What is
    /// in a block besides the image is zeroed. Returns the number of blocks. Locks PT(16), S2PAGE → PT(0), PT(v).
    ///
    /// # Errors
    /// If a page of the first of these blocks can't become the VM's (MO-2); nothing has changed then. At a later block the
    /// function stops.
    pub(super) fn unmap_and_load_vm_image(
        &self,
        v: Vmid,
        image: &Image,
        from: u64,
        most: u64,
        outer: &mut Held<'_, { rank::VM }>,
    ) -> Result<u64, Refused> {
        let last = image.blocks().min(from.saturating_add(most));
        for block in from..last {
            match self.load_block(v, image, block, outer) {
                Ok(()) => {}
                Err(why) if block == from => return Err(why),
                Err(_) => return Ok(block - from),
            }
        }
        Ok(last.saturating_sub(from))
    }

    fn load_block(
        &self,
        v: Vmid,
        image: &Image,
        block: u64,
        outer: &mut Held<'_, { rank::VM }>,
    ) -> Result<(), Refused> {
        let start = image.first_block().checked_add(block * PMD_SIZE).ok_or(Refused::Image)?;
        // The first page of the image in this block, counted from the start of the image.
        let first = start.as_u64().saturating_sub(image.load_addr.as_u64());
        let remap = image.remap_addr.checked_add(first).ok_or(Refused::Image)?;
        let base = self.walk_s2pt(COREVISOR, remap, outer)?.pp().align_down(PMD_SIZE);
        self.prot_and_map_vm_s2pt(v, start, base, Level::L2, outer)?;
        for offset in (0..PMD_SIZE).step_by(PAGE_SIZE as usize) {
            if let (Some(at), Some(page)) = (start.checked_add(offset), base.checked_add(offset)) {
                self.zero_outside(image, at, page.frame());
            }
        }
        Ok(())
    }

    /// Zeroes what of `page`, which `v` has at `at`, lies outside the image.
    fn zero_outside(&self, image: &Image, at: Ipa, page: Pfn) {
        // A block may begin before the image, and end after it.
        let Some(offset) = at.as_u64().checked_sub(image.load_addr.as_u64()) else {
            return self.machine().clear_phys_page(page);
        };
        match image.load_size.saturating_sub(offset) {
            0 => self.machine().clear_phys_page(page),
            PAGE_SIZE.. => {}
            rest => {
                let mut bytes = [0; PAGE_SIZE as usize];
                self.machine().read_page(page, &mut bytes);
                bytes[rest as usize..].fill(0);
                self.machine().write_page(page, &bytes);
            }
        }
    }
}
