// SPDX-License-Identifier: GPL-2.0-only
//! Images: the host collects the pages of each in a window of Corevisor's, then they become the VM's, all at once, and are
//! verified.

use crate::addr::{Ipa, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-1. Where `addr` of `v` lies in the image window, if it is inside an image; the last one that fits.
    /// Lock VM(v).
    pub fn search_load_info<const OUTER: u8>(&self, v: Vmid, addr: u64, outer: &mut Held<'_, OUTER>) -> Option<Ipa> {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        vm.images.iter().rev().find_map(|image| {
            let offset = addr.checked_sub(image.load_addr.as_u64())?;
            if offset < image.load_size { image.remap_addr.checked_add(offset) } else { None }
        })
    }

    /// Spec: BO-14. Whether `v` goes on from a saved state. Lock VM(v).
    pub fn is_inc_exe<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) -> bool {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        vm.inc_exe
    }
}
