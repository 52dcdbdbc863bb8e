// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootCore (`spec/layers/06-boot.md` §6.2): ids of VMs, and addresses of the image window. Both come back when a
//! VM is destroyed.

use super::CoreData;
use crate::addr::{Ipa, PAGE_SHIFT, Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// Spec: BC-1. The id of a new VM: one that was never used (AM-51, AM-52), or else the lowest of a destroyed VM.
    /// Lock CORE.
    ///
    /// # Errors
    /// [`Refused::NoVmid`] if all 15 are in use.
    pub fn gen_vmid<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) -> Result<Vmid, Refused> {
        let (mut core, _) = self.acquire_lock_core(outer);
        if let Some(v) = Vmid::new_vm(core.next_vmid) {
            core.next_vmid += 1;
            return Ok(v);
        }
        let v = Vmid::new_vm(core.recycled.trailing_zeros().into()).ok_or(Refused::NoVmid)?;
        core.recycled &= core.recycled - 1;
        Ok(v)
    }

    /// Gives an id back that [`Self::gen_vmid`] returned, and that nothing was done with. Lock CORE.
    pub(super) fn return_vmid<const OUTER: u8>(&self, v: Vmid, outer: &mut Held<'_, OUTER>) {
        let (mut core, _) = self.acquire_lock_core(outer);
        if core.next_vmid == v.index() as u64 + 1 {
            core.next_vmid -= 1;
        } else {
            core.recycled |= 1 << v.index();
        }
    }

    /// Spec: BC-2. `pages` pages of the image window: from the part that was never used (AM-53, AM-54; its end is
    /// strict), or else the first free part that is large enough. Lock CORE.
    ///
    /// # Errors
    /// [`Refused::WindowFull`].
    pub fn alloc_remap_addr<const OUTER: u8>(&self, pages: u64, outer: &mut Held<'_, OUTER>) -> Result<Ipa, Refused> {
        let (mut core, _) = self.acquire_lock_core(outer);
        let start = core.take_window(pages).ok_or(Refused::WindowFull)?;
        Ipa::new(start).ok_or(Refused::WindowFull)
    }
}

impl CoreData {
    fn take_window(&mut self, pages: u64) -> Option<u64> {
        let size = pages.checked_mul(1 << PAGE_SHIFT)?;
        let start = self.next_remap_ptr;
        if let Some(end) = start.checked_add(size).filter(|end| *end < self.window.end) {
            self.next_remap_ptr = end;
            return Some(start);
        }
        let part = self.free_windows.iter_mut().find(|part| part.size() >= size)?;
        let start = part.start;
        part.start += size;
        self.free_windows.retain(|part| part.size() > 0);
        Some(start)
    }

    /// Gives a part of the window back that [`Corevisor::alloc_remap_addr`] handed out.
    pub(super) fn return_window(&mut self, part: Range) {
        let at = self.free_windows.partition_point(|free| free.start < part.start);
        let before = at.checked_sub(1).filter(|&i| self.free_windows[i].end == part.start);
        let after = self.free_windows.get(at).is_some_and(|free| free.start == part.end);
        match (before, after) {
            (Some(i), true) => {
                self.free_windows[i].end = self.free_windows[at].end;
                self.free_windows.remove(at);
            }
            (Some(i), false) => self.free_windows[i].end = part.end,
            (None, true) => self.free_windows[at].start = part.start,
            // There is room: between two free parts lies one of an image, of which there are fewer than places.
            (None, false) => _ = self.free_windows.try_insert(at, part),
        }
        // What nobody uses at the end counts as never used, so that windows stay at the same few addresses, and the
        // table of the window does not grow.
        if let Some(last) = self.free_windows.last().filter(|last| last.end == self.next_remap_ptr) {
            self.next_remap_ptr = last.start;
            self.free_windows.pop();
        }
    }
}
