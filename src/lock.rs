// SPDX-License-Identifier: GPL-2.0-only
//! Layers: LockOps, LockOpsQ, LockOpsH, Locks (`spec/layers/02-locks.md`).
//!
//! One lock type that owns its object: a shared object is reachable only through the guard, so "the lock is held" is a
//! `&mut`. It is a FIFO ticket lock (D-69) whose acquire and release orderings are those of `spec/layers/12-wdrf.md`
//! §12.2. The specification's layers add to it what they add in the proofs: LockOps has the tickets, LockOpsQ the
//! bounded queue, LockOpsH the object that is handed from holder to holder, Locks the names and the order.
//!
//! The order of `spec/SPEC.md` §0.4 is checked at compile time. Each lock has a rank, and a lock can be taken only with
//! a [`Held`] of a lower rank in hand, which the guard then borrows:
//!
//! ```text
//! CONTEXT(v, c) -> SMMU -> VM(v) | GIC -> CORE | S2PAGE -> PT(v) | SPT | STREAMS -> FRAMES | QUEUES | CRYPT
//! ```
//!
//! Two locks of one rank can never be held together: that is the specification's "CORE and S2PAGE never", "at most one
//! PT lock", "at most one VM lock". CONTEXT, GIC, STREAMS, FRAMES, QUEUES and CRYPT are ours: the shadow context of a vCPU
//! that does not run (of one that does, the specification's READY→ACTIVE hand-over takes care: [`Lock::own`]), the
//! interrupt controllers, an SMMUv3's stream table, the allocator under all page tables, an SMMUv3's queues, and the key of
//! saved VMs.

use crate::MAX_CPUS;
use crate::sync::{AtomicU32, Ordering, UnsafeCell, spin_loop};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// Ranks of the locks, lowest first.
pub mod rank {
    /// Nothing is held.
    pub const NONE: u8 = 0;
    /// The shadow context of one vCPU.
    pub const CONTEXT: u8 = 1;
    /// SMMU, the owners of context banks.
    pub const SMMU: u8 = 2;
    /// GIC, what the host has told the interrupt controllers. Never held together with VM(v).
    pub const GIC: u8 = 3;
    /// VM(v), the record of one VM.
    pub const VM: u8 = 3;
    /// S2PAGE, the ownership table.
    pub const S2PAGE: u8 = 4;
    /// CORE, the next VM id and the image window. Never held together with S2PAGE.
    pub const CORE: u8 = 4;
    /// PT(v), the stage-2 table of one principal.
    pub const PT: u8 = 5;
    /// SPT, the SMMU's tables. Never held together with PT(v).
    pub const SPT: u8 = 5;
    /// The stream table of one SMMUv3. Never held together with PT(v) or SPT.
    pub const STREAMS: u8 = 5;
    /// The allocator of page-table frames.
    pub const FRAMES: u8 = 6;
    /// The queues of one SMMUv3.
    pub const QUEUES: u8 = 6;
    /// The key of saved VMs, and which of them can be loaded. Never held together with FRAMES.
    pub const CRYPT: u8 = 6;
}

/// Proof that this CPU holds no lock above `RANK`. A trap handler starts with [`Held::nothing`].
#[derive(Debug)]
pub struct Held<'a, const RANK: u8>(PhantomData<&'a mut ()>);

impl Held<'static, { rank::NONE }> {
    /// The start of every lock order. Call it once per entry to Corevisor, at the outermost point.
    pub const fn nothing() -> Self {
        Self(PhantomData)
    }
}

/// An object behind a ticket lock, without a place in the order.
#[derive(Debug)]
struct TicketLock<T> {
    /// The next ticket to be given out.
    ticket: AtomicU32,
    /// The ticket that is served now.
    now: AtomicU32,
    object: UnsafeCell<T>,
}

// SAFETY: the object is reached through a `Guard` only, of which there is one at a time (LO-1), and each holder's
// accesses happen before the next one's (LO-2 releases, LO-1 acquires).
unsafe impl<T: Send> Sync for TicketLock<T> {}

impl<T> TicketLock<T> {
    /// Spec: LO-1. Takes a ticket (AM-12 `incr_ticket`) and waits until it is served (AM-8 `get_now`). What the last
    /// holder did is visible on return (AM-11 `log_hold`, AM-10 `barrier`). Returns the ticket.
    fn wait_lock(&self) -> u32 {
        let mine = self.ticket.fetch_add(1, Ordering::Relaxed);
        while self.now.load(Ordering::Acquire) != mine {
            spin_loop();
        }
        mine
    }

    /// Spec: LO-2. Serves the next ticket (AM-9 `incr_now`), after everything that this holder did (AM-10 `barrier`).
    fn pass_lock(&self) {
        // Only the holder writes `now`.
        let now = self.now.load(Ordering::Relaxed);
        self.now.store(now.wrapping_add(1), Ordering::Release);
    }

    /// Spec: LQ-1. Waits in the queue, in the order of arrival. The queue is bounded: a CPU waits for one ticket of a
    /// lock at a time, so there are never more of them outstanding than CPUs.
    fn wait_qlock(&self) {
        let mine = self.wait_lock();
        let waiting = self.ticket.load(Ordering::Relaxed).wrapping_sub(mine);
        assert!(waiting <= MAX_CPUS as u32, "more tickets of a lock than CPUs");
    }

    /// Spec: LQ-2. Leaves the queue.
    fn pass_qlock(&self) {
        self.pass_lock();
    }

