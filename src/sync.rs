// SPDX-License-Identifier: GPL-2.0-only
//! The atomics and the cell under the locks, or those of a model checker that watches them: loom, which tries every
//! order of accesses that the memory model allows, and shuttle, which tries orders of threads at random.

#[cfg(feature = "loom")]
mod checked {
    use core::cell::Cell;
    pub use loom::sync::atomic::Ordering;

    /// How often a thread may look in vain in one execution.
    const PATIENCE: u32 = 3;

    std::thread_local! {
        static WEAKENED: Cell<bool> = const { Cell::new(false) };
    }

    loom::thread_local! {
        static SPINS: Cell<u32> = Cell::new(0);
    }

    /// Lets the others run. A look in vain has no effect, so what follows many of them also follows few: nothing new is
    /// to be found where a thread runs out of patience, and there is no end of such executions.
    pub fn spin_loop() {
        let spins = SPINS.with(|spins| spins.replace(spins.get() + 1));
        if spins >= PATIENCE {
            loom::skip_branch();
        }
        loom::hint::spin_loop();
    }

    /// Whether the locks' loads and stores order nothing from now on: a fault that a test must find.
    pub fn weaken(weakened: bool) {
        WEAKENED.set(weakened);
    }

    fn effective(order: Ordering) -> Ordering {
        if WEAKENED.get() { Ordering::Relaxed } else { order }
    }

    /// An atomic whose every legal value loom tries.
    #[derive(Debug)]
    pub struct AtomicU32(loom::sync::atomic::AtomicU32);

    impl AtomicU32 {
        /// An atomic that is `value`.
        pub fn new(value: u32) -> Self {
            Self(loom::sync::atomic::AtomicU32::new(value))
        }

        /// Reads it.
        pub fn load(&self, order: Ordering) -> u32 {
            self.0.load(effective(order))
        }

        /// Writes it.
        pub fn store(&self, value: u32, order: Ordering) {
            self.0.store(value, effective(order));
        }

        /// Adds to it; returns what it was.
        pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_add(value, order)
        }
    }

    /// A cell whose accesses loom checks for races.
    #[derive(Debug)]
    pub struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell with `object` in it.
        pub fn new(object: T) -> Self {
            Self(loom::cell::UnsafeCell::new(object))
        }

        /// A pointer to the object. Counts as a write to it.
        pub fn get(&self) -> *mut T {
            self.0.with_mut(|object| object)
        }
    }
}

#[cfg(not(feature = "loom"))]
mod checked {
    pub use core::cell::UnsafeCell;
    #[cfg(not(feature = "shuttle"))]
    pub use core::{
        hint::spin_loop,
        sync::atomic::{AtomicU32, Ordering},
    };
    #[cfg(feature = "shuttle")]
    pub use shuttle::{
        hint::spin_loop,
        sync::atomic::{AtomicU32, Ordering},
    };
}

#[cfg(feature = "loom")]
pub use checked::weaken;
pub use checked::{AtomicU32, Ordering, UnsafeCell, spin_loop};
