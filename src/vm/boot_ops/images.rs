// SPDX-License-Identifier: GPL-2.0-only
//! Images: the host collects the pages of each in a window of Corevisor's, then they become the VM's, all at once, and are
//! verified.

use crate::addr::{COREVISOR, Ipa, PAGE_SIZE, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::{Desc, Level, PAGE_HYP};
use crate::refused::Refused;
use crate::vm::{Image, MAX_LOAD_INFO_NUM, Signature, VmState};

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-1. Where `addr` of `v` lies in the image window, if it is inside an image; the last one that fits.
    /// Lock VM(v).
    pub fn search_load_info<const OUTER: u8>(&self, v: Vmid, addr: u64, outer: &mut Held<'_, OUTER>) -> Option<Ipa> {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        let image = vm.image_at(addr)?;
        image.remap_addr.checked_add(addr - image.load_addr.as_u64())
    }

    /// Spec: BO-14. Whether `v` goes on from a saved state. Lock VM(v).
    pub fn is_inc_exe<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> bool {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        vm.inc_exe
    }

    /// Spec: BO-6. Announces an image of `size` bytes for guest address `addr`, and its signature, which BO-8 looks at.
    /// Returns its number (D-19); a sixth one does nothing, and gets the number 5. Locks VM(v) → CORE.
    ///
    /// # Errors
    /// Unless `v` is READY, none of its images is loaded yet, and it does not go on from a saved state; if the size is 0;
    /// [`Refused::NoKeys`] if `v` needs a signature, and there is no key to verify it with; if the window is full (D-81).
    pub fn set_boot_info<const OUTER: u8>(
        &self,
        v: Vmid,
        addr: Ipa,
        size: u64,
        signature: Signature,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<usize, Refused> {
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        vm.require(v, VmState::Ready)?;
        if vm.generation.is_some() || vm.loaded_blocks > 0 {
            return Err(Refused::State(v));
        }
        if size == 0 {
            return Err(Refused::Argument(3));
        }
        if vm.flags.is_signed() && !self.machine().has_image_keys() {
            return Err(Refused::NoKeys);
        }
        let index = vm.images.len();
        if index < MAX_LOAD_INFO_NUM {
            let remap_addr = self.alloc_remap_addr(size.div_ceil(PAGE_SIZE), &mut held)?;
            vm.images.push(Image::new(addr, size, remap_addr, signature));
        }
        Ok(index)
    }

    /// Spec: BO-7. Puts `pfn` at the next page of image `image` in the window; nothing if there is no such image, or it is
    /// complete. Locks VM(v) → S2PAGE, then VM(v) → PT(16).
    ///
    /// # Errors
    /// Unless `v` is READY, none of its images is loaded yet, and the page is the host's alone (D-21).
    pub fn remap_vm_image<const OUTER: u8>(
        &self,
        v: Vmid,
        pfn: Pfn,
        image: usize,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        vm.require(v, VmState::Ready)?;
        if vm.loaded_blocks > 0 {
            return Err(Refused::State(v));
        }
        let Some(image) = vm.images.get_mut(image).filter(|image| image.mapped_pages < image.pages()) else {
            return Ok(());
        };
        self.acquire_lock_s2page(&mut held).0.require_free(pfn)?;
        let at = image.remap_addr.checked_add(image.mapped_pages * PAGE_SIZE).ok_or(Refused::WindowFull)?;
        self.map_s2pt(COREVISOR, at, Level::L3, Desc::leaf(pfn.base(), Level::L3, PAGE_HYP), &mut held)?;
        image.base = match image.mapped_pages {
            0 => Some(pfn),
            n => image.base.filter(|base| base.as_u64() + n == pfn.as_u64()),
        };
        image.mapped_pages += 1;
        Ok(())
    }
}