    /// Spec: LH-1. Waits for the lock; the object is then the holder's (AM-1 `acquire_shared`).
    fn wait_hlock(&self) -> Guard<'_, T> {
        self.wait_qlock();
        Guard(self)
    }

    /// Spec: LH-2. Gives the object back (AM-2 to AM-7 `release_*_shared`) and passes the lock on.
    fn pass_hlock(&self) {
        #[cfg(feature = "loom")]
        if !std::thread::panicking() {
            self.object.get(); // the holder's last access, for loom
        }
        self.pass_qlock();
    }
}

/// The object, while this CPU holds its lock. The drop passes the lock on.
#[derive(Debug)]
pub struct Guard<'a, T>(&'a TicketLock<T>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held as long as the guard lives, so nobody else has a reference to the object.
        unsafe { &*self.0.object.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed mutably.
        unsafe { &mut *self.0.object.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.0.pass_hlock();
    }
}

/// An object that is this CPU's by more than its lock ([`Lock::own`]).
#[derive(Debug)]
pub struct Owned<'a, T>(&'a UnsafeCell<T>);

impl<T> Deref for Owned<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the word of who called `Lock::own`.
        unsafe { &*self.0.get() }
    }
}

impl<T> DerefMut for Owned<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and borrowed mutably.
        unsafe { &mut *self.0.get() }
    }
}

/// An object together with the lock that guards it, of rank `RANK`.
#[derive(Debug)]
pub struct Lock<T, const RANK: u8>(TicketLock<T>);

impl<T, const RANK: u8> Lock<T, RANK> {
    /// Puts `object` under a lock of its own.
    #[cfg(not(any(feature = "loom", feature = "shuttle")))]
    pub const fn new(object: T) -> Self {
        Self(TicketLock { ticket: AtomicU32::new(0), now: AtomicU32::new(0), object: UnsafeCell::new(object) })
    }

    /// Puts `object` under a lock of its own.
    #[cfg(any(feature = "loom", feature = "shuttle"))]
    pub fn new(object: T) -> Self {
        Self(TicketLock { ticket: AtomicU32::new(0), now: AtomicU32::new(0), object: UnsafeCell::new(object) })
    }

    /// Waits for the lock. Returned with the guard is what the holder needs to take a lock further down the order;
    /// taking one out of order does not compile:
    ///
    /// ```ignore
    /// let table = Lock::<u32, { rank::PT }>::new(0);
    /// let owners = Lock::<u32, { rank::S2PAGE }>::new(0);
    /// let mut nothing = Held::nothing();
    /// let (_table, mut held) = table.lock(&mut nothing);
    /// let _ = owners.lock(&mut held); // S2PAGE after PT
    /// ```
    pub fn lock<'s, const OUTER: u8>(&'s self, _outer: &'s mut Held<'_, OUTER>) -> (Guard<'s, T>, Held<'s, RANK>) {
        const { assert!(OUTER < RANK, "lock taken out of order: see spec/SPEC.md section 0.4") }
        (self.0.wait_hlock(), Held(PhantomData))
    }

    /// The object, which needs no lock now. In the order it counts as if its lock was taken.
    ///
    /// # Safety
    /// As long as the result lives nobody else accesses the object: whoever takes its lock finds out first, in another way,
    /// that it is not theirs.
    pub unsafe fn own<'s, const OUTER: u8>(
        &'s self,
        _outer: &'s mut Held<'_, OUTER>,
    ) -> (Owned<'s, T>, Held<'s, RANK>) {
        const { assert!(OUTER < RANK, "lock taken out of order: see spec/SPEC.md section 0.4") }
        (Owned(&self.0.object), Held(PhantomData))
    }

    /// How often the lock was taken, for tests that count.
    #[cfg(test)]
    pub fn times_taken(&self) -> u32 {
        self.0.ticket.load(Ordering::Relaxed)
    }
}

/// For the tests under loom, which see what nobody else may.
#[cfg(feature = "loom")]
impl<T, const RANK: u8> Lock<T, RANK> {
    /// A lock that was taken and passed on `times` times.
    pub fn used(object: T, times: u32) -> Self {
        Self(TicketLock { ticket: AtomicU32::new(times), now: AtomicU32::new(times), object: UnsafeCell::new(object) })
    }

    /// Tickets given out so far.
    pub fn tickets(&self) -> u32 {
        self.0.ticket.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::vec::Vec;

    #[test]
    fn guards_exclude_each_other() {
        let lock = Arc::new(Lock::<u64, { rank::PT }>::new(0));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let lock = lock.clone();
                std::thread::spawn(move || {
                    for _ in 0..25 {
                        let mut held = Held::nothing();
                        let (mut n, _) = lock.lock(&mut held);
                        let seen = *n;
                        std::thread::yield_now();
                        *n = seen + 1;
                    }
                })
            })
            .collect();
        for t in threads {
            t.join().unwrap();
        }
        let mut held = Held::nothing();
        assert_eq!(*lock.lock(&mut held).0, 100);
    }

    #[test]
    fn ordered_nesting_compiles() {
        let owners = Lock::<u32, { rank::S2PAGE }>::new(1);
        let table = Lock::<u32, { rank::PT }>::new(2);
        let mut nothing = Held::nothing();
        let (o, mut held) = owners.lock(&mut nothing);
        let (t, _) = table.lock(&mut held);
        assert_eq!(*o + *t, 3);
    }
}
