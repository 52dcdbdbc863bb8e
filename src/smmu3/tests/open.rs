// SPDX-License-Identifier: GPL-2.0-only
//! Taking an SMMUv3 over, or not.

use super::*;
use crate::smmu3::registers::{
    CMDQ_BASE, CR0, CR1, CR2, EVENTQ_BASE, GBPA, IDR0, IDR1, IDR5, IDR5_GRAN4K, IRQ_CTRL, Idr0, Idr1, STRTAB_BASE_CFG,
};
use crate::smmu3::{Features, close};

fn word(core: &Core, register: u64) -> u64 {
    core.machine().register((BASE + register) & !7) >> (8 * (register & 4)) & 0xFFFF_FFFF
}

#[test]
fn an_smmu_translates_for_the_streams_that_the_device_tree_names() {
    let core = world().boot();
    assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), None);
    for stream in [0, STREAM, 0xFFFF, 0x1_0007, 0x1_0020, 0x1_0022] {
        assert_eq!(reached(&core, stream, PAGE), Some(PAGE), "{stream:#x}");
    }
    for stream in [0x1_0000, 0x1_0006, 0x1_0008, 0x1_0023, 0x1_0100, 0x2_0000, u32::MAX] {
        assert_eq!(reached(&core, stream, PAGE), None, "{stream:#x}");
    }
    // Enabled, with events, and no CPU's invalidation takes part.
    assert_eq!((word(&core, CR0), word(&core, CR1), word(&core, CR2)), (0b1101, 0b11_0101 << 6 | 0b11_0101, 0b110));
    assert_eq!((word(&core, CMDQ_BASE) & 0x1F, word(&core, EVENTQ_BASE) & 0x1F), (8, 7));
    assert_eq!(word(&core, STRTAB_BASE_CFG), 1 << 16 | 8 << 6 | 17);
    assert_ne!(word(&core, GBPA) & 1 << 20, 0, "if it were ever switched off, nothing would pass");
}

#[test]
fn without_a_table_of_the_hosts_every_stream_aborts() {
    let core = World { host_dma: None, ..world() }.boot();
    assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), None);
    assert_eq!(reached(&core, STREAM, PAGE), None);
    assert_eq!(attach(&core, STREAM, None), Err(Refused::Unavailable));
}

#[test]
fn an_smmu_without_what_is_needed_is_closed_and_left_alone() {
    let lacking = [
        (IDR0, Idr0::S2P.bits(), "stage 2"),
        (IDR0, Idr0::AARCH64.bits(), "tables in AArch64's format"),
        (IDR0, Idr0::COHACC.bits(), "coherent access to tables"),
        (IDR5, IDR5_GRAN4K, "pages of 4 KiB"),
    ];
    for (register, bits, what) in lacking {
        let core = boot_without(register, bits);
        assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), Some(Trouble::Lacks(what)));
        assert_eq!(reached(&core, STREAM, PAGE), None, "{what}");
        assert_eq!(attach(&core, STREAM, None), Err(Refused::Unavailable));
        assert_eq!(detach(&core, STREAM), Err(Refused::Unavailable));
        let alloc = core.el2_alloc_smmu_pgd(bank(0), HOSTVISOR, k(0), &mut Held::nothing());
        assert_eq!(alloc, Err(Refused::Unavailable));
        // What is closed needs no invalidation.
        world::take(&core, PAGE).unwrap();
    }
    let too_much = [
        (IDR0, Idr0::STALL_FORCED.bits(), "way to end accesses that fault"),
        (IDR1, Idr1::QUEUES_PRESET.bits(), "tables and queues in memory of our choice"),
        (IDR1, Idr1::TABLES_PRESET.bits(), "tables and queues in memory of our choice"),
    ];
    for (register, bits, what) in too_much {
        let core = world().boot_with(|machine| {
            machine.name_smmu3(BASE);
            let at = BASE + register;
            machine.set_register(at & !7, machine.register(at & !7) | bits << (8 * (at & 4)));
        });
        assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), Some(Trouble::Lacks(what)));
        assert_eq!(reached(&core, STREAM, PAGE), None);
    }
}

#[test]
fn an_smmu_that_does_not_answer_is_given_up() {
    let cases = [
        (Faults { deaf: Some(GBPA), ..Faults::default() }, Trouble::NoAnswer("GBPA"), true),
        (Faults { deaf: Some(IRQ_CTRL), ..Faults::default() }, Trouble::NoAnswer("IRQ_CTRL"), false),
        (Faults { deaf: Some(CR0), ..Faults::default() }, Trouble::NoAnswer("CR0"), false),
        (Faults { stuck: true, ..Faults::default() }, Trouble::NoCommands, false),
        (Faults { rejects: Some(opcode::SYNC), ..Faults::default() }, Trouble::NoCommands, false),
        (Faults { rejects: Some(opcode::TLBI_NSNH_ALL), ..Faults::default() }, Trouble::NoCommands, false),
    ];
    for (faults, why, open) in cases {
        let core = world().boot_with(|machine| {
            machine.name_smmu3(BASE);
            // Interrupts were on.
            machine.set_register(BASE + IRQ_CTRL, 1 << 32 | 1);
            machine.set_smmu3_faults(BASE, faults);
        });
        assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), Some(why), "{faults:?}");
        assert_eq!(reached(&core, STREAM, PAGE).is_some(), open, "{faults:?}");
    }
    let machine = SimMachine::new(range(GIB, MIB));
    let small = Range { start: BASE, end: BASE + WINDOW / 2 };
    assert_eq!(close(&machine, small), Err(Trouble::Window));
}

