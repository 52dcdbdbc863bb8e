// SPDX-License-Identifier: GPL-2.0-only
//! The record of a VM, the object of lock VM(v), and core data, the object of lock CORE (`spec/SPEC.md` §0.3).

use super::measure::{Digest, ImageHash};
use crate::abi::vm_flags;
use crate::addr::{Ipa, PAGE_SIZE, Pfn, Range, VCPU_PER_VM, VMID_COUNT, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use arrayvec::ArrayVec;
use bitflags::bitflags;

/// Images of a VM, at most.
pub const MAX_LOAD_INFO_NUM: usize = 5;

bitflags! {
    /// What a VM is, as REGISTER_KVM has made it ([`vm_flags`]).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct VmFlags: u64 {
        /// Its images need no signature.
        const UNSIGNED = vm_flags::UNSIGNED;
        /// The host can reach its memory. Its images need no signature.
        const SHARED = vm_flags::SHARED;
    }
}

impl VmFlags {
    /// Whether the images must be signed.
    pub const fn is_signed(self) -> bool {
        self.is_empty()
    }
}

/// State of a VM (`spec/SPEC.md` §0.5; MAPPED is never used).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum VmState {
    /// There is no such VM.
    #[default]
    Unused,
    /// Being built.
    Ready,
    /// Its images are verified: it may run.
    Verified,
    /// It will not run any more.
    Poweroff,
}

/// State of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum VcpuState {
    /// There is no such vCPU.
    #[default]
    Unused,
    /// It can be run.
    Ready,
    /// A CPU runs it, and has its shadow context to itself.
    Active,
}

/// Whether a vCPU is on, in the sense of PSCI. The host boots a VM with one vCPU; the others are on when the VM says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Power {
    /// Off: it never ran, or called CPU_OFF.
    #[default]
    Off,
    /// CPU_ON named it, and it has not been entered since.
    Pending {
        /// Where it begins, a multiple of 4.
        entry: u64,
        /// Its x0 there.
        argument: u64,
    },
    /// On.
    On,
}

/// A vCPU in the record of its VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VcpuInfo {
    /// State (AM-57 `get_vcpu_state`, AM-58 `set_vcpu_state`).
    pub state: VcpuState,
    /// The page shared with the host (AM-18 `get_shared_vcpu`, AM-61 `get_vm_vcpu`, AM-62 `set_vm_vcpu`): its layout is
    /// [`crate::abi::run_page`]. The host owns it; its count is one higher for as long as the vCPU exists, so that it
    /// can't be given to a VM.
    pub run_page: Option<Pfn>,
    /// Whether it is on.
    pub power: Power,
}

/// One image of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// Where it goes in the VM (AM-65 `get_vm_load_addr`, AM-66 `set_vm_load_addr`).
    pub load_addr: Ipa,
    /// Bytes (AM-67 `get_vm_load_size`, AM-68 `set_vm_load_size`).
    pub load_size: u64,
    /// First address of its part of the image window (AM-69 `get_vm_remap_addr`, AM-70 `set_vm_remap_addr`): the addresses
    /// that the table of [`crate::addr::COREVISOR`] maps.
    pub remap_addr: Ipa,
    /// Pages put into the window so far (AM-71 `get_vm_mapped_pages`, AM-72 `set_vm_mapped_pages`).
    pub mapped_pages: u64,
    /// The first of them, as long as each follows the one before it in memory.
    pub base: Option<Pfn>,
    /// The signature that the host has given for it.
    pub signature: Signature,
    /// What it was found to be, once all of it is the VM's.
    pub digest: Option<Digest>,
}

/// A SHA-256 (FIPS 180-4) of all that makes a VM ([`crate::vm::measure`]).
pub type Measurement = [u8; 32];

/// An Ed25519 signature (RFC 8032), as it is.
pub type Signature = [u8; 64];

impl Image {
    /// An image that is announced, and none of its pages there.
    pub const fn new(load_addr: Ipa, load_size: u64, remap_addr: Ipa, signature: Signature) -> Self {
        Self { load_addr, load_size, remap_addr, mapped_pages: 0, base: None, signature, digest: None }
    }

    /// Pages of the whole image.
    pub const fn pages(&self) -> u64 {
        self.load_size.div_ceil(PAGE_SIZE)
    }
}

