// SPDX-License-Identifier: GPL-2.0-only
//! Whose the pages are, and which ID registers VMs have.

use crate::rt::call::{self, CONDUITS, simple, test_call, with_canaries};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::harness::tree_address;
use crate::rt::machine::{self, physical_address_bits};
use crate::rt::{PAGE, tree};
use corevisor::abi::{HOST_CALL_BASE, INVALID_PARAMETER, host_call, page_owner};

const PAGE_OWNER: u64 = (HOST_CALL_BASE + host_call::PAGE_OWNER) as u64;
const VM_ID_REGISTER: u64 = (HOST_CALL_BASE + host_call::VM_ID_REGISTER) as u64;
/// The VM of TAKE_PAGE.
const TAKER: u64 = 15;

/// Owner of the page at `address`, how many pages are like it, and whether the host may access them.
fn owner(address: u64) -> [u64; 3] {
    let [by_hvc, by_smc] = CONDUITS.map(|conduit| {
        let [error, results @ ..] =
            *with_canaries(conduit, PAGE_OWNER, &[address / PAGE], 4).first_chunk::<4>().expect("4");
        assert_eq!(error, 0, "{address:#x}");
        results
    });
    assert_eq!(by_hvc, by_smc);
    by_hvc
}

/// From one end of what stage 2 translates to the other, each page is what the device tree says.
pub fn every_page_has_an_owner() {
    let end = 1 << physical_address_bits();
    let (mut at, mut calls) = (0, 0);
    let [mut host, mut corevisor] = [0; 2];
    while at < end {
        let [owner, pages, open] = owner(at);
        let next = at + pages * PAGE;
        let expected = match owner {
            page_owner::HOST => tree::ram().any(|ram| ram.contains(&at) && next <= ram.end),
            page_owner::COREVISOR => tree::corevisor().any(|range| range.contains(&at) && next <= range.end),
            page_owner::NOBODY => tree::ram().all(|ram| next <= ram.start || ram.end <= at),
            _ => false,
        };
        assert!(pages > 0 && next <= end && expected, "{at:#x}, {pages} pages of {owner}");
        match owner {
            page_owner::HOST => host += pages,
            page_owner::COREVISOR => corevisor += pages,
            _ => {}
        }
        // What Corevisor has it keeps; of what is no RAM, the registers of an interrupt controller for VMs, say.
        assert!(open == u64::from(owner == page_owner::HOST) || owner == page_owner::NOBODY);
        (at, calls) = (next, calls + 1);
    }
    let size = |ranges: &mut dyn Iterator<Item = core::ops::Range<u64>>| ranges.map(|r| r.end - r.start).sum::<u64>();
    assert_eq!(corevisor * PAGE, size(&mut tree::corevisor()));
    assert_eq!((host + corevisor) * PAGE, size(&mut tree::ram()));
    assert!(calls < 100, "{calls} calls");
}

/// A page of the host's, with two of its own around it, that this payload does not use.
fn free_page() -> u64 {
    const BLOCK: u64 = 2 << 20;
    let used = || tree::corevisor().chain([machine::image(), tree_address()..tree_address() + BLOCK]);
    let blocks = tree::ram().flat_map(|ram| (ram.start.next_multiple_of(BLOCK)..ram.end).step_by(BLOCK as usize));
    let mut free = blocks.filter(|&block| used().all(|range| range.end <= block || block + BLOCK <= range.start));
    free.next().expect("a free block") + BLOCK / 2
}

/// A page becomes a VM's between two of the host's, and comes back.
pub fn a_page_that_changes_hands() {
    let page = free_page();
    let around = [page - PAGE, page, page + PAGE];
    let before = around.map(owner);
    assert_eq!(before.map(|[owner, _, open]| (owner, open)), [(page_owner::HOST, 1); 3]);
    assert!(before.iter().all(|[_, pages, _]| *pages > 2), "{before:?}");
    assert_eq!(call::hvc(test_call::TAKE_PAGE, &[page / PAGE]), 0);
    let during = around.map(owner);
    assert_eq!(during, [[page_owner::HOST, 1, 1], [TAKER, 1, 0], before[2]]);
    assert_refused(Access::Read, page);
    assert_eq!(call::hvc(test_call::GIVE_PAGE, &[page / PAGE]), 0);
    assert_eq!(around.map(owner), before);
}

pub fn pages_that_nobody_can_ask_for() {
    let end = (1 << physical_address_bits()) / PAGE;
    for page in [end, end + 1, 1 << 36, 1 << 48, 1 << 63, u64::MAX] {
        for conduit in CONDUITS {
            assert_eq!(simple(conduit, PAGE_OWNER, &[page]), INVALID_PARAMETER, "{page:#x}");
        }
    }
}

/// Those that there are, are compared with what a VM finds (el1_run).
pub fn id_registers_that_are_none() {
    let mut none = 0;
    for name in (0..1 << 16).chain([1 << 16, 0xC030 | 1 << 16, 0xC030 | 1 << 32, 0xC030 | 1 << 63, u64::MAX]) {
        // Op0 3, Op1 0, CRn 0, CRm 1 to 7; REVIDR_EL1, AIDR_EL1.
        let exists = (0xC008..0xC040).contains(&name) || [0xC006, 0xC807].contains(&name);
        if !exists {
            none += 1;
            assert_eq!(simple(CONDUITS[none % 2], VM_ID_REGISTER, &[name]), INVALID_PARAMETER, "{name:#x}");
        } else {
            assert_eq!(with_canaries(CONDUITS[0], VM_ID_REGISTER, &[name], 2)[0], 0, "{name:#x}");
        }
    }
    assert_eq!(none, (1 << 16) - 58 + 5);
}
