// SPDX-License-Identifier: GPL-2.0-only
//! Which devices reach anything at all.

use super::attack::{POISON, assert_reached, events, is_controlled, pattern, put, read, write};
use super::edu::{Edu, WORDS, edu};
use super::victim::return_block;
use crate::rt::call::host;
use crate::world::memory;
use corevisor::abi::{HOST_DMA, INVALID_PARAMETER, host_call as n};

/// SMMU_ATTACH_STREAM.
pub fn attach(device: &Edu, bank: u64) -> i64 {
    host(n::SMMU_ATTACH_STREAM, &[device.stream(), bank, 0])
}

/// The host's own table again, for a device that is a VM's no longer.
pub fn attach_to_host(device: &Edu) {
    assert_eq!(attach(device, HOST_DMA), 0, "SMMU_ATTACH_STREAM");
}

/// SMMU_DETACH_STREAM.
pub fn detach(device: &Edu) -> i64 {
    host(n::SMMU_DETACH_STREAM, &[device.stream(), 0])
}

/// The device reads and writes nothing of the page at `page`, which is the host's.
pub fn assert_cut_off(device: &Edu, page: u64) {
    let there = pattern(page);
    write(page, &there);
    // Through its own page nothing comes either: the other device tells what this one has.
    let before = events();
    device.store(page);
    device.load(page);
    device.store(page);
    assert!(read(page) == there, "a device that is cut off has written to {page:#x}");
    assert!(events() >= before + 3, "{} events of three", events() - before);
}

/// A stream that is detached reaches nothing, whatever it reached before; the others go on. Attached again it works.
pub fn a50_a_stream_that_is_detached() {
    if !is_controlled() {
        return;
    }
    let block = memory::take_block();
    for (device, other) in [(edu(0), edu(1)), (edu(1), edu(0))] {
        assert_reached(device, block);
        assert_eq!(detach(device), 0);
        assert_cut_off(device, block);
        assert_reached(other, block);
        // Once more is no different.
        let _ = detach(device);
        assert_cut_off(device, block);
        attach_to_host(device);
        assert_reached(device, block);
        assert_reached(other, block);
        attach_to_host(device);
        assert_reached(device, block);
    }
    // In the middle of a copy.
    write(block, &pattern(block));
    edu(0).fill(&[POISON; WORDS]);
    edu(0).start_store(block);
    let there = read(block);
    assert_eq!(detach(edu(0)), 0);
    edu(0).wait();
    assert!(read(block) == there, "a device that is cut off has written");
    attach_to_host(edu(0));
    put(edu(0), block, &there);
    return_block(block);
}

/// Streams, banks and SMMUs that are none; nothing changes.
pub fn a50_streams_that_are_none() {
    if !is_controlled() {
        let code = attach(edu(0), HOST_DMA);
        assert!(code < 0, "without an SMMU: {code}");
        assert!(detach(edu(0)) < 0);
        return;
    }
    let device = edu(0);
    // The device tree names 16 bits of them.
    for stream in [1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 32 | device.stream(), 1 << 63, u64::MAX] {
        for bank in [0, HOST_DMA] {
            let code = host(n::SMMU_ATTACH_STREAM, &[stream, bank, 0]);
            assert!(code < 0, "stream {stream:#x}: {code}");
        }
        let code = host(n::SMMU_DETACH_STREAM, &[stream, 0]);
        assert!(code < 0, "stream {stream:#x}: {code}");
    }
    for smmu in [2, 8, 1 << 32, u64::MAX] {
        assert_eq!(host(n::SMMU_ATTACH_STREAM, &[device.stream(), HOST_DMA, smmu]), INVALID_PARAMETER);
        assert_eq!(host(n::SMMU_DETACH_STREAM, &[device.stream(), smmu]), INVALID_PARAMETER);
    }
    // There could be a second one.
    assert!(host(n::SMMU_ATTACH_STREAM, &[device.stream(), HOST_DMA, 1]) < 0);
    assert!(host(n::SMMU_DETACH_STREAM, &[device.stream(), 1]) < 0);
    for bank in [8, 255, 1 << 32, u64::MAX - 1, 1 << 63] {
        assert_eq!(attach(device, bank), INVALID_PARAMETER, "bank {bank:#x}");
    }
    for bank in 0..8 {
        let code = attach(device, bank);
        assert!(code < 0, "bank {bank}, which is nobody's: {code}");
    }
    let block = memory::take_block();
    assert_reached(device, block);
    assert_reached(edu(1), block);
    return_block(block);
}
