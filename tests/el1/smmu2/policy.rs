// SPDX-License-Identifier: GPL-2.0-only
//! What Corevisor makes of SMMUs that it drives, can't drive, or lacks.

use super::window::{Machine, SMMUS, machine};
use crate::rt::call::{host, stat};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::tree;
use corevisor::abi::{NOT_SUPPORTED, dma_control, host_call as n, stat as id, vm_flags};

pub fn what_stats_say() {
    let control = match machine() {
        Machine::Driven => dma_control::DRIVEN,
        Machine::Stuck | Machine::Many => dma_control::FAILED,
        Machine::Required => dma_control::NONE,
    };
    assert_eq!(stat(id::DMA_CONTROL), control);
    assert!(tree::compatible("arm,smmu-v2").is_none(), "the host knows of none");
    let undriven = match machine() {
        Machine::Stuck => SMMUS[0],
        Machine::Many => SMMUS[2],
        _ => return,
    };
    for offset in [0, 0x20, 0x8000] {
        assert_refused(Access::Read32, undriven + offset);
        assert_refused(Access::Write32, undriven + offset);
    }
}

pub fn vms_that_need_protection() {
    for flags in [0, vm_flags::UNSIGNED, vm_flags::SHARED, vm_flags::SHARED | vm_flags::UNSIGNED] {
        let v = host(n::REGISTER_KVM, &[flags]);
        if machine() == Machine::Driven || flags & vm_flags::SHARED != 0 {
            assert!((1..16).contains(&v), "{flags}: {v}");
            destroy(v as u64);
        } else {
            assert_eq!(v, NOT_SUPPORTED, "{flags}");
        }
    }
    assert_eq!(stat(id::VMS), 0);
}

pub fn destroy(v: u64) {
    while match host(n::DESTROY_VM, &[v]) {
        0 => false,
        left if left > 0 => true,
        error => panic!("DESTROY_VM {v}: {error}"),
    } {}
}
