// SPDX-License-Identifier: GPL-2.0-only
//! Synchronisation primitives. They do not look at `halt`, and number the locks from 0, one less than the layers above
//! (D-70): `release_shared_core` looks at identity 0, which above is the history of flat memory.
//!
//! AM-2 to AM-7 go by the definitions' own names, which the vectors use, too: `release_shared_pt`, where the restated
//! specification has `release_pt_shared`.

use crate::constants::is_vmid;
use crate::history::Event;
use crate::rdata::{Barrier, Own, RData};
use crate::{Spec, rely};

/// Low-level numbers of the locks.
pub mod lock_index {
    /// Core data.
    pub const CORE: u32 = 0;
    /// Ownership records.
    pub const S2PAGE: u32 = 1;
    /// SMMU tables.
    pub const SPT: u32 = 2;
    /// SMMU bank owners.
    pub const SMMU: u32 = 3;

    /// Table of `vmid`.
    pub fn pt(vmid: u32) -> u32 {
        4 + vmid
    }

    /// Record of `vmid`.
    pub fn vm(vmid: u32) -> u32 {
        21 + vmid
    }
}

/// Relies on the barrier state *Valid*.
pub(crate) fn rely_valid(d: &RData) -> Spec {
    rely(d.bars == Barrier::Valid)
}

/// Spec: AM-1.
pub fn acquire_shared(d: &mut RData, lk: u32) -> Spec {
    rely_valid(d)?;
    rely(d.locks.get(&lk) == Some(&Own::Held))?;
    rely(d.history(lk).is_held_by(d.curid))?;
    d.log(lk, Event::Shared);
    d.locks.insert(lk, Own::Pulled);
    d.tstate = 0;
    Some(())
}

/// Publishes the object of the lock with number `lk`.
fn release_shared(d: &mut RData, lk: u32) -> Spec {
    rely_valid(d)?;
    d.rely_held(lk)?;
    d.log(lk, Event::Shared);
    d.locks.insert(lk, Own::Held);
    d.tstate = 1;
    Some(())
}

/// Spec: AM-2.
pub fn release_shared_pt(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    release_shared(d, lock_index::pt(vmid))
}

/// Spec: AM-3.
pub fn release_shared_spt(d: &mut RData) -> Spec {
    release_shared(d, lock_index::SPT)
}

/// Spec: AM-4.
pub fn release_shared_s2page(d: &mut RData) -> Spec {
    release_shared(d, lock_index::S2PAGE)
}

/// Spec: AM-5.
pub fn release_shared_core(d: &mut RData) -> Spec {
    release_shared(d, lock_index::CORE)
}

/// Spec: AM-6.
pub fn release_shared_vm(d: &mut RData, vmid: u32) -> Spec {
    rely(is_vmid(vmid))?;
    release_shared(d, lock_index::vm(vmid))
}

/// Spec: AM-7.
pub fn release_shared_smmu(d: &mut RData) -> Spec {
    release_shared(d, lock_index::SMMU)
}

/// Spec: AM-8.
pub fn get_now(d: &mut RData, lk: u32) -> Spec<u32> {
    rely_valid(d)?;
    let (_, now) = d.history(lk).tickets()?;
    d.log(lk, Event::GetNow);
    Some(now)
}

/// Spec: AM-9.
pub fn incr_now(d: &mut RData, lk: u32) -> Spec {
    rely(d.bars == Barrier::Barriered)?;
    d.log(lk, Event::IncNow);
    d.bars = Barrier::Valid;
    Some(())
}

/// Spec: AM-10.
pub fn barrier(d: &mut RData) -> Spec {
    d.bars = match d.bars {
        Barrier::Valid => Barrier::Barriered,
        Barrier::Needed => Barrier::Valid,
        Barrier::Barriered => return None,
    };
    Some(())
}

/// Spec: AM-11.
pub fn log_hold(d: &mut RData, lk: u32) -> Spec {
    rely_valid(d)?;
    d.log(lk, Event::HoldLock);
    d.bars = Barrier::Needed;
    Some(())
}

/// Spec: AM-12. The bound only bounds other CPUs' waiting.
pub fn incr_ticket(d: &mut RData, _bound: u32, lk: u32) -> Spec<u32> {
    rely_valid(d)?;
    let (ticket, _) = d.history(lk).tickets()?;
    d.log(lk, Event::IncTicket);
    Some(ticket)
}
