// SPDX-License-Identifier: GPL-2.0-only
//! The atomics and the cell under the locks, or those of a model checker that watches them: loom, which tries every
//! order of accesses that the memory model allows, and shuttle, which tries orders of threads at random.

#[cfg(feature = "loom")]
mod checked {
    pub use loom::hint::spin_loop;
    pub use loom::sync::atomic::{AtomicU32, Ordering};

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

pub use checked::{AtomicU32, Ordering, UnsafeCell, spin_loop};
