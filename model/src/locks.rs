// SPDX-License-Identifier: GPL-2.0-only
//! Layer: Locks.

use crate::constants::is_vmid;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Takes the lock `id`, unless halted.
fn acquire(d: &mut RData, id: u32) -> Spec {
    if d.halt { Some(()) } else { d.enter(id) }
}

/// Releases the lock `id`, unless halted: a lock that was held at a halt stays held.
fn release(d: &mut RData, id: u32) -> Spec {
    if d.halt { Some(()) } else { d.leave(id) }
}

/// Spec: LK-1 (high).
pub fn acquire_lock_pt(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    acquire(d, lock_id::pt(vmid))
}

/// Spec: LK-2 (high).
pub fn acquire_lock_spt(d: &mut RData) -> Spec {
    acquire(d, lock_id::SPT)
}

/// Spec: LK-3 (high).
pub fn acquire_lock_s2page(d: &mut RData) -> Spec {
    acquire(d, lock_id::S2PAGE)
}

/// Spec: LK-4 (high).
pub fn acquire_lock_core(d: &mut RData) -> Spec {
    acquire(d, lock_id::CORE)
}

/// Spec: LK-5 (high).
pub fn acquire_lock_vm(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    acquire(d, lock_id::vm(vmid))
}

/// Spec: LK-6 (high).
pub fn acquire_lock_smmu(d: &mut RData) -> Spec {
    acquire(d, lock_id::SMMU)
}

/// Spec: LK-7 (high).
pub fn release_lock_pt(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    release(d, lock_id::pt(vmid))
}

/// Spec: LK-8 (high).
pub fn release_lock_spt(d: &mut RData) -> Spec {
    release(d, lock_id::SPT)
}

/// Spec: LK-9 (high).
pub fn release_lock_s2page(d: &mut RData) -> Spec {
    release(d, lock_id::S2PAGE)
}

/// Spec: LK-10 (high).
pub fn release_lock_core(d: &mut RData) -> Spec {
    release(d, lock_id::CORE)
}

/// Spec: LK-11 (high).
pub fn release_lock_vm(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    release(d, lock_id::vm(vmid))
}

/// Spec: LK-12 (high).
pub fn release_lock_smmu(d: &mut RData) -> Spec {
    release(d, lock_id::SMMU)
}

/// The same as calls into the layer below: its lock numbers are one less (D-70), and it does not look at `halt`.
pub mod low {
    use crate::abstract_machine::lock_index;
    use crate::abstract_machine::{
        acquire_shared, release_shared_core, release_shared_pt, release_shared_s2page, release_shared_smmu,
        release_shared_spt, release_shared_vm,
    };
    use crate::constants::is_vmid;
    use crate::lock_ops::{pass_hlock, wait_hlock};
    use crate::rdata::RData;
    use crate::{Spec, rely};

    /// What LK-1 to LK-6 (low) have in common: `acquire_lock_spec0`.
    pub fn acquire_lock(d: &mut RData, lk: u32) -> Spec {
        wait_hlock(d, lk)?;
        acquire_shared(d, lk)
    }

    /// Spec: LK-1 (low).
    pub fn acquire_lock_pt(d: &mut RData, vmid: u32) -> Spec {
        rely(is_vmid(vmid))?;
        acquire_lock(d, lock_index::pt(vmid))
    }

    /// Spec: LK-2 (low).
    pub fn acquire_lock_spt(d: &mut RData) -> Spec {
        acquire_lock(d, lock_index::SPT)
    }

    /// Spec: LK-3 (low).
    pub fn acquire_lock_s2page(d: &mut RData) -> Spec {
        acquire_lock(d, lock_index::S2PAGE)
    }

    /// Spec: LK-4 (low).
    pub fn acquire_lock_core(d: &mut RData) -> Spec {
        acquire_lock(d, lock_index::CORE)
    }

    /// Spec: LK-5 (low).
    pub fn acquire_lock_vm(d: &mut RData, vmid: u32) -> Spec {
        rely(is_vmid(vmid))?;
        acquire_lock(d, lock_index::vm(vmid))
    }

    /// Spec: LK-6 (low).
    pub fn acquire_lock_smmu(d: &mut RData) -> Spec {
        acquire_lock(d, lock_index::SMMU)
    }

    /// Spec: LK-7 (low).
    pub fn release_lock_pt(d: &mut RData, vmid: u32) -> Spec {
        release_shared_pt(d, vmid)?;
        pass_hlock(d, lock_index::pt(vmid))
    }

    /// Spec: LK-8 (low).
    pub fn release_lock_spt(d: &mut RData) -> Spec {
        release_shared_spt(d)?;
        pass_hlock(d, lock_index::SPT)
    }

    /// Spec: LK-9 (low).
    pub fn release_lock_s2page(d: &mut RData) -> Spec {
        release_shared_s2page(d)?;
        pass_hlock(d, lock_index::S2PAGE)
    }

    /// Spec: LK-10 (low).
    pub fn release_lock_core(d: &mut RData) -> Spec {
        release_shared_core(d)?;
        pass_hlock(d, lock_index::CORE)
    }

    /// Spec: LK-11 (low).
    pub fn release_lock_vm(d: &mut RData, vmid: u32) -> Spec {
        release_shared_vm(d, vmid)?;
        pass_hlock(d, lock_index::vm(vmid))
    }

    /// Spec: LK-12 (low).
    pub fn release_lock_smmu(d: &mut RData) -> Spec {
        release_shared_smmu(d)?;
        pass_hlock(d, lock_index::SMMU)
    }
}
