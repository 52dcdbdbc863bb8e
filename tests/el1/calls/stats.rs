// SPDX-License-Identifier: GPL-2.0-only
//! The counters.

use crate::rt::call::{self, CONDUITS, simple, stat, with_canaries};
use crate::rt::fault::{self, Access, assert_refused};
use crate::rt::{PAGE, machine, tree};
use corevisor::abi::{self, HOST_CALL_BASE, host_call, stat as id};

const STATS: u64 = (HOST_CALL_BASE + host_call::STATS) as u64;
const VERSION: u64 = (HOST_CALL_BASE + host_call::VERSION) as u64;

pub fn every_counter() {
    for counter in 0..id::COUNT {
        for conduit in CONDUITS {
            assert_eq!(with_canaries(conduit, STATS, &[counter], 2)[0], 0, "counter {counter}");
        }
    }
}

pub fn no_counter() {
    for counter in [id::COUNT, id::COUNT + 1, 1 << 8, 1 << 32, 1 << 63, u64::MAX] {
        for conduit in CONDUITS {
            assert_eq!(simple(conduit, STATS, &[counter]), abi::INVALID_PARAMETER, "counter {counter:#x}");
        }
    }
}

pub fn machine_in_numbers() {
    let pages = |ranges: &mut dyn Iterator<Item = core::ops::Range<u64>>| -> u64 {
        ranges.map(|range| (range.end - range.start) / PAGE).sum()
    };
    assert_eq!(stat(id::RAM_PAGES), pages(&mut tree::ram()));
    assert_eq!(stat(id::COREVISOR_PAGES), pages(&mut tree::corevisor()));
    assert!(stat(id::COREVISOR_PAGES) > 0);
    assert_eq!(stat(id::CPUS_ON), 1);
    assert!((2..stat(id::COREVISOR_PAGES)).contains(&stat(id::HOST_TABLE_PAGES)));
    assert_eq!(stat(id::HOST_FAULT_RAM), 0);
    assert_eq!(stat(id::TRAP_SERROR), 0);
    assert_eq!(stat(id::TRAP_OTHER), 0);
}

/// What `f` adds to each counter; the reading itself is left out. It is by SMC.
fn counted(f: impl FnOnce()) -> [u64; id::COUNTERS] {
    let before: [u64; id::COUNTERS] = core::array::from_fn(|counter| stat(counter as u64));
    f();
    let mut added: [u64; id::COUNTERS] = core::array::from_fn(|counter| stat(counter as u64) - before[counter]);
    // Between the two readings of a counter there are as many readings as there are counters.
    added[id::TRAP_SMC as usize] -= id::COUNTERS as u64;
    added
}

/// Counters that have grown by so much, and no others.
fn only(grown: &[(u64, u64)]) -> [u64; id::COUNTERS] {
    let mut all = [0; id::COUNTERS];
    for &(counter, by) in grown {
        all[counter as usize] = by;
    }
    all
}

pub fn calls_are_counted() {
    assert_eq!(counted(|| ()), only(&[]));
    for n in [1, 17, 1000] {
        let hvcs = counted(|| (0..n).for_each(|_| assert!(call::hvc(VERSION as u32, &[]) > 0)));
        assert_eq!(hvcs, only(&[(id::TRAP_HVC, n)]));
        let smcs = counted(|| (0..n).for_each(|_| assert!(simple(call::Conduit::Smc, VERSION, &[]) > 0)));
        assert_eq!(smcs, only(&[(id::TRAP_SMC, n)]));
    }
}

pub fn refused_calls_are_counted() {
    let unknown = counted(|| assert_eq!(call::hvc(0x8600_1234, &[]), abi::NOT_SUPPORTED));
    assert_eq!(unknown, only(&[(id::TRAP_HVC, 1), (id::REFUSED_CALL, 1)]));
    let out_of_range = counted(|| assert_eq!(call::host(host_call::STATS, &[u64::MAX]), abi::INVALID_PARAMETER));
    assert_eq!(out_of_range, only(&[(id::TRAP_HVC, 1), (id::REFUSED_CALL, 1)]));
    let no_vm = counted(|| assert_eq!(call::host(host_call::VCPU_RUN, &[1, 0]), abi::DENIED));
    assert_eq!(no_vm, only(&[(id::TRAP_HVC, 1), (id::REFUSED_CALL, 1)]));
    let immediate = counted(|| assert_eq!(simple(call::Conduit::Smc1, VERSION, &[]), abi::NOT_SUPPORTED));
    assert_eq!(immediate, only(&[(id::TRAP_SMC, 1), (id::REFUSED_CALL, 1)]));
    let psci = counted(|| assert_eq!(call::hvc(0x8400_001F, &[]), abi::NOT_SUPPORTED));
    assert_eq!(psci, only(&[(id::TRAP_HVC, 1), (id::REFUSED_CALL, 1)]));
}

pub fn refused_accesses_are_counted() {
    let page = tree::corevisor().next().expect("Corevisor has memory").start;
    let reads = counted(|| (0..5).for_each(|_| assert_refused(Access::Read, page)));
    assert_eq!(reads, only(&[(id::TRAP_DATA_ABORT, 5), (id::REFUSED_ACCESS, 5)]));
    let fetches = counted(|| (0..3).for_each(|_| assert_refused(Access::Branch, page)));
    assert_eq!(fetches, only(&[(id::TRAP_INSTRUCTION_ABORT, 3), (id::REFUSED_ACCESS, 3)]));
    let sysreg = counted(|| assert_ne!(machine::read!("actlr_el1"), 0xBAD));
    assert_eq!(sysreg, only(&[(id::TRAP_SYSREG, 1)]));
    // EL1's own exceptions do not come to EL2.
    let own = counted(|| fault::assert_undefined(&fault::undefined_with_pstate(0), "udf", fault::Vector::El1h));
    assert_eq!(own, only(&[]));
}
