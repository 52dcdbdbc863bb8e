// SPDX-License-Identifier: GPL-2.0-only
//! Layers: LockOps, LockOpsQ, LockOpsH: three views of one ticket lock. Like the primitives, they do not look at `halt`.

use crate::history::{Event, WAIT};
use crate::rdata::{Own, RData};
use crate::{Spec, rely};

/// Draws a ticket and waits until it is served. With nobody else about, the wait ends at once or never.
fn wait(d: &mut RData, lk: u32) -> Spec {
    let (ticket, now) = d.history(lk).tickets()?;
    rely(ticket == now)?;
    d.log(lk, Event::IncTicket);
    d.log(lk, Event::GetNow);
    d.log(lk, Event::HoldLock);
    Some(())
}

/// Spec: LO-1 (high).
pub fn wait_lock(d: &mut RData, lk: u32) -> Spec {
    wait(d, lk)
}

/// Spec: LO-2 (high). Asks nothing, not even that the lock is held.
pub fn pass_lock(d: &mut RData, lk: u32) -> Spec {
    d.log(lk, Event::IncNow);
    Some(())
}

/// Spec: LQ-1 (high).
pub fn wait_qlock(d: &mut RData, lk: u32) -> Spec {
    rely(!d.locks.contains_key(&lk))?;
    wait(d, lk)?;
    d.locks.insert(lk, Own::Held);
    Some(())
}

/// Spec: LQ-2 (high).
pub fn pass_qlock(d: &mut RData, lk: u32) -> Spec {
    rely(d.locks.get(&lk) == Some(&Own::Held))?;
    d.log(lk, Event::IncNow);
    d.locks.remove(&lk);
    Some(())
}

/// Spec: LH-1 (high).
pub fn wait_hlock(d: &mut RData, lk: u32) -> Spec {
    d.rely_free(lk)?;
    d.log(lk, WAIT);
    d.locks.insert(lk, Own::Held);
    Some(())
}

/// Spec: LH-2 (high).
pub fn pass_hlock(d: &mut RData, lk: u32) -> Spec {
    rely(d.locks.get(&lk) == Some(&Own::Held))?;
    d.log(lk, Event::RelLock);
    d.locks.remove(&lk);
    Some(())
}

/// The same as calls into the layer below.
pub mod low {
    use super::Spec;
    use crate::abstract_machine::{barrier, get_now, incr_now, incr_ticket, log_hold};
    use crate::rdata::RData;
    use crate::rely;

    /// Spec: LO-1 (low, `wait_lock_spec_wraparound`).
    pub fn wait_lock(d: &mut RData, lk: u32) -> Spec {
        let ticket = incr_ticket(d, crate::constants::model_only::LOCAL_LOCK_BOUND, lk)?;
        let now = get_now(d, lk)?;
        rely(ticket == now)?;
        log_hold(d, lk)?;
        barrier(d)
    }

    /// Spec: LO-2 (low).
    pub fn pass_lock(d: &mut RData, lk: u32) -> Spec {
        barrier(d)?;
        incr_now(d, lk)
    }

    /// Spec: LQ-1 (low).
    pub fn wait_qlock(d: &mut RData, lk: u32) -> Spec {
        super::wait_lock(d, lk)
    }

    /// Spec: LQ-2 (low).
    pub fn pass_qlock(d: &mut RData, lk: u32) -> Spec {
        super::pass_lock(d, lk)
    }

    /// Spec: LH-1 (low).
    pub fn wait_hlock(d: &mut RData, lk: u32) -> Spec {
        super::wait_qlock(d, lk)
    }

    /// Spec: LH-2 (low).
    pub fn pass_hlock(d: &mut RData, lk: u32) -> Spec {
        super::pass_qlock(d, lk)
    }
}
