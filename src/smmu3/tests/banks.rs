// SPDX-License-Identifier: GPL-2.0-only
//! Context banks of an SMMUv3: the specification's calls.

use super::*;

const IOVA: u64 = 0x12_3456_7000;

// Tests: IO-2, IO-3, IO-5, IO-6, IO-7, MM-9, MM-10
#[test]
fn a_stream_in_a_bank_of_the_host_reaches_what_is_mapped_there() {
    let core = world().boot();
    alloc(&core, 3, HOSTVISOR);
    map(&core, 3, IOVA, PAGE).unwrap();
    attach(&core, STREAM, Some(3)).unwrap();
    attach(&core, STREAM, Some(3)).unwrap();
    assert_eq!((reached(&core, STREAM, IOVA), reached(&core, STREAM, PAGE)), (Some(PAGE), None));
    let phys = core.el2_arm_lpae_iova_to_phys(ipa(IOVA + 5), bank(3), k(0), &mut Held::nothing());
    assert_eq!(phys, Ok(PAGE + 5));
    // It can't become a VM's meanwhile, and is forgotten before it can.
    assert_refused(&core, Refused::Busy(pfn(PAGE)), || world::take(&core, PAGE));
    clear(&core, 3, IOVA).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), None);
    world::take(&core, PAGE).unwrap();
    map(&core, 3, IOVA, PAGE + PAGE_SIZE).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), Some(PAGE + PAGE_SIZE));
    assert_refused(&core, Refused::Bank, || free(&core, 3)); // D-15
    clear(&core, 3, IOVA).unwrap();
    free(&core, 3).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), None);
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), None, "nobody's, until somebody says whose");
    // The next one finds nothing of it.
    alloc(&core, 3, HOSTVISOR);
    attach(&core, STREAM, Some(3)).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), None);
    attach(&core, STREAM, None).unwrap();
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), Some(PAGE + PAGE_SIZE));
    free(&core, 3).unwrap();
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), Some(PAGE + PAGE_SIZE), "it had left the bank");
}

// Tests: IO-2, IO-3, MM-8
#[test]
fn a_stream_of_a_vm_stays_with_it_until_its_bank_is_freed() {
    let core = world().boot();
    let v = vm(2);
    alloc(&core, 5, v);
    alloc(&core, 6, HOSTVISOR);
    map(&core, 5, IOVA, PAGE).unwrap();
    // The device of the host that knows the page.
    assert_eq!(reached(&core, STREAM, PAGE), None, "a VM's");
    // Nobody else comes to what is mapped already.
    assert_eq!(world::record(&core, PAGE).owner(), Some(v));
    attach(&core, STREAM, Some(5)).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), Some(PAGE));
    assert_refused(&core, Refused::Bank, || attach(&core, STREAM, None));
    assert_refused(&core, Refused::Bank, || attach(&core, STREAM, Some(6)));
    assert_refused(&core, Refused::Bank, || detach(&core, STREAM));
    // Not of one that may run, or one that is off: what it reaches then stays as it is.
    for state in [VmState::Verified, VmState::Poweroff] {
        world::set_state(&core, v, state);
        assert_refused(&core, Refused::State(v), || attach(&core, STREAM + 1, Some(5)));
    }
    world::set_state(&core, v, VmState::Verified);
    assert_refused(&core, Refused::State(v), || free(&core, 5));
    world::set_state(&core, v, VmState::Poweroff);
    free(&core, 5).unwrap();
    assert_eq!((reached(&core, STREAM, IOVA), reached(&core, STREAM, PAGE + PAGE_SIZE)), (None, None));
    attach(&core, STREAM, None).unwrap();
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), Some(PAGE + PAGE_SIZE));
    assert_eq!(reached(&core, STREAM, PAGE), None, "the VM's still");
    free(&core, 6).unwrap();
}

// Tests: IO-2, SO-4
#[test]
fn what_the_smmu_does_not_confirm_stays() {
    let core = world().boot();
    alloc(&core, 1, HOSTVISOR);
    map(&core, 1, IOVA, PAGE).unwrap();
    attach(&core, STREAM, Some(1)).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), Some(PAGE));
    set_faults(&core, Faults { stuck: true, ..Faults::default() });
    assert_refused(&core, Refused::SmmuStuck, || clear(&core, 1, IOVA));
    assert_refused(&core, Refused::SmmuStuck, || {
        core.el2_alloc_smmu_pgd(bank(2), HOSTVISOR, k(0), &mut Held::nothing())
    });
    set_faults(&core, Faults::default());
    clear(&core, 1, IOVA).unwrap();
    set_faults(&core, Faults { stuck: true, ..Faults::default() });
    assert_eq!(free(&core, 1), Err(Refused::SmmuStuck));
    set_faults(&core, Faults::default());
    free(&core, 1).unwrap();
    assert_eq!(reached(&core, STREAM, IOVA), None);
}

#[test]
fn banks_that_are_free_or_not_there_have_no_streams() {
    let core = world().boot();
    assert_refused(&core, Refused::Bank, || attach(&core, STREAM, Some(0)));
    alloc(&core, 0, HOSTVISOR);
    for stream in 0..MAX_BANK_STREAMS as u32 {
        attach(&core, stream, Some(0)).unwrap();
    }
    let one_more = MAX_BANK_STREAMS as u32;
    assert_refused(&core, Refused::NoTables(crate::addr::COREVISOR), || attach(&core, one_more, Some(0)));
    detach(&core, 0).unwrap();
    attach(&core, one_more, Some(0)).unwrap();
    free(&core, 0).unwrap();
    for stream in 0..=one_more {
        assert_eq!(reached(&core, stream, PAGE), None);
    }
}
