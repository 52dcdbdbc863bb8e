// SPDX-License-Identifier: GPL-2.0-only
//! The operations.

#[path = "../vm/calls.rs"]
#[allow(dead_code, reason = "part of it is used")]
mod calls;
mod guest;
mod smmu;
mod vms;

use crate::rt::call::{host, test_call};
use crate::rt::{PAGE, machine, tree};
use crate::say;
use calls::{BLOCK, GUEST, announce, block, destroy, register_kvm, verify};
use core::arch::asm;
use corevisor::abi::{HOST_CALL_BASE, host_call as n};

crate::tests! {
    costs:
        a_call,
        ownership,
        pages,
        a_block,
        a_vm;
    vms:
        exits_to_the_host,
        faults,
        interrupts;
    smmu:
        mappings;
}

/// How often an operation is done.
const TIMES: u64 = 256;
const BLOCK_PAGES: u64 = BLOCK / PAGE;

/// Whether the machine has an SMMU: the runner says so.
fn has_smmu() -> bool {
    tree::options().any(|option| option == "iommu=smmuv3")
}

/// Prints what `ticks` of the counter are for each of `count` operations, in nanoseconds.
fn report(what: &str, ticks: u64, count: u64) {
    let frequency = machine::read!("cntfrq_el0");
    let smmu = if has_smmu() { ", with an SMMU" } else { "" };
    say!("cost {what}{smmu}: {}", ticks * (1_000_000_000 / frequency) / count);
}

/// A call, without the checks that other payloads make of every register. Returns x0 and x1.
fn call(id: u32, argument: u64) -> [u64; 2] {
    let (mut x0, mut x1) = (u64::from(id), argument);
    // SAFETY: a call of ours, which keeps all registers but those of its results, and memory other than a page's that
    // nobody uses.
    unsafe { asm!("hvc #0", inout("x0") x0, inout("x1") x1, clobber_abi("C")) };
    [x0, x1]
}

/// Measures one operation.
fn measure(what: &str, operation: impl FnMut(u64)) {
    let start = machine::now();
    (0..TIMES).for_each(operation);
    report(what, machine::now() - start, TIMES);
}

mod costs {
    use super::{BLOCK_PAGES, GUEST, PAGE, announce, block, destroy, register_kvm, verify};
    use super::{HOST_CALL_BASE, call, host, machine, measure, n, report, test_call, tree};

    pub fn a_call() {
        measure("host call that does nothing", |_| assert_ne!(call(HOST_CALL_BASE + n::VERSION, 0)[0], 0));
    }

    /// At both ends of memory: a query does not depend on where the page is.
    pub fn ownership() {
        let low = block(0) / PAGE;
        let high = tree::ram().map(|ram| ram.end).max().expect("RAM") / PAGE - 1;
        measure("ownership query, low page (PM-1)", |_| assert_eq!(call(test_call::OWNER, low), [0, 0]));
        measure("ownership query, highest page (PM-1)", |_| assert_eq!(call(test_call::OWNER, high)[0], 0));
    }

    /// Of a block that the host has in pages already.
    pub fn pages() {
        let first = block(1) / PAGE;
        let take = |i: u64| assert_eq!(call(test_call::TAKE_PAGE, first + i)[0], 0);
        let give = |i: u64| assert_eq!(call(test_call::GIVE_PAGE, first + i)[0], 0);
        let touch = |i: u64| {
            // SAFETY: RAM that nobody uses.
            let word = unsafe { (((first + i) * PAGE) as *const u64).read_volatile() };
            assert_eq!(word, 0);
        };
        for i in 0..BLOCK_PAGES {
            take(i);
            give(i);
            touch(i);
        }
        measure("page from host to VM (MM-3)", take);
        measure("page from VM to host, zeroed (MM-2)", give);
        measure("host's touch of a page that came back (MM-1)", touch);
    }

    /// An image of one block, from its first page in the host to the VM, less what the same calls cost without a block.
    pub fn a_block() {
        let verify_time = |blocks: u64, round: u64| {
            let v = register_kvm();
            if blocks > 0 {
                announce(v, GUEST, block(2 + round as usize), BLOCK_PAGES);
            }
            let start = machine::now();
            assert_eq!(verify(v), 0);
            let ticks = machine::now() - start;
            destroy(v);
            ticks
        };
        let rounds = 8;
        let with: u64 = (0..rounds).map(|i| verify_time(1, i)).sum();
        let without: u64 = (0..rounds).map(|i| verify_time(0, i)).sum();
        report("image of 2 MiB taken and hashed (BO-8)", with - without, rounds);
    }

    pub fn a_vm() {
        let run_page = block(0);
        measure("empty VM with a vCPU, made and destroyed", |_| {
            let v = register_kvm();
            assert_eq!(host(n::REGISTER_VCPU, &[v, 0, run_page]), 0);
            destroy(v);
        });
    }
}
