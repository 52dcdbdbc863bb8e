// SPDX-License-Identifier: GPL-2.0-only
//! Streams come and go.

use super::*;
use crate::mmio::SmmuConfig;

#[test]
fn a_stream_that_is_detached_aborts_until_it_is_attached_again() {
    let core = world().boot();
    for stream in [STREAM, 0x1_0021] {
        assert_eq!(reached(&core, stream, PAGE), Some(PAGE));
        detach(&core, stream).unwrap();
        assert_eq!(reached(&core, stream, PAGE), None);
        detach(&core, stream).unwrap();
        // Its neighbours share its table.
        assert_eq!(reached(&core, stream + 1, PAGE), Some(PAGE));
        assert_eq!(reached(&core, stream - 1, PAGE), Some(PAGE));
        assert_eq!(reached(&core, stream ^ 0x200, PAGE).is_some(), stream < 0x1_0000);
        attach(&core, stream, None).unwrap();
        attach(&core, stream, None).unwrap();
        assert_eq!(reached(&core, stream, PAGE), Some(PAGE));
    }
}

#[test]
fn only_streams_that_the_device_tree_names_are_attached() {
    let core = world().boot();
    alloc(&core, 0, HOSTVISOR);
    for stream in [0x1_0000, 0x1_0006, 0x1_0023, 0x2_0000, u32::MAX] {
        assert_refused(&core, Refused::Argument(1), || attach(&core, stream, None));
        assert_refused(&core, Refused::Argument(1), || attach(&core, stream, Some(0)));
        assert_refused(&core, Refused::Argument(1), || detach(&core, stream));
    }
    free(&core, 0).unwrap();
}

#[test]
fn streams_are_of_smmus_of_version_3_which_come_after_those_of_version_2() {
    let v2 = SmmuConfig::new(range(SECOND, 0x1_0000), 8);
    let core = World { smmus: vec![v2], ..world() }.boot();
    let at = |n| core.detach_stream(STREAM, k(n), &mut Held::nothing());
    assert_refused(&core, Refused::Bank, || at(0));
    at(1).unwrap();
    assert_eq!(reached(&core, STREAM, PAGE), None);
    let core = world().boot();
    assert_refused(&core, Refused::Bank, || core.detach_stream(STREAM, k(1), &mut Held::nothing()));
    assert_refused(&core, Refused::Bank, || core.attach_stream(STREAM, None, k(1), &mut Held::nothing()));
}

#[test]
fn a_stream_stays_where_it_is_if_the_smmu_does_not_forget_it() {
    let core = world().boot();
    alloc(&core, 0, HOSTVISOR);
    map(&core, 0, 0x1000, PAGE).unwrap();
    detach(&core, STREAM ^ 1).unwrap(); // a copy of the table is there
    assert_eq!(reached(&core, STREAM, PAGE), Some(PAGE));
    set_faults(&core, Faults { stuck: true, ..Faults::default() });
    assert_refused(&core, Refused::SmmuStuck, || detach(&core, STREAM));
    assert_refused(&core, Refused::SmmuStuck, || attach(&core, STREAM, Some(0)));
    set_faults(&core, Faults::default());
    assert_eq!(reached(&core, STREAM, PAGE), Some(PAGE));
    attach(&core, STREAM, Some(0)).unwrap();
    assert_eq!((reached(&core, STREAM, PAGE), reached(&core, STREAM, 0x1000)), (None, Some(PAGE)));
    clear(&core, 0, 0x1000).unwrap();
    free(&core, 0).unwrap();
}

#[test]
fn all_streams_of_a_pci_host_can_be_told_apart() {
    let core = world().boot();
    for stream in (0..0x1_0000).step_by(0x100) {
        detach(&core, stream).unwrap();
        assert_eq!((reached(&core, stream, PAGE), reached(&core, stream + 1, PAGE)), (None, Some(PAGE)));
    }
}

#[test]
fn a_stream_that_the_smmu_may_know_to_be_in_a_bank_keeps_it() {
    let core = world().boot();
    alloc(&core, 0, HOSTVISOR);
    // The old entry is forgotten, the new one is not confirmed.
    detach(&core, STREAM ^ 1).unwrap();
    let faults = Faults { rejects: Some(opcode::CFGI_STE), spares: 1, ..Faults::default() };
    set_faults(&core, faults);
    assert_eq!(attach(&core, STREAM, Some(0)), Err(Refused::SmmuStuck));
    assert_eq!(reached(&core, STREAM, PAGE), None);
    assert_eq!(free(&core, 0), Err(Refused::SmmuStuck), "the SMMU still does not say that it has forgotten");
    set_faults(&core, Faults { spares: 1, ..faults });
    assert_eq!(attach(&core, STREAM, Some(0)), Err(Refused::SmmuStuck));
    set_faults(&core, Faults::default());
    attach(&core, STREAM, Some(0)).unwrap();
    map(&core, 0, 0x1000, PAGE).unwrap();
    assert_eq!(reached(&core, STREAM, 0x1000), Some(PAGE));
    clear(&core, 0, 0x1000).unwrap();
    free(&core, 0).unwrap();
    assert_eq!(reached(&core, STREAM, 0x1000), None);
}
