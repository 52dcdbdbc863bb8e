// SPDX-License-Identifier: GPL-2.0-only
//! What must be true of a VM before it may run.

use crate::addr::{PAGE_SIZE, PMD_SIZE, Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::Count;
use crate::refused::Refused;
use crate::vm::measure::{Digest, image_message, measure};
use crate::vm::{Image, Measurement, VmFlags, VmInfo, VmState};

/// Blocks that become a VM's in one call: 16 MiB.
const BLOCKS_PER_CALL: u64 = 8;
/// Pages that are hashed in one call: 64 KiB, at some 35 instructions a byte.
const HASHED_PER_CALL: u64 = 16;
/// Pages of a block.
const BLOCK_PAGES: u64 = PMD_SIZE / PAGE_SIZE;

/// What a call may still do.
struct Budget {
    blocks: u64,
    pages: u64,
}

/// Why a call does not go on with the images.
enum Stop {
    /// It has done its part, or can't take a block now; the next call goes on.
    Later(Option<Refused>),
    /// The VM can't be verified any more.
    Never(Refused),
}

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-8. Loads the images of `v` (BA-1), hashes and verifies them one after the other, and makes the VM VERIFIED,
    /// with its measurement. What is hashed is what the VM has at the image's addresses, when it is the VM's already and
    /// nobody but Corevisor can write it: what is verified is what runs.
    ///
    /// Moves at most [`BLOCKS_PER_CALL`] blocks and hashes at most [`HASHED_PER_CALL`] pages, and returns how many pages are
    /// left to be moved or hashed; the host calls again until that is 0. A VM without an image is VERIFIED at once, unless
    /// it goes on from a saved state: all of that must be here then. Locks VM(v) → those of BA-1, S2PAGE, PT(v), CRYPT.
    ///
    /// # Errors
    /// Unless `v` is READY. [`Refused::Image`] unless each image is complete, lies in contiguous memory at the same offset
    /// in 2 MiB as in the VM, and shares no block with another (D-20); as BA-1 if the call begins with a block that can't be
    /// taken. Nothing has changed then. [`Refused::NotSigned`] if `v` needs a signature and an image has none that fits: the
    /// VM is powered off then, and keeps its pages until it is destroyed.
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
        let mut budget = Budget { blocks: BLOCKS_PER_CALL, pages: HASHED_PER_CALL };
        while let Some(next) = vm.images.iter().position(|image| image.digest.is_none()) {
            match self.load_and_verify(v, &mut vm, next, &mut budget, &mut held) {
                Ok(digest) => vm.images[next].digest = Some(digest),
                Err(Stop::Later(Some(why))) if budget.is_whole() => return Err(why),
                Err(Stop::Later(_)) => return Ok(pages_left(&vm)),
                Err(Stop::Never(why)) => {
                    vm.state = VmState::Poweroff;
                    return Err(why);
                }
            }
        }
        vm.measurement = Some(self.measurement_of(v, &vm, &mut held)?);
        self.machine().sync_code();
        vm.state = VmState::Verified;
        vm.release_lock_vm();
        Ok(0)
    }

    /// Goes on with image `index`, the first that is not verified. Its digest, if that is done.
    fn load_and_verify(
        &self,
        v: Vmid,
        vm: &mut VmInfo,
        index: usize,
        budget: &mut Budget,
        held: &mut Held<'_, { rank::VM }>,
    ) -> Result<Digest, Stop> {
        let (before, rest) = vm.images.split_at(index);
        let Some(image) = rest.first().copied() else { return Err(Stop::Never(Refused::Image)) };
        let from = vm.loaded_blocks.saturating_sub(before.iter().map(Image::blocks).sum());
        if from < image.blocks() {
            let taken = self.unmap_and_load_vm_image(v, &image, from, budget.blocks, held);
            let taken = taken.map_err(|why| Stop::Later(Some(why)))?;
            vm.loaded_blocks += taken;
            budget.blocks = budget.blocks.saturating_sub(taken);
            if from + taken < image.blocks() {
                return Err(Stop::Later(None));
            }
        }
        while vm.hashed.0 < image.pages() {
            if budget.pages == 0 {
                return Err(Stop::Later(None));
            }
            budget.pages -= 1;
            self.hash_page(v, vm, &image, held).map_err(Stop::Never)?;
        }
        let digest = core::mem::take(&mut vm.hashed).1.digest();
        let message = image_message(image.load_addr.as_u64(), image.load_size, &digest);
        let verify = || self.machine().verify_image(v, image.remap_addr, &message, &image.signature);
        if vm.flags.is_signed() && !verify() {
            return Err(Stop::Never(Refused::NotSigned));
        }
        Ok(digest)
    }

    /// Hashes the next page of `image`: the one that `v` has there.
    fn hash_page(
        &self,
        v: Vmid,
        vm: &mut VmInfo,
        image: &Image,
        held: &mut Held<'_, { rank::VM }>,
    ) -> Result<(), Refused> {
        let (done, hash) = &mut vm.hashed;
        let offset = *done * PAGE_SIZE;
        let at = image.load_addr.checked_add(offset).ok_or(Refused::Image)?;
        let page = self.acquire_lock_pt(v, held)?.mapping(at)?.translate(at).ok_or(Refused::Image)?.frame();
        let (owner, count) = {
            let (s2page, _) = self.acquire_lock_s2page(held);
            (s2page.get_pfn_owner(page), s2page.get_pfn_count(page))
        };
        let alone = count == Count::Shares(0) || vm.flags.contains(VmFlags::SHARED);
        if owner != Some(v) || !alone {
            return Err(Refused::NotVmPage(page));
        }
        let mut bytes = [0; PAGE_SIZE as usize];
        self.machine().read_page(page, &mut bytes);
        let size = image.load_size.saturating_sub(offset).min(PAGE_SIZE);
        hash.add(&bytes[..size as usize]);
        *done += 1;
        Ok(())
    }

    /// The measurement of `v`, whose images are all verified: theirs, or that of the VM that it goes on from. Lock CRYPT.
    fn measurement_of(&self, v: Vmid, vm: &VmInfo, held: &mut Held<'_, { rank::VM }>) -> Result<Measurement, Refused> {
        if let Some(generation) = vm.generation {
            return self.sealer().lock(held).0.measurement(v, generation).ok_or(Refused::NotAuthentic);
        }
        let images = vm.images.iter();
        let images = images.map(|image| (image.load_addr.as_u64(), image.load_size, image.digest.unwrap_or_default()));
        Ok(measure(vm.flags, images))
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

impl Budget {
    /// Whether nothing was done yet.
    fn is_whole(&self) -> bool {
        self.blocks == BLOCKS_PER_CALL && self.pages == HASHED_PER_CALL
    }
}

/// Pages that are not the VM's yet, and pages that are not hashed yet.
fn pages_left(vm: &VmInfo) -> u64 {
    let to_move = vm.images.iter().map(Image::blocks).sum::<u64>().saturating_sub(vm.loaded_blocks) * BLOCK_PAGES;
    let unhashed = vm.images.iter().filter(|image| image.digest.is_none()).map(Image::pages).sum::<u64>();
    to_move + unhashed.saturating_sub(vm.hashed.0)
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