/// The record of one VM. The specification's `kvm` handle (AM-17 `get_shared_kvm`, AM-59 `get_vm_kvm`, AM-60 `set_vm_kvm`) is
/// not kept: nothing reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VmInfo {
    /// State (AM-55 `get_vm_state`, AM-56 `set_vm_state`).
    pub state: VmState,
    /// What kind of VM it is.
    pub flags: VmFlags,
    /// vCPUs.
    pub vcpus: [VcpuInfo; VCPU_PER_VM],
    /// Images; their number is AM-63 `get_vm_next_load_idx`, AM-64 `set_vm_next_load_idx`.
    pub images: ArrayVec<Image, MAX_LOAD_INFO_NUM>,
    /// Blocks of images that are the VM's already, in the order of the images: VERIFY_VM_IMAGE does them by and by.
    pub loaded_blocks: u64,
    /// Pages of the first image without a digest that are hashed already, and the hash so far.
    pub hashed: (u64, ImageHash),
    /// The first of its vCPUs was entered.
    pub booted: bool,
    /// Resumed from an encrypted image (AM-73, AM-74).
    pub inc_exe: bool,
    /// What it began as ([`crate::vm::measure`]); from when it is VERIFIED.
    pub measurement: Option<Measurement>,
    /// Which saved state it is, if it was ever saved or is being loaded.
    pub generation: Option<Generation>,
    /// What of a saved VM must be here before it may run; from its first vCPU that is loaded.
    pub resumed: Option<Resumed>,
    /// How far its virtual counter is behind the physical one; from its first entry.
    pub cntvoff: Option<u64>,
    /// While the VM is being destroyed.
    pub destroying: Option<Teardown>,
}

impl VmInfo {
    /// A vCPU.
    pub fn vcpu(&self, vcpu: VcpuId) -> &VcpuInfo {
        &self.vcpus[vcpu.index()]
    }

    /// A vCPU, to change it.
    pub fn vcpu_mut(&mut self, vcpu: VcpuId) -> &mut VcpuInfo {
        &mut self.vcpus[vcpu.index()]
    }

    /// The image that `addr` is in; the last one that fits.
    pub fn image_at(&self, addr: u64) -> Option<&Image> {
        let inside = |image: &&Image| addr.checked_sub(image.load_addr.as_u64()).is_some_and(|at| at < image.load_size);
        self.images.iter().rev().find(inside)
    }

    /// `vcpu` of `v`, whose record this is, begins where the host says: at `pc`, with `argument` in x0. Every vCPU of a shared
    /// VM may, the one that boots of any other.
    ///
    /// # Errors
    /// [`Refused::State`] if `v` has booted, [`Refused::Entry`] if `pc` or `argument` is in none of the images. An argument
    /// of 0 tells of nothing. Not for a shared VM.
    pub fn begin(&mut self, v: Vmid, vcpu: VcpuId, pc: u64, argument: u64) -> Result<(), Refused> {
        let shared = self.flags.contains(VmFlags::SHARED);
        if self.booted && !shared {
            return Err(Refused::State(v));
        }
        let outside = |at: &u64| self.image_at(*at).is_none() && !shared;
        if let Some(at) = [pc].into_iter().chain((argument != 0).then_some(argument)).find(outside) {
            return Err(Refused::Entry(at));
        }
        self.booted = true;
        self.vcpu_mut(vcpu).power = Power::On;
        Ok(())
    }

    /// `vcpu` is about to be entered. If CPU_ON named it, it is on now: where it begins, and its x0 there.
    pub fn take_start(&mut self, vcpu: VcpuId) -> Option<(u64, u64)> {
        let power = &mut self.vcpu_mut(vcpu).power;
        let Power::Pending { entry, argument } = *power else { return None };
        *power = Power::On;
        Some((entry, argument))
    }

    /// Asks that `v`, whose record this is, be in `state`. A VM that is being destroyed is in no state that a call asks for.
    pub(super) fn require(&self, v: Vmid, state: VmState) -> Result<(), Refused> {
        if self.state == state && self.destroying.is_none() { Ok(()) } else { Err(Refused::State(v)) }
    }

    /// Asks that `v` can be saved: it has run or could, and does not run now.
    pub(super) fn require_at_rest(&self, v: Vmid) -> Result<(), Refused> {
        self.require(v, VmState::Verified)?;
        if self.is_active() { Err(Refused::State(v)) } else { Ok(()) }
    }

    /// The vCPUs that exist, by bit.
    pub(super) fn registered(&self) -> u64 {
        let bits = self.vcpus.iter().enumerate().filter(|(_, vcpu)| vcpu.state != VcpuState::Unused);
        bits.map(|(i, _)| 1 << i).sum()
    }

