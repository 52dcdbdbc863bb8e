// SPDX-License-Identifier: GPL-2.0-only
//! From REGISTER_KVM to DESTROY_VM.

use super::calls::{
    GUEST, announce, assert_lost, assert_zeroed, balance, block, destroy, fill, register_kvm, tables, verify,
};
use crate::rt::call::{self, host, stat, test_call};
use crate::rt::cpu;
use crate::rt::fault::read;
use crate::rt::{PAGE, console, tree};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{BUSY, DENIED, INVALID_PARAMETER, NO_MEMORY, host_call as n, stat as id};

pub fn vms_come_and_go() {
    let before = (balance(), tables());
    let v = register_kvm();
    let [_, _, vms, pages] = balance();
    assert_eq!([vms, pages], [before.0[2] + 1, before.0[3]]);
    assert!(tables() > before.1);
    destroy(v);
    assert_eq!((balance(), tables()), before);
    assert_eq!(host(n::DESTROY_VM, &[v]), INVALID_PARAMETER, "there is no such VM");
}

/// While a vCPU exists, its run page can't become a VM's.
pub fn run_pages_are_in_use() {
    let take = |page: u64| call::hvc(test_call::TAKE_PAGE, &[page / PAGE]);
    let give = |page: u64| call::hvc(test_call::GIVE_PAGE, &[page / PAGE]);
    let page = block(0) + 5 * PAGE;
    let v = register_kvm();
    assert_eq!(host(n::REGISTER_VCPU, &[v, 0, page]), 0);
    assert_eq!(host(n::REGISTER_VCPU, &[v, 0, page + PAGE]), DENIED, "it exists");
    for vcpu in 1..8 {
        assert_eq!(host(n::REGISTER_VCPU, &[v, vcpu, page]), 0);
    }
    assert_eq!(take(page), BUSY);
    assert_eq!(take(page + PAGE), 0);
    assert_eq!(give(page + PAGE), 0);
    assert!(read(page).is_ok());
    for not_hosts in [0, console::uart(), tree::corevisor().next().expect("a range").start] {
        let other = register_kvm();
        assert_eq!(host(n::REGISTER_VCPU, &[other, 0, not_hosts]), DENIED, "{not_hosts:#x}");
        destroy(other);
    }
    destroy(v);
    assert_eq!(take(page), 0);
    assert_eq!(give(page), 0);
}

pub fn all_ids_are_used_and_come_back() {
    let before = (balance(), tables());
    for _ in 0..2 {
        let mut seen = 0u32;
        for _ in 1..16 {
            let v = register_kvm();
            assert_eq!(seen & (1 << v), 0, "{v} is in use");
            seen |= 1 << v;
        }
        assert_eq!(seen, 0xFFFE);
        assert_eq!(host(n::REGISTER_KVM, &[0]), NO_MEMORY);
        (1..16).for_each(destroy);
        assert_eq!((balance(), tables()), before);
    }
}

pub fn calls_on_no_vm() {
    let before = balance();
    let page = block(0);
    for v in [1, 7, 15] {
        assert_eq!(host(n::REGISTER_VCPU, &[v, 0, page]), DENIED);
        assert_eq!(host(n::SET_BOOT_INFO, &[v, GUEST, PAGE]), DENIED);
        assert_eq!(host(n::REMAP_VM_IMAGE, &[v, page / PAGE, 0]), DENIED);
        assert_eq!(host(n::VERIFY_VM_IMAGE, &[v]), DENIED);
        assert_eq!(host(n::PHYS_ADDR_IOREMAP, &[v, GUEST, console::uart(), PAGE]), DENIED);
        assert!(host(n::ENCRYPT_BUF, &[v, page, page + PAGE]) < 0);
        assert!(host(n::DESTROY_VM, &[v]) < 0);
        assert_eq!(host(n::CLEAR_VM_S2_RANGE, &[v, page, PAGE]), 0, "nothing to do");
    }
    assert_eq!(balance(), before);
    assert!(read(page).is_ok());
}

/// A VM can have devices, but no RAM in that way.
pub fn device_memory() {
    let v = register_kvm();
    let before = tables();
    let clock = tree::ranges(tree::compatible("arm,pl031").expect("a clock")).next().expect("its registers").start;
    assert_eq!(host(n::PHYS_ADDR_IOREMAP, &[v, 0x0900_0000, clock, PAGE]), 0);
    let with_device = tables();
    assert!(with_device > before);
    assert_eq!(host(n::PHYS_ADDR_IOREMAP, &[v, 0x0A00_0000, block(0), 4 * PAGE]), 0, "RAM is left out");
    assert_eq!(tables(), with_device);
    // SAFETY: a register of the clock, which nobody uses: it is the host's as before.
    unsafe { (clock as *const u32).read_volatile() };
    destroy(v);
}

/// Rounds of each CPU.
const ROUNDS: u64 = 50;
static FINISHED: AtomicU64 = AtomicU64::new(0);

/// Whole lives of VMs, every fifth with an image, in a block of the CPU's own.
fn make_vms(me: usize) {
    let (image, run_pages) = (block(20 + me), block(30 + me));
    for round in 0..ROUNDS {
        let v = register_kvm();
        for vcpu in 0..2 {
            assert_eq!(host(n::REGISTER_VCPU, &[v, vcpu, run_pages + vcpu * PAGE]), 0);
        }
        if round % 5 == 0 {
            fill(image);
            announce(v, GUEST, image, 1 + round % 7);
            assert_eq!(verify(v), 0);
            assert_lost(image);
        }
        destroy(v);
        if round % 5 == 0 {
            assert_zeroed(image);
        }
    }
    FINISHED.fetch_add(1, Ordering::Release);
}

pub fn two_cpus_make_vms() {
    let before = (balance(), tables());
    FINISHED.store(0, Ordering::Release);
    cpu::start(1);
    cpu::give_work(1, make_vms);
    make_vms(0);
    cpu::wait_for(1);
    cpu::stop(1);
    assert_eq!(FINISHED.load(Ordering::Acquire), 2, "both came to the end");
    assert_eq!((balance(), tables()), before);
}

/// After all tests.
pub fn nothing_is_left() {
    assert_eq!([id::VMS, id::VM_PAGES].map(stat), [0, 0]);
    let v = register_kvm();
    destroy(v);
}
