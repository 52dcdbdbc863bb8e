// SPDX-License-Identifier: GPL-2.0-only
//! Counters behind the host call STATS.

use crate::MAX_CPUS;
use crate::abi::stat;
use core::sync::atomic::{AtomicU64, Ordering};

/// One CPU's counters, on cache lines of their own.
#[repr(align(128))]
struct PerCpu([AtomicU64; stat::COUNTERS]);

/// Counters by CPU. A CPU writes its own only, so that counting costs a load and a store.
pub struct Stats([PerCpu; MAX_CPUS]);

impl Stats {
    /// All zero.
    pub const fn new() -> Self {
        Self([const { PerCpu([const { AtomicU64::new(0) }; stat::COUNTERS]) }; MAX_CPUS])
    }

    /// Adds one to `counter` (below [`stat::COUNTERS`]) of `cpu`, which is the CPU that runs this.
    pub fn count(&self, cpu: usize, counter: u64) {
        let c = &self.0[cpu].0[counter as usize];
        c.store(c.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The sum of `counter` over all CPUs.
    pub fn sum(&self, counter: u64) -> u64 {
        self.0.iter().map(|cpu| cpu.0[counter as usize].load(Ordering::Relaxed)).sum()
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}
