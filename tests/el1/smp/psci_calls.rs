// SPDX-License-Identifier: GPL-2.0-only
//! PSCI: what it says of itself, and what it refuses.

use crate::rt::call::{CONDUITS, psci, simple, stat, test_call};
use crate::rt::cpu::{self, entry, mpidr};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::{PAGE, call, console, machine, tree};
use crate::say;
use corevisor::abi::stat as id;

/// A PSCI call by both conduits, which must agree.
pub fn by_both(id: u32, args: [u64; 3]) -> i64 {
    let [hvc, smc] = CONDUITS.map(|conduit| simple(conduit, id.into(), &args));
    assert_eq!(hvc, smc, "{id:#x} {args:x?}");
    hvc
}

pub fn four_cpus() {
    assert_eq!(tree::cpus(), 4, "this payload is for four CPUs");
    assert_eq!(stat(id::CPUS_ON), 1);
}

pub fn psci_version_and_features() {
    assert_eq!(by_both(psci::VERSION, [0; 3]), 0x1_0001);
    let supported = [
        psci::VERSION,
        psci::CPU_SUSPEND_32,
        psci::CPU_SUSPEND_64,
        psci::CPU_OFF,
        psci::CPU_ON_32,
        psci::CPU_ON_64,
        psci::AFFINITY_INFO_32,
        psci::AFFINITY_INFO_64,
        psci::MIGRATE_INFO_TYPE,
        psci::SYSTEM_OFF,
        psci::SYSTEM_RESET,
        psci::FEATURES,
        0x8000_0000, // SMCCC_VERSION
    ];
    for function in supported {
        assert_eq!(by_both(psci::FEATURES, [function.into(), 0, 0]), 0, "{function:#x}");
    }
    let not =
        [psci::MIGRATE, 0xC400_0005, 0x8400_0013, 0x8400_0014, 0xC400_0012, 0x8400_001F, 0x8000_0001, 0, u32::MAX];
    for function in not {
        let got = by_both(psci::FEATURES, [function.into(), 0, 0]);
        assert_eq!(got, psci::NOT_SUPPORTED, "{function:#x}");
    }
    const NO_TRUSTED_OS: i64 = 2;
    assert_eq!(by_both(psci::MIGRATE_INFO_TYPE, [0; 3]), NO_TRUSTED_OS);
}

/// Migration, memory protection, modes, and numbers that are free; those of 64-bit functions that have no such form, too.
/// Whatever the arguments.
pub fn psci_functions_that_do_not_exist() {
    let narrow = [0x05, 0x0B, 0x0F, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F];
    let wide = [0x00, 0x02, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0B, 0x0F, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1E, 0x1F];
    let narrow = narrow.map(|n| 0x8400_0000 + n);
    let wide = wide.map(|n| 0xC400_0000 + n);
    let mut wrong = 0;
    for function in narrow.into_iter().chain(wide) {
        for args in [[0; 3], [0, 1, 2], [1, 2, 3], [u64::MAX; 3]] {
            let got = by_both(function, args);
            if got != psci::NOT_SUPPORTED {
                say!("{function:#x} with {args:x?}: {got}");
                wrong += 1;
            }
        }
    }
    assert_eq!(wrong, 0);
}

/// Affinities of no CPU: too large in each field, and with the bits set that MPIDR_EL1 has besides.
const NOBODY: [u64; 12] =
    [4, 0xFF, 1 << 8, 1 << 16, 1 << 24, 1 << 30, 1 << 31, (1 << 31) | 1, 1 << 32, (1 << 40) | 1, 1 << 63, u64::MAX];

/// Entries that are no instruction of the host's.
fn bad_entries() -> impl Iterator<Item = u64> {
    let corevisor = tree::corevisor().flat_map(|range| [range.start, range.start + 0x40, range.end - 4]);
    let end_of_ram = tree::ram().map(|ram| ram.end).max().expect("RAM");
    let nowhere = [0, 4, console::uart(), end_of_ram, 1 << 39, 1 << 40, 1 << 47, 1 << 48, 1 << 60, !3, u64::MAX];
    let unaligned = [1, 2, 3].map(|n| entry() + n);
    let aliased = [48, 52, 56, 63].map(|bit| entry() | 1 << bit);
    corevisor.chain(nowhere).chain(unaligned).chain(aliased)
}

fn is_off(target: usize) -> bool {
    by_both(psci::AFFINITY_INFO_64, [mpidr(target), 0, 0]) == psci::OFF
}

pub fn cpu_on_needs_a_known_cpu() {
    for target in NOBODY {
        let got = by_both(psci::CPU_ON_64, [target, entry(), 0]);
        assert_eq!(got, psci::INVALID_PARAMETERS, "{target:#x}");
    }
    for target in NOBODY.into_iter().filter(|&target| target as u32 > 3) {
        let got = by_both(psci::CPU_ON_32, [target, entry(), 0]);
        assert_eq!(got, psci::INVALID_PARAMETERS, "{target:#x}");
    }
    assert_eq!(stat(id::CPUS_ON), 1);
}

pub fn cpu_on_needs_an_entry_of_the_hosts() {
    for address in bad_entries() {
        let got = by_both(psci::CPU_ON_64, [mpidr(1), address, 0]);
        assert_eq!(got, psci::INVALID_ADDRESS, "{address:#x}");
        assert!(is_off(1), "{address:#x}");
        assert_eq!(stat(id::CPUS_ON), 1);
    }
    // A page that is not the host's any more.
    let page = machine::image().end.next_multiple_of(2 << 20) + 5 * PAGE;
    assert_eq!(call::hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
    assert_eq!(by_both(psci::CPU_ON_64, [mpidr(1), page + 16, 0]), psci::INVALID_ADDRESS);
    assert!(is_off(1));
    assert_refused(Access::Read, page);
    assert_eq!(call::hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
    // Nothing of that stands in the way of a good call.
    cpu::start(1);
    cpu::stop(1);
}

pub fn cpu_on_needs_a_cpu_that_is_off() {
    cpu::start(2);
    for target in [0, 2] {
        let before = cpu::starts(target);
        assert_eq!(by_both(psci::CPU_ON_64, [mpidr(target), entry(), 0]), psci::ALREADY_ON);
        assert_eq!(by_both(psci::CPU_ON_32, [mpidr(target), entry(), 0]), psci::ALREADY_ON);
        assert_eq!(cpu::starts(target), before);
    }
    // From that CPU, too.
    cpu::give_work(2, |me| {
        assert_eq!(by_both(psci::CPU_ON_64, [mpidr(me), entry(), 0]), psci::ALREADY_ON);
        assert_eq!(by_both(psci::CPU_ON_64, [mpidr(0), entry(), 0]), psci::ALREADY_ON);
    });
    cpu::wait_for(2);
    cpu::stop(2);
}

pub fn affinity_info() {
    cpu::start(3);
    for (target, state) in [(0, psci::ON), (1, psci::OFF), (2, psci::OFF), (3, psci::ON)] {
        assert_eq!(by_both(psci::AFFINITY_INFO_64, [mpidr(target), 0, 0]), state);
        assert_eq!(by_both(psci::AFFINITY_INFO_32, [mpidr(target), 0, 0]), state);
    }
    for target in [4, 0xFF, 1 << 8, 1 << 32] {
        assert_eq!(by_both(psci::AFFINITY_INFO_64, [target, 0, 0]), psci::INVALID_PARAMETERS, "{target:#x}");
    }
    cpu::stop(3);
    assert!(is_off(3));
}
