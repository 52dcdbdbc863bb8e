// SPDX-License-Identifier: GPL-2.0-only
//! What must be true of a VM before it may run.

use crate::addr::{PMD_SIZE, Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vm::{Image, VmInfo, VmState};

/// Blocks that become a VM's in one call: 16 MiB.
const BLOCKS_PER_CALL: u64 = 8;

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-8. Loads the images of `v` (BA-1), verifies them, and makes the VM VERIFIED. Moves at most
    /// [`BLOCKS_PER_CALL`] blocks, and returns how many are left; the host calls again until that is 0. A VM without an
    /// image is VERIFIED at once, unless it goes on from a saved state: all of that must be here then. Locks VM(v) → those
    /// of BA-1.
    ///
    /// # Errors
    /// Unless `v` is READY. [`Refused::Image`] unless each image is complete, lies in contiguous memory at the same offset
    /// in 2 MiB as in the VM, and shares no block with another (D-20); as BA-1 if the first block can't be taken. Nothing
    /// has changed then. [`Refused::Image`], too, if an image is not authentic: the VM is powered off then, and keeps its
    /// pages until it is destroyed.
    pub fn verify_and_load_images<const OUTER: u8>(
        &self,
        v: Vmid,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        vm.require(v, VmState::Ready)?;
        if !well_placed(&vm.images) || !self.is_all_here(v, &vm, &mut held) {
            return Err(Refused::Image);
        }
        let images = vm.images.clone();
        let (mut skip, mut moved) = (vm.loaded_blocks, 0);
        for image in &images {
            let blocks = image.blocks();
            if skip >= blocks {
                skip -= blocks; // loaded and verified by an earlier call
                continue;
            }
            let done = match self.unmap_and_load_vm_image(v, image, skip, BLOCKS_PER_CALL - moved, &mut held) {
                Err(why) if moved == 0 => return Err(why),
                done => done.unwrap_or(0),
            };
            vm.loaded_blocks += done;
            moved += done;
            if skip + done < blocks {
                break;
            }
            skip = 0;
            if vm.flags.is_signed() && !self.machine().verify_image(v, image.remap_addr) {
                vm.state = VmState::Poweroff;
                return Err(Refused::Image);
            }
        }
        let left = images.iter().map(Image::blocks).sum::<u64>() - vm.loaded_blocks;
        if left == 0 {
            self.machine().sync_code();
            vm.state = VmState::Verified;
        }
        vm.release_lock_vm();
        Ok(left)
    }

    /// Whether all of the saved state that `v` goes on from is loaded, if it does.
    fn is_all_here(&self, v: Vmid, vm: &VmInfo, held: &mut Held<'_, { rank::VM }>) -> bool {
        let private = self.acquire_lock_s2page(held).0.private_pages_of(v);
        match (vm.generation, vm.resumed) {
            (None, _) => true,
            (_, None) => false,
            (_, Some(resumed)) => {
                let manifest = resumed.manifest;
                (manifest.pages, manifest.vcpus, manifest.vcpus) == (private, resumed.vcpus, vm.registered())
            }
        }
    }
}

/// Whether all images are complete, each lies in memory as in the VM, and no two share a block of either.
fn well_placed(images: &[Image]) -> bool {
    let blocks = |start: u64, image: &Image| Range::new(start & !(PMD_SIZE - 1), image.blocks() * PMD_SIZE);
    let in_vm = |image: &Image| blocks(image.load_addr.as_u64(), image);
    let in_memory = |image: &Image| {
        let base = image.base?.base().as_u64();
        let aligned = image.load_addr.as_u64() % PMD_SIZE == base % PMD_SIZE;
        blocks(base, image).filter(|_| image.mapped_pages == image.pages() && aligned)
    };
    let apart = |one: Range, other: Option<Range>| other.is_some_and(|other| !one.overlaps(other));
    images.iter().enumerate().all(|(i, image)| {
        let (Some(vm), Some(memory)) = (in_vm(image), in_memory(image)) else { return false };
        images[..i].iter().all(|other| apart(vm, in_vm(other)) && apart(memory, in_memory(other)))
    })
}
