// SPDX-License-Identifier: GPL-2.0-only
//! The record of a VM, the object of lock VM(v), and core data, the object of lock CORE (`spec/SPEC.md` §0.3).

use crate::addr::{Ipa, PAGE_SIZE, Pfn, Range, VCPU_PER_VM, VMID_COUNT, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Guard, Held, rank};
use crate::machine::Machine;
use arrayvec::ArrayVec;

/// Images of a VM, at most.
pub const MAX_LOAD_INFO_NUM: usize = 5;

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

/// A vCPU in the record of its VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VcpuInfo {
    /// State.
    pub state: VcpuState,
    /// The page shared with the host (AM-18, the specification's handle `shared_vcpu`): its layout is
    /// [`crate::abi::run_page`]. The host owns it; its count is one higher for as long as the vCPU exists, so that it
    /// can't be given to a VM.
    pub run_page: Option<Pfn>,
}

/// One image of a VM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image {
    /// Where it goes in the VM.
    pub load_addr: Ipa,
    /// Bytes.
    pub load_size: u64,
    /// First address of its part of the image window: the addresses that the table of [`crate::addr::COREVISOR`] maps.
    pub remap_addr: Ipa,
    /// Pages put into the window so far.
    pub mapped_pages: u64,
}

impl Image {
    /// Pages of the whole image.
    pub const fn pages(&self) -> u64 {
        self.load_size.div_ceil(PAGE_SIZE)
    }
}

/// The record of one VM. The specification's `kvm` handle is not kept: nothing reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VmInfo {
    /// State.
    pub state: VmState,
    /// vCPUs.
    pub vcpus: [VcpuInfo; VCPU_PER_VM],
    /// Images; their number is the specification's `next_load_info`.
    pub images: ArrayVec<Image, MAX_LOAD_INFO_NUM>,
    /// Resumed from an encrypted image (AM-73, AM-74).
    pub inc_exe: bool,
    /// While the VM is being destroyed: the ownership record from which on the search for its pages goes on.
    pub destroying: Option<u64>,
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

    /// Whether a CPU runs one of its vCPUs.
    pub fn is_active(&self) -> bool {
        self.vcpus.iter().any(|vcpu| vcpu.state == VcpuState::Active)
    }
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
    /// The next address of the window that was never used (AM-53).
    pub next_remap_ptr: u64,
    /// Parts of the window below it that are free again, in order, no two adjacent.
    pub free_windows: ArrayVec<Range, { VMID_COUNT * MAX_LOAD_INFO_NUM }>,
}

impl CoreData {
    /// Nothing used yet.
    pub fn new(window: Range) -> Self {
        Self { next_vmid: 1, recycled: 0, window, next_remap_ptr: window.start, free_windows: ArrayVec::new() }
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
