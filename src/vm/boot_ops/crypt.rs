// SPDX-License-Identifier: GPL-2.0-only
//! Saving a VM outside Corevisor, and going on from what was saved (`spec/layers/10-abi-flows.md` §10.10).
//!
//! What is saved is all of a VM that can run, page by page and vCPU by vCPU, while none of its vCPUs does. It is loaded
//! into a new VM that has no images: its code and data are the saved ones, all of them and nothing else, which
//! VERIFY_VM_IMAGE makes sure of. [`Sealer`](crate::vm::Sealer) says which saved state can be loaded, and by whom.

use super::saved_vcpu::{self, SavedVcpu};
use crate::addr::{Gfn, PAGE_SIZE, Pfn, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::memory::{Count, S2Page};
use crate::npt::{Desc, Level, PAGE_S2_KERNEL};
use crate::refused::Refused;
use crate::vm::sealer::{Identity, Label, Opening, Piece, Sealing};
use crate::vm::{Generation, Manifest, Resumed, SavedPage, VcpuState, VmInfo, VmState};

/// A page by itself has no manifest.
const NO_MANIFEST: Manifest = Manifest { pages: 0, vcpus: 0 };

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-15. Writes the registers of a vCPU, encrypted (AM-94, AM-95), to its run page. Locks CONTEXT(v, vcpu) →
    /// VM(v) → S2PAGE, CRYPT.
    ///
    /// # Errors
    /// Unless `v` is VERIFIED, none of its vCPUs is running, and this one exists (D-27).
    pub fn save_encrypted_vcpu(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<(), Refused> {
        let (context, mut held) = self.context(v, vcpu, outer)?;
        let (mut vm, mut held) = self.acquire_lock_vm(v, &mut held);
        vm.require_at_rest(v)?;
        let run_page = vm.vcpu(vcpu).run_page.ok_or(Refused::State(v))?;
        let pages = self.acquire_lock_s2page(&mut held).0.private_pages_of(v);
        let manifest = Manifest { pages, vcpus: vm.registered() };
        let (mut sealing, generation) = self.begin_save(v, &mut vm, 2, &mut held)?;
        let label = |piece| Label { piece, generation, manifest };
        let power = vm.vcpu(vcpu).power;
        let mut general = saved_vcpu::general_bytes(&context);
        let mut system = saved_vcpu::system_bytes(&context, power);
        let seals = [
            sealing.seal(&label(Piece::GeneralRegisters(vcpu)), &mut general)?,
            sealing.seal(&label(Piece::SystemRegisters(vcpu)), &mut system)?,
        ];
        SavedVcpu { generation, manifest, seals, general, system }.store(self.machine(), run_page);
        Ok(())
    }

    /// Spec: BO-16. Replaces the registers of a vCPU by those saved in its run page (AM-96, AM-97), which is the context of
    /// the VM itself (D-26); the VM goes on from a saved state then (D-22). Locks CONTEXT(v, vcpu) → VM(v) → CRYPT.
    ///
    /// # Errors
    /// Unless `v` and the vCPU are READY, and `v` has no image; if what is there is not authentic, not the vCPU's or not the
    /// latest, or another VM goes on from it.
    pub fn load_encrypted_vcpu(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<(), Refused> {
        let (mut context, mut held) = self.context(v, vcpu, outer)?;
        let (mut vm, mut held) = self.acquire_lock_vm(v, &mut held);
        require_empty(v, &vm)?;
        let info = vm.vcpu(vcpu);
        let run_page = info.run_page.filter(|_| info.state == VcpuState::Ready).ok_or(Refused::State(v))?;
        let mut saved = SavedVcpu::load(self.machine(), run_page);
        let SavedVcpu { generation, manifest, .. } = saved;
        let opening = self.opening(v, &vm, generation, &mut held)?;
        let label = |piece| Label { piece, generation, manifest };
        opening.open(saved.seals[0], &label(Piece::GeneralRegisters(vcpu)), &mut saved.general)?;
        opening.open(saved.seals[1], &label(Piece::SystemRegisters(vcpu)), &mut saved.system)?;
        let resumed = vm.resumed.unwrap_or(Resumed { manifest, vcpus: 0 });
        if resumed.manifest != manifest {
            return Err(Refused::NotAuthentic);
        }
        self.go_on_from(v, &mut vm, generation, &mut held);
        (*context, vm.vcpu_mut(vcpu).power) = saved_vcpu::context(&saved.general, &saved.system);
        vm.resumed = Some(Resumed { vcpus: resumed.vcpus | 1 << vcpu.index(), ..resumed });
        vm.inc_exe = true;
        Ok(())
    }

    /// Spec: BO-17. Writes page `page` of `v`, encrypted (AM-138), to page `to` of the host; both are page numbers (D-25).
    /// Locks VM(v) → S2PAGE → PT(v), CRYPT.
    ///
    /// # Errors
    /// Unless `v` is VERIFIED and none of its vCPUs is running; unless `page` is mapped in `v` and shared with nobody, and
    /// `to` is the host's alone.
    pub fn save_encrypt_buf<const OUTER: u8>(
        &self,
        v: Vmid,
        page: Pfn,
        to: Pfn,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<SavedPage, Refused> {
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        vm.require_at_rest(v)?;
        let (s2page, mut held) = self.acquire_lock_s2page(&mut held);
        let private = s2page.get_pfn_owner(page) == Some(v) && s2page.get_pfn_count(page) == Count::Shares(0);
        let gfn = s2page.get_pfn_map(page).and_then(Gfn::new).filter(|_| private).ok_or(Refused::NotVmPage(page))?;
        let mapping = self.acquire_lock_pt(v, &mut held)?.mapping(gfn.base())?;
        if mapping.translate(gfn.base()) != Some(page.base()) {
            return Err(Refused::NotVmPage(page));
        }
        s2page.require_free(to)?;
        let (mut sealing, generation) = self.begin_save(v, &mut vm, 1, &mut held)?;
        let gfn = gfn.as_u64();
        let mut bytes = [0; PAGE_SIZE as usize];
        self.machine().read_page(page, &mut bytes);
        let seal = sealing.seal(&Label { piece: Piece::Page(gfn), generation, manifest: NO_MANIFEST }, &mut bytes)?;
        self.machine().write_page(to, &bytes);
        Ok(SavedPage { seal, gfn, generation })
    }

    /// Spec: BO-18. Makes page `page` of the host, in which `saved` lies, a page of `v`, decrypted (AM-139), at the place
    /// where it was in the VM that was saved; `page` is a page number (D-25). Locks VM(v) → S2PAGE → PT(0), PT(v), CRYPT.
    ///
    /// The host can write the page until it is taken away, so what is authenticated and becomes the content is a copy.
    ///
    /// # Errors
    /// Unless `v` is READY and has no image, and the page is the host's alone (D-24); if what is there is not authentic or
    /// not the latest, another VM goes on from it, or `v` has a page in that place already.
    pub fn load_decrypt_buf<const OUTER: u8>(
        &self,
        v: Vmid,
        page: Pfn,
        saved: SavedPage,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut vm, mut held) = self.acquire_lock_vm(v, outer);
        require_empty(v, &vm)?;
        let (mut s2page, mut held) = self.acquire_lock_s2page(&mut held);
        s2page.require_free(page)?;
        let SavedPage { seal, gfn, generation } = saved;
        let mut bytes = [0; PAGE_SIZE as usize];
        self.machine().read_page(page, &mut bytes);
        let opening = self.opening(v, &vm, generation, &mut held)?;
        opening.open(seal, &Label { piece: Piece::Page(gfn), generation, manifest: NO_MANIFEST }, &mut bytes)?;
        let ipa = Gfn::new(gfn).ok_or(Refused::NotAuthentic)?.base();
        let mut table = self.acquire_lock_pt(v, &mut held)?;
        table.prepare_npt(ipa, Level::L3, Desc::leaf(page.base(), Level::L3, PAGE_S2_KERNEL))?;
        table.release_lock_pt();
        self.take_from_host(page, Level::L3, &mut held)?;
        self.go_on_from(v, &mut vm, generation, &mut held);
        self.machine().fetch_from_doracle(page);
        self.machine().write_page(page, &bytes);
        s2page.set_record(page, S2Page::new(v, Count::Shares(0), Some(gfn)));
        self.map_pfn_vm(v, ipa, page.base(), Level::L3, &mut held)
    }

    /// A cipher for `pieces` pieces of `v`, and the state that they belong to: `v` gets a lineage if it has none. Lock CRYPT.
    fn begin_save<const OUTER: u8>(
        &self,
        v: Vmid,
        vm: &mut VmInfo,
        pieces: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(Sealing, Generation), Refused> {
        let measurement = vm.measurement.ok_or(Refused::State(v))?;
        let identity = Identity { flags: vm.flags, measurement };
        let (mut sealer, _) = self.sealer().lock(outer);
        let sealing = sealer.sealing(self.machine(), pieces)?;
        let generation = sealer.save(v, vm.generation, identity)?;
        vm.generation = Some(generation);
        Ok((sealing, generation))
    }

    /// The cipher for the pieces of `generation`, if `v` may go on from that. Lock CRYPT.
    fn opening<const OUTER: u8>(
        &self,
        v: Vmid,
        vm: &VmInfo,
        generation: Generation,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Opening, Refused> {
        let (sealer, _) = self.sealer().lock(outer);
        let opening = sealer.opening()?;
        sealer.check_load(v, vm.generation, vm.flags, generation)?;
        Ok(opening)
    }

    /// Makes `v` the VM that goes on from `generation`, as [`Self::opening`] allows. Lock CRYPT.
    fn go_on_from<const OUTER: u8>(
        &self,
        v: Vmid,
        vm: &mut VmInfo,
        generation: Generation,
        outer: &mut Held<'_, OUTER>,
    ) {
        self.sealer().lock(outer).0.load(v, generation);
        vm.generation = Some(generation);
    }
}

/// Asks that a saved VM can be loaded into `v`: READY and without an image.
fn require_empty(v: Vmid, vm: &VmInfo) -> Result<(), Refused> {
    vm.require(v, VmState::Ready)?;
    if vm.images.is_empty() { Ok(()) } else { Err(Refused::State(v)) }
}
