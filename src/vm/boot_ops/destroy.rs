// SPDX-License-Identifier: GPL-2.0-only
//! DESTROY_VM (`spec/layers/13-machine-gaps.md` §13.5, G2, G3, G9, G10, G11, G14): all that a VM has comes back, scrubbed.

use crate::addr::{ADDR_SPACE, COREVISOR, PAGE_SIZE, Pfn, Range, VCPU_PER_VM, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::Count;
use crate::refused::Refused;
use crate::vcpu::ShadowContext;
use crate::vm::{Teardown, VmInfo, VmState};

/// Pages that one call takes out of the image window.
const PAGES_PER_CALL: u64 = 512;
/// All page numbers.
const ALL_PAGES: u64 = ADDR_SPACE / PAGE_SIZE;

impl<M: Machine> Corevisor<M> {
    /// Destroys `v`, which has no running vCPU: it is powered off, its devices are cut off (G3), its table goes before any
    /// page does, and all of its pages go back to the host, zeroed. A call does a bounded part of that, and returns how
    /// many pages are left, in the VM or in the image window. After 0 the id can be a new VM's; until then every other
    /// call on the VM is refused.
    ///
    /// # Errors
    /// [`Refused::State`] if a vCPU runs, or another CPU is just now beginning the same; [`Refused::NoTable`] if there is
    /// no such VM, nor a page or a context bank of it. If an SMMU does not do what it is told, the VM is powered off, and the
    /// host can try again.
    pub fn destroy_vm(&self, v: Vmid, outer: &mut Held<'_, { rank::NONE }>) -> Result<u64, Refused> {
        if self.begin_destruction(v, outer)?
            && let Err(why) = self.take_apart(v, outer)
        {
            let (mut vm, _) = self.acquire_lock_vm(v, outer);
            let registered = vm.destroying.take().is_some_and(|teardown| teardown.recycle);
            vm.state = if registered { VmState::Poweroff } else { VmState::Unused };
            return Err(why);
        }
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        let Some(Teardown { recycle, next: Some(next) }) = vm.destroying else {
            return Err(Refused::State(v)); // another CPU is at it, or has just finished
        };
        if !vm.images.is_empty() {
            self.clear_windows(&mut vm, &mut held)?;
        } else if self.acquire_lock_s2page(&mut held).0.pages_of(v) > 0 {
            let next = self.clear_vm_pages(v, next, ALL_PAGES, &mut held)?;
            // If it has any left then, the search starts again.
            vm.destroying = Some(Teardown { recycle, next: Some(if next < ALL_PAGES { next } else { 0 }) });
        }
        let in_window: u64 = vm.images.iter().map(|image| image.mapped_pages).sum();
        let left = self.acquire_lock_s2page(&mut held).0.pages_of(v) + in_window;
        if left == 0 {
            *vm = VmInfo::default();
            self.acquire_lock_s2page(&mut held).0.set_granting(v, false);
            if recycle {
                let (mut core, _) = self.acquire_lock_core(&mut held);
                core.recycled |= 1 << v.index();
                core.release_lock_core();
            }
        }
        Ok(left)
    }

    /// Makes `v` one that is being destroyed. Whether it is the caller's to take apart. Lock VM(v) → S2PAGE.
    fn begin_destruction(&self, v: Vmid, outer: &mut Held<'_, { rank::NONE }>) -> Result<bool, Refused> {
        let has_banks = self.acquire_lock_smmu(outer).0.has(v);
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        if vm.destroying.is_some() {
            return Ok(false);
        }
        let recycle = vm.state != VmState::Unused;
        if !recycle && !has_banks && self.acquire_lock_s2page(&mut held).0.pages_of(v) == 0 {
            return Err(Refused::NoTable(v));
        }
        if vm.is_active() {
            return Err(Refused::State(v));
        }
        vm.state = VmState::Poweroff;
        vm.destroying = Some(Teardown { recycle, next: None });
        Ok(true)
    }

    /// The part that is done at once: nobody but the host can reach a page of `v` afterwards. Locks those of IO-2, then
    /// CONTEXT, then VM(v) → PT(v), S2PAGE, CRYPT.
    fn take_apart(&self, v: Vmid, outer: &mut Held<'_, { rank::NONE }>) -> Result<(), Refused> {
        self.free_banks_of(v, outer)?;
        for vcpu in (0..VCPU_PER_VM as u64).filter_map(VcpuId::new) {
            *self.context(v, vcpu, outer)?.0 = ShadowContext::ZERO;
        }
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        match self.free_npt(v, &mut held) {
            Ok(()) | Err(Refused::NoTable(_)) => {}
            Err(why) => return Err(why),
        }
        for page in core::mem::take(&mut vm.vcpus).into_iter().filter_map(|vcpu| vcpu.run_page) {
            self.release_run_page(page, &mut held);
        }
        if let Some(generation) = vm.generation.take() {
            self.sealer().lock(&mut held).0.release(v, generation);
        }
        if let Some(teardown) = &mut vm.destroying {
            teardown.next = Some(0);
        }
        Ok(())
    }

    fn release_run_page(&self, page: Pfn, held: &mut Held<'_, { rank::VM }>) {
        let (mut s2page, _) = self.acquire_lock_s2page(held);
        if let Count::Shares(uses @ 1..) = s2page.get_pfn_count(page) {
            s2page.set_pfn_count(page, Count::Shares(uses - 1));
        }
    }

    /// Takes pages of images out of the window, and gives back the parts that are empty. Locks PT(16), then CORE.
    fn clear_windows(&self, vm: &mut VmInfo, held: &mut Held<'_, { rank::VM }>) -> Result<(), Refused> {
        let mut budget = PAGES_PER_CALL;
        while let Some(image) = vm.images.last_mut() {
            while image.mapped_pages > 0 {
                if budget == 0 {
                    return Ok(());
                }
                let last = image.mapped_pages - 1;
                let at = image.remap_addr.checked_add(last * PAGE_SIZE).ok_or(Refused::OutOfReach)?;
                let page = self.walk_s2pt(COREVISOR, at, held)?.pp();
                self.acquire_lock_pt(COREVISOR, held)?.unmap(at, page)?;
                image.mapped_pages = last;
                budget -= 1;
            }
            if let Some(part) = Range::new(image.remap_addr.as_u64(), image.pages() * PAGE_SIZE) {
                self.acquire_lock_core(held).0.return_window(part);
            }
            vm.images.pop();
        }
        Ok(())
    }
}