    /// What an entry of `vcpu` has to know.
    pub fn turn(&self, vcpu: VcpuId) -> Turn {
        let cntvoff = self.cntvoff.filter(|_| self.generation.is_none());
        Turn { info: *self.vcpu(vcpu), inc_exe: self.inc_exe, cntvoff }
    }

    /// One of its vCPUs is about to run: what was saved of it is the past from now on. Returns the offset of its virtual
    /// counter: `cntvoff`, if it is the first.
    pub fn note_run(&mut self, cntvoff: u64) -> u64 {
        if let Some(generation) = &mut self.generation {
            generation.epoch += 1;
        }
        *self.cntvoff.get_or_insert(cntvoff)
    }

    /// Whether a CPU runs one of its vCPUs.
    pub fn is_active(&self) -> bool {
        self.vcpus.iter().any(|vcpu| vcpu.state == VcpuState::Active)
    }
}

/// What the record of a VM says when a CPU makes one of its vCPUs ACTIVE ([`Corevisor::set_vcpu_active`]): of that vCPU, and
/// of what stays as it is as long as one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// The vCPU. Its power can still change while it is not entered.
    pub info: VcpuInfo,
    /// [`VmInfo::inc_exe`].
    pub inc_exe: bool,
    /// The offset of its virtual counter; `None` as long as [`VmInfo::note_run`] has anything to note.
    pub cntvoff: Option<u64>,
}

/// How far the destruction of a VM is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Teardown {
    /// Whether the id is to be used again: the VM was registered.
    pub recycle: bool,
    /// The ownership record from which on the search for its pages goes on; `None` while a CPU takes the rest apart.
    pub next: Option<u64>,
}

/// A state of a VM that can be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation {
    /// Which VM: the number that it got when it was first saved, and keeps when it is loaded.
    pub lineage: u64,
    /// Which of its states: goes up whenever it runs.
    pub epoch: u64,
}

/// All that a saved VM consisted of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Its private pages.
    pub pages: u64,
    /// Its vCPUs, by bit.
    pub vcpus: u64,
}

/// How much of a saved VM is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// All of it.
    pub manifest: Manifest,
    /// vCPUs that are loaded, by bit.
    pub vcpus: u64,
}

/// Core data.
#[derive(Debug)]
pub struct CoreData {
    /// The next VM id that was never used (AM-51).
    pub next_vmid: u64,
    /// Ids of destroyed VMs, by bit: to be used again when `next_vmid` has reached 16.
    pub recycled: u16,
    /// All of the image window.
    pub window: Range,
    /// The address of the window from which on none is used (AM-53).
    pub next_remap_ptr: u64,
    /// Parts of the window below it that are free again, in order, no two adjacent.
    pub free_windows: ArrayVec<Range, { VMID_COUNT * MAX_LOAD_INFO_NUM }>,
}

impl CoreData {
    /// Nothing used yet.
    pub fn new(window: Range) -> Self {
        Self { next_vmid: 1, recycled: 0, window, next_remap_ptr: window.start, free_windows: ArrayVec::new() }
    }

    /// How many ids are in use.
    pub fn vms(&self) -> u64 {
        self.next_vmid - 1 - u64::from(self.recycled.count_ones())
    }
}

impl<M: Machine> Corevisor<M> {
    /// Spec: LK-5. Takes the lock of the record of `v`.
    pub fn acquire_lock_vm<'s, const OUTER: u8>(
        &'s self,
        v: Vmid,
        outer: &'s mut Held<'_, OUTER>,
    ) -> (Guard<'s, VmInfo>, Held<'s, { rank::VM }>) {
        self.vm(v).lock(outer)
    }

    /// Spec: LK-4. Takes the lock of core data.
    pub fn acquire_lock_core<'s, const OUTER: u8>(
        &'s self,
        outer: &'s mut Held<'_, OUTER>,
    ) -> (Guard<'s, CoreData>, Held<'s, { rank::CORE }>) {
        self.core_data().lock(outer)
    }
}

impl Guard<'_, VmInfo> {
    /// Spec: LK-11. Passes the lock of the VM's record on.
    pub fn release_lock_vm(self) {
        drop(self);
    }
}

impl Guard<'_, CoreData> {
    /// Spec: LK-10. Passes the lock of core data on.
    pub fn release_lock_core(self) {
        drop(self);
    }
}