#[test]
fn features_are_what_the_registers_say() {
    let features = |oas: u64, queues: u64| {
        let machine = SimMachine::new(range(GIB, MIB));
        machine.name_smmu3(BASE);
        machine.set_register(BASE + (IDR5 & !7), (IDR5_GRAN4K | oas) << 32);
        let idr0 = machine.register(BASE) & 0xFFFF_FFFF;
        machine.set_register(BASE + IDR0, idr0 | (63 | queues << 16 | queues << 21) << 32);
        close(&machine, range(BASE, WINDOW)).unwrap()
    };
    for (oas, bits) in [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 48), (6, 48)] {
        let Features { address_bits, oas: field, .. } = features(oas, 19);
        assert_eq!((address_bits, field), (bits, oas.min(5)));
    }
    let machine = SimMachine::new(range(GIB, MIB));
    machine.name_smmu3(BASE);
    machine.set_register(BASE, machine.register(BASE) & !(0x1F << 53) | 3 << 53);
    assert_eq!(close(&machine, range(BASE, WINDOW)), Err(Trouble::Lacks("command queue of 16 entries")));
    let Features { commands_log2, events_log2, stream_bits, .. } = features(5, 4);
    assert_eq!((commands_log2, events_log2, stream_bits), (4, 4, 32));
}

#[test]
fn what_devices_have_translated_themselves_is_checked_where_they_can() {
    for ats in [false, true] {
        let core = world().boot_with(|machine| {
            machine.name_smmu3(BASE);
            machine.set_register(BASE, machine.register(BASE) | if ats { Idr0::ATS.bits() } else { 0 });
        });
        assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), None);
        assert_eq!(word(&core, CR0) & 1 << 4 != 0, ats);
    }
}

#[test]
fn a_bank_needs_all_of_its_addresses() {
    let core = world().boot_with(|machine| {
        machine.name_smmu3(BASE);
        machine.set_register(BASE + (IDR5 & !7), (IDR5_GRAN4K | 1) << 32); // 36 bits
    });
    assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), None);
    let alloc = core.el2_alloc_smmu_pgd(bank(0), HOSTVISOR, k(0), &mut Held::nothing());
    assert_eq!(alloc, Err(Refused::Unavailable));
}

#[test]
fn a_short_or_linear_stream_table_does_as_well() {
    // SIDSIZE 8: a table of one level, although two are possible. Named are more streams than there can be.
    let short = world().boot_with(|machine| {
        machine.name_smmu3(BASE);
        let ids = machine.register(BASE);
        machine.set_register(BASE, ids & !(0x3F << 32) | 8 << 32);
    });
    let linear = boot_without(IDR0, Idr0::TWO_LEVEL.bits());
    for (core, log2) in [(short, 8), (linear, 10)] {
        assert_eq!(core.smmu3s()[0].trouble(&mut Held::nothing()), None);
        assert_eq!(word(&core, STRTAB_BASE_CFG), log2);
        assert_eq!(reached(&core, 0x42, PAGE), Some(PAGE));
        assert_eq!(reached(&core, 1 << log2, PAGE), None);
        assert_eq!(attach(&core, 1 << log2, None), Err(Refused::Argument(1)));
        assert_eq!(core.smmu3s()[0].streams_out_of_reach(&mut Held::nothing()), 0x1_0000 - (1 << log2) + 4);
        detach(&core, 0x42).unwrap();
        assert_eq!((reached(&core, 0x42, PAGE), reached(&core, 0x43, PAGE)), (None, Some(PAGE)));
        attach(&core, 0x42, None).unwrap();
        assert_eq!(reached(&core, 0x42, PAGE), Some(PAGE));
    }
}

#[test]
fn ranges_of_streams_may_overlap() {
    let all = vec![streams(3, 2), streams(0, 0x200), streams(0x1F0, 0x20), streams(0x180, 1)];
    let core = World { smmu3s: vec![(BASE, all)], ..world() }.boot();
    for stream in [0, 3, 4, 5, 0xFF, 0x100, 0x180, 0x1FF, 0x200, 0x20F] {
        assert_eq!(reached(&core, stream, PAGE), Some(PAGE), "{stream:#x}");
    }
    assert_eq!(reached(&core, 0x210, PAGE), None);
}

#[test]
fn two_smmus_are_driven_each_by_its_own() {
    let both = vec![(BASE, vec![streams(0, 0x1_0000)]), (SECOND, vec![streams(0, 16)])];
    let core = World { smmu3s: both, ..world() }.boot();
    assert_eq!(core.machine().dma3(1, 3, ipa(PAGE)), Some(PAGE));
    core.detach_stream(3, k(1), &mut Held::nothing()).unwrap();
    assert_eq!((core.machine().dma3(1, 3, ipa(PAGE)), reached(&core, 3, PAGE)), (None, Some(PAGE)));
    // A page leaves the host only when both have forgotten it; one that has no more streams counts, too.
    core.machine().set_smmu3_faults(SECOND, Faults { stuck: true, ..Faults::default() });
    assert_refused(&core, Refused::SmmuStuck, || world::take(&core, PAGE));
    core.machine().set_smmu3_faults(SECOND, Faults::default());
    world::take(&core, PAGE).unwrap();
    assert_eq!(reached(&core, 3, PAGE), None);
}
