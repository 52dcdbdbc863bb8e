// SPDX-License-Identifier: GPL-2.0-only
//! The machine that the CPUs share.

use crate::world::{Core, RAM, boot, verified_vm};
use corevisor::addr::{HOSTVISOR, Ipa, PMD_SIZE, Pa, Vmid};
use corevisor::lock::Held;
use corevisor::memory::{Count, S2Page};
use corevisor::npt::Level;
use corevisor::vm::VmFlags;

/// Two VMs. Their numbers are such that none that is registered gets them.
pub const VMS: [Vmid; 2] = [Vmid::new(14).unwrap(), Vmid::new(15).unwrap()];
/// From here on are pages that principals fight for.
pub const FREE: u64 = RAM.start + PMD_SIZE;
/// A block of 2 MiB that they fight for as a whole.
pub const BLOCK: u64 = RAM.start + 2 * PMD_SIZE;

/// Boots, with [`VMS`] ready to run, and others that are being built.
pub fn boot_with_vms() -> Core {
    let core = boot();
    for v in VMS {
        verified_vm(&core, v, 2);
    }
    for _ in 0..2 {
        core.register_kvm(VmFlags::empty(), &mut Held::nothing()).unwrap();
    }
    core
}

/// Makes a page of the host `v`'s, but lets go of the lock between the check and the change: a fault that must be found.
pub fn take_carelessly(core: &Core, v: Vmid) {
    let (pfn, gfn) = (Pa::new(FREE).unwrap().frame(), Ipa::new(0).unwrap().frame());
    let mut nothing = Held::nothing();
    let owner = core.acquire_lock_s2page(&mut nothing).0.get_pfn_owner(pfn);
    if owner == Some(HOSTVISOR) {
        {
            let (mut s2page, mut held) = core.acquire_lock_s2page(&mut nothing);
            core.clear_pfn_host(pfn, &mut held).unwrap();
            s2page.set_record(pfn, S2Page::new(v, Count::Shares(0), Some(gfn.as_u64())));
        }
        core.map_pfn_vm(v, gfn.base(), pfn.base(), Level::L3, &mut nothing).unwrap();
    }
}
