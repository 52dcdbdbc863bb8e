// SPDX-License-Identifier: GPL-2.0-only
//! The life of a VM.

mod create;
mod crypt;
mod destroy;
mod dispatch;
mod images;
mod power;
mod signed;
mod windows;

use super::{VmFlags, VmInfo, VmState};
use crate::addr::{PAGE_SIZE, Pfn, VcpuId, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::memory::Count;
use crate::mmio::SmmuConfig;
use crate::vcpu::ShadowContext;
use crate::world::{self, Core, GIB, MIB, World, ipa, pfn, range};
use std::vec;

/// A 2 MiB block of the host, and of no VM so far.
const BLOCK: u64 = GIB + 8 * MIB;
/// A page that a vCPU shares with the host.
const RUN_PAGE: u64 = GIB + MIB;
/// Guest address of an image.
const GUEST: u64 = 0x8000_0000;

fn boot() -> Core {
    let smmus = vec![SmmuConfig::new(range(0x0905_0000, 0x1_0000), 8)];
    World { ram: vec![range(GIB, 128 * MIB)], smmus, ..World::default() }.boot()
}

fn vm(id: u64) -> Vmid {
    Vmid::new_vm(id).unwrap()
}

fn vcpu(id: u64) -> VcpuId {
    VcpuId::new(id).unwrap()
}

/// Looks at, or changes, the record of `v`.
fn info<R>(core: &Core, v: Vmid, f: impl FnOnce(&mut VmInfo) -> R) -> R {
    f(&mut core.acquire_lock_vm(v, &mut Held::nothing()).0)
}

/// Looks at, or changes, a shadow context.
fn context<R>(core: &Core, v: Vmid, vcpu: VcpuId, f: impl FnOnce(&mut ShadowContext) -> R) -> R {
    f(&mut core.context(v, vcpu, &mut Held::nothing()).unwrap().0)
}

fn register(core: &Core) -> Vmid {
    core.register_kvm(VmFlags::empty(), &mut Held::nothing()).unwrap()
}

fn set_count(core: &Core, address: u64, count: Count) {
    core.acquire_lock_s2page(&mut Held::nothing()).0.set_pfn_count(pfn(address), count);
}

/// Announces an image, and puts its pages, which begin at `address`, into the window.
fn add_image(core: &Core, v: Vmid, guest: u64, address: u64, size: u64) -> usize {
    let held = &mut Held::nothing();
    let image = core.set_boot_info(v, ipa(guest), size, [0; 64], held).unwrap();
    for at in (address..address + size).step_by(PAGE_SIZE as usize) {
        core.remap_vm_image(v, pfn(at), image, held).unwrap();
    }
    image
}

/// Verifies the images of `v`, however many calls that takes.
fn verify(core: &Core, v: Vmid) {
    while core.verify_and_load_images(v, &mut Held::nothing()).unwrap() > 0 {}
}

/// Destroys `v`, however many calls that takes. Returns what was left after each.
fn destroy(core: &Core, v: Vmid) -> vec::Vec<u64> {
    let mut left = vec![];
    while left.last() != Some(&0) {
        left.push(core.destroy_vm(v, &mut Held::nothing()).unwrap());
        core.machine().check();
        assert!(left.len() < 10_000, "no end: {left:?}");
    }
    left
}

/// A VM with one image of `size` bytes at [`GUEST`], from [`BLOCK`] on, and one vCPU. It is VERIFIED.
fn verified(core: &Core, size: u64) -> Vmid {
    let v = register(core);
    core.register_vcpu(v, vcpu(0), pfn(RUN_PAGE), &mut Held::nothing()).unwrap();
    add_image(core, v, GUEST, BLOCK, size);
    verify(core, v);
    v
}

/// Fills the page at `address` with `byte`.
fn fill(core: &Core, address: u64, byte: u8) {
    core.machine().write_page(pfn(address), &[byte; PAGE_SIZE as usize]);
}

fn page(core: &Core, page: Pfn) -> [u8; PAGE_SIZE as usize] {
    let mut bytes = [0; PAGE_SIZE as usize];
    core.machine().read_page(page, &mut bytes);
    bytes
}

/// Asserts that `what`, called with the core, is refused with `why`, and has changed nothing.
#[track_caller]
fn assert_refused<R: PartialEq + core::fmt::Debug>(
    core: &Core,
    why: crate::refused::Refused,
    what: impl FnOnce(&Core) -> Result<R, crate::refused::Refused>,
) {
    let before = world::snapshot(core);
    let contexts = all_contexts(core);
    assert_eq!(what(core), Err(why));
    assert_eq!(world::snapshot(core), before);
    assert!(all_contexts(core) == contexts, "a context has changed");
}

fn all_contexts(core: &Core) -> vec::Vec<ShadowContext> {
    let of = |v| (0..8).map(move |c| (vm(v), vcpu(c)));
    (1..16).flat_map(of).map(|(v, c)| context(core, v, c, |context| context.clone())).collect()
}

/// Another CPU runs `vcpu` of `v`, as CS-4 lets it.
fn run(core: &Core, v: Vmid, vcpu: VcpuId) {
    core.set_vcpu_active(v, vcpu, &mut Held::nothing()).unwrap();
    info(core, v, |info| info.note_run(0));
}

fn stop(core: &Core, v: Vmid, vcpu: VcpuId) {
    core.set_vcpu_inactive(v, vcpu, &mut Held::nothing()).unwrap();
}

/// All states of VMs that exist, and of one that is being destroyed, put into its record.
fn each_state(core: &Core, v: Vmid, mut f: impl FnMut(Option<VmState>)) {
    let saved = info(core, v, |info| info.clone());
    for state in [VmState::Unused, VmState::Ready, VmState::Verified, VmState::Poweroff] {
        info(core, v, |info| info.state = state);
        f(Some(state));
        info(core, v, |info| *info = saved.clone());
    }
    info(core, v, |info| {
        info.state = VmState::Poweroff;
        info.destroying = Some(super::Teardown { recycle: true, next: Some(0) });
    });
    f(None);
    info(core, v, |info| *info = saved.clone());
}
