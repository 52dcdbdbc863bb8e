// SPDX-License-Identifier: GPL-2.0-only
//! Pages that the host gives a VM where it stumbles.

use super::{Guest, IMAGE, access, esr, hpfar, vm};
use crate::abi::exit;
use crate::abi::run_page::{FAULT_ADDR, NEW_LEVEL, NEW_PAGE};
use crate::addr::{HOSTVISOR, Pa};
use crate::machine::sim::{Fault, INTERFACE};
use crate::memory::Count;
use crate::trap::{Exit, Syndrome};
use crate::vcpu::{Next, ShadowContext};
use crate::world::{GIB, MIB, ipa, pfn};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const AT: u64 = 0x5020_3000;

/// A VM that has stumbled over [`AT`].
fn stumbled() -> Guest {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    assert_eq!(guest.exit(Exit::Trap, [access(3, 3, true), hpfar(AT), AT + 8]), Next::Host);
    assert_eq!(guest.regs[0], exit::TRAP);
    guest
}

// Tests: VA-6, VO-1
#[test]
fn a_fault_shows_the_page_only() {
    let guest = stumbled();
    assert!(guest.shown().is_empty());
    let esr = esr(0x24, Syndrome::WNR | super::TRANSLATION);
    assert_eq!(guest.told(), [esr, hpfar(AT), 0], "neither register nor offset");
    let context = guest.context();
    assert_eq!((context.dirty, context.flags), (0, ShadowContext::PENDING_FAULT));
}

// Tests: VA-8, VO-2, MO-2
#[test]
fn the_page_offered_there_is_mapped() {
    let mut guest = stumbled();
    // Which byte of the page does not matter, nor do attributes.
    guest.put(0, FAULT_ADDR, AT + 0xFFF);
    guest.put(0, NEW_PAGE, GIB | 0x7FF | 0x0040_0000_0000_0000);
    guest.put(0, NEW_LEVEL, 3);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.core.machine().walk(vm(2), ipa(AT)).unwrap().pa(ipa(AT)), GIB);
    assert!(matches!(guest.core.machine().walk(HOSTVISOR, ipa(GIB)), Err(Fault::Translation(3))));
    let record = guest.core.records()[0];
    assert_eq!((record.owner(), record.count()), (Some(vm(2)), Count::Shares(0)));
    assert_eq!(guest.cpu().registers.pc, IMAGE, "it tries again");
    assert_eq!(guest.context().flags, 0);
    assert_eq!(pfn(GIB).base().as_u64(), GIB);
}

// Tests: VA-8
#[test]
fn a_block_offered_there_is_mapped_around_it() {
    let mut guest = stumbled();
    guest.put(0, FAULT_ADDR, AT);
    guest.put(0, NEW_PAGE, GIB + 4 * MIB);
    guest.put(0, NEW_LEVEL, 2);
    assert_eq!(guest.run(), Next::Vm);
    for (at, pa) in [(0x5020_0000, GIB + 4 * MIB), (AT, GIB + 4 * MIB + 0x3000), (0x503F_F000, GIB + 6 * MIB - 4096)] {
        assert_eq!(guest.core.machine().walk(vm(2), ipa(at)).unwrap().pa(ipa(at)), pa);
    }
}

// Tests: VO-2
#[test]
fn without_an_offer_it_tries_again() {
    let mut guest = stumbled();
    guest.put(0, NEW_PAGE, GIB);
    assert_eq!(guest.run(), Next::Vm);
    assert!(guest.core.machine().walk(vm(2), ipa(AT)).is_err());
    assert_eq!(guest.cpu().registers.pc, IMAGE);
    // The offer comes too late.
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
    guest.put(0, FAULT_ADDR, AT);
    assert_eq!(guest.run(), Next::Vm);
    assert!(guest.core.machine().walk(vm(2), ipa(AT)).is_err());
}

// Tests: VA-6, VO-2
#[test]
fn where_no_page_is_missing_none_can_be_offered() {
    for (syndrome, at) in [(access(3, 3, true), GIB - 4096), (esr(0x01, 0), AT)] {
        let mut guest = Guest::new();
        guest.run_with_canaries();
        assert_eq!(guest.exit(Exit::Trap, [syndrome, hpfar(at), at]), Next::Host);
        assert_eq!(guest.context().flags, 0);
        guest.put(0, FAULT_ADDR, at);
        guest.put(0, NEW_PAGE, GIB);
        assert_eq!(guest.run(), Next::Vm);
        assert!(guest.core.machine().walk(vm(2), ipa(at)).is_err());
    }
}

// Tests: VO-2, VA-3, VA-8
#[test]
fn every_word_of_the_run_page_is_read_once() {
    let reads = Arc::new(Mutex::new(BTreeMap::<Pa, u32>::new()));
    let mut guest = stumbled();
    let log = reads.clone();
    guest.core.machine().on_shared_load(move |at| {
        *log.lock().unwrap().entry(at).or_default() += 1;
        None
    });
    for (words, next) in [(4, [access(5, 3, false), hpfar(0x1000), 0]), (2, [esr(0x16, 0), 0, 0]), (1, [0; 3])] {
        guest.put(0, FAULT_ADDR, AT);
        guest.put(0, NEW_PAGE, GIB + 4096);
        reads.lock().unwrap().clear();
        assert_eq!(guest.run(), Next::Vm);
        let reads = core::mem::take(&mut *reads.lock().unwrap());
        // And at each entry, what the interrupt interface is to hold.
        assert_eq!(reads.len(), words + 1 + INTERFACE.list_registers, "{reads:?}");
        assert!(reads.values().all(|&n| n == 1), "{reads:?}");
        assert_eq!(guest.exit(Exit::Trap, next), if next[0] == 0 { Next::Vm } else { Next::Host });
    }
}
