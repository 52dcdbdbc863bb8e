// SPDX-License-Identifier: GPL-2.0-only
//! Accesses to Corevisor's memory and beyond what there is.

use crate::rt::call::stat;
use crate::rt::fault::assert_refused_unprivileged;
use crate::rt::fault::{Access, EXTERNAL, IL, access, assert_refused, assert_refused_at, assert_refused_el0};
use crate::rt::{EL0, PAGE, machine, tree};
use corevisor::abi::stat as id;

fn pages() -> impl Iterator<Item = u64> {
    tree::corevisor().flat_map(|range| range.step_by(PAGE as usize))
}

/// The first and the last page of each range, and some between.
pub fn sample() -> impl Iterator<Item = u64> {
    tree::corevisor().flat_map(|range| {
        let inner = range.clone().step_by(97 * PAGE as usize);
        inner.chain([range.end - PAGE])
    })
}

pub fn every_page_of_corevisor() {
    let before = [stat(id::REFUSED_ACCESS), stat(id::TRAP_DATA_ABORT)];
    let mut count = 0;
    for (i, page) in pages().enumerate() {
        assert_refused(Access::Read, page + i as u64 * 8 % PAGE);
        assert_refused(Access::Write, page + i as u64 * 24 % PAGE);
        count += 2;
    }
    assert!(count > 1000);
    assert_eq!([stat(id::REFUSED_ACCESS), stat(id::TRAP_DATA_ABORT)], before.map(|n| n + count));
    assert_eq!(stat(id::COREVISOR_PAGES) * 2, count);
}

pub fn every_kind_of_access() {
    for page in sample() {
        for &kind in Access::ALL {
            assert_refused(kind, page);
            assert_refused(kind, page + PAGE - 64);
        }
        // By another virtual address: it is that which FAR_EL1 tells.
        assert_refused(Access::Read, EL0 + page);
        assert_refused(Access::Write, EL0 + page);
        assert_refused_unprivileged(page + 8);
    }
}

/// Half in the host's memory.
pub fn accesses_across_the_edge() {
    for range in tree::corevisor() {
        assert_refused_at(Access::Read, range.end - 4, range.end - 4);
        let below = range.start - 4;
        if tree::ram().any(|ram| ram.contains(&below)) {
            assert_refused_at(Access::Read, below, range.start);
            assert_refused_at(Access::ReadPair, range.start - 8, range.start);
        }
    }
}

pub fn el0_accesses() {
    for page in sample() {
        assert_refused_el0(page);
        assert_refused_el0(page + 0xFF8);
    }
}

/// With the MMU off: what stage 1 lets through and stage 2 can't translate is refused, what is too wide for stage 1
/// itself is its own fault.
pub fn addresses_beyond_reach() {
    const ADDRESS_SIZE_LEVEL_0: u64 = 0;
    let reach = machine::physical_address_bits().min(48);
    let width = machine::physical_address_bits();
    let kinds = [(Access::UnmappedRead, 0x25), (Access::UnmappedWrite, 0x25), (Access::UnmappedBranch, 0x21)];
    for bit in reach..56 {
        for address in [1 << bit, (1 << bit) + 0x4000_0000, (2 << bit) - 0x1000] {
            for (kind, class) in kinds {
                let before = stat(id::REFUSED_ACCESS);
                if bit < width {
                    assert_refused(kind, address);
                    assert_eq!(stat(id::REFUSED_ACCESS), before + 1);
                    continue;
                }
                let result = access(kind, address, 0);
                let Err(fault) = result else { panic!("{kind:?} at {address:#x}: {result:x?}") };
                assert_eq!(fault.class(), class, "{fault:x?}");
                assert_eq!(fault.esr & 0x3F, ADDRESS_SIZE_LEVEL_0, "{fault:x?}");
                assert_eq!(stat(id::REFUSED_ACCESS), before, "EL2 has no part in it");
            }
        }
    }
    let corevisor = tree::corevisor().next().expect("a range").start;
    let result = access(Access::UnmappedRead, corevisor, 0);
    assert_eq!(result.map_err(|fault| fault.esr), Err((0x25 << 26) | IL | EXTERNAL), "no fault but Corevisor's");
}
