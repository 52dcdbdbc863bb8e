// SPDX-License-Identifier: GPL-2.0-only
//! Layers: LockOps, LockOpsQ, LockOpsH, Locks (`spec/layers/02-locks.md`).
//!
//! One lock type that owns its object: a shared object is reachable only through the guard, so "the lock is held" is a
//! `&mut`. It is a FIFO ticket lock (LO-1, LO-2; D-69) whose acquire and release orderings are those of
//! `spec/layers/12-wdrf.md` §12.2.
//!
//! The order of `spec/SPEC.md` §0.4 is checked at compile time. Each lock has a rank, and a lock can be taken only with
//! a [`Held`] of a lower rank in hand, which the guard then borrows:
//!
//! ```text
//! SMMU -> VM(v) -> CORE | S2PAGE -> PT(v) | SPT -> FRAMES
//! ```
//!
//! Two locks of one rank can never be held together: that is the specification's "CORE and S2PAGE never", "at most one
//! PT lock", "at most one VM lock". FRAMES is ours: the allocator under all page tables.

use core::marker::PhantomData;
use spin::mutex::{TicketMutex, TicketMutexGuard};

/// Ranks of the locks, lowest first.
pub mod rank {
    /// Nothing is held.
    pub const NONE: u8 = 0;
    /// S2PAGE, the ownership table. CORE will share this rank.
    pub const S2PAGE: u8 = 3;
    /// PT(v), the stage-2 table of one principal. SPT will share this rank.
    pub const PT: u8 = 4;
    /// The allocator of page-table frames.
    pub const FRAMES: u8 = 5;
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

/// An object together with the lock that guards it.
pub struct Lock<T, const RANK: u8>(TicketMutex<T>);

/// The object, while this CPU holds its lock.
pub type Guard<'a, T> = TicketMutexGuard<'a, T>;

impl<T, const RANK: u8> Lock<T, RANK> {
    /// Puts `object` under a lock of its own.
    pub const fn new(object: T) -> Self {
        Self(TicketMutex::new(object))
    }

    /// Waits for the lock (LO-1 `wait_lock`). The guard's drop is LO-2 `pass_lock`. Returned with it is what the holder
    /// needs to take a lock further down the order; taking one out of order does not compile:
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
        (self.0.lock(), Held(PhantomData))
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
