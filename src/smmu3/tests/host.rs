// SPDX-License-Identifier: GPL-2.0-only
//! What the host's devices reach, as pages come and go.

use super::*;

#[test]
fn a_page_that_leaves_the_host_is_out_of_reach_and_then_in_again() {
    let core = world().boot();
    assert_eq!(reached(&core, STREAM, PAGE), Some(PAGE)); // in the IOTLB, as part of a block
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), Some(PAGE + PAGE_SIZE));
    assert!(core.machine().cached_dma3(0) > 0);
    world::take(&core, PAGE).unwrap();
    assert_eq!(reached(&core, STREAM, PAGE), None);
    assert_eq!(reached(&core, STREAM, PAGE + PAGE_SIZE), Some(PAGE + PAGE_SIZE));
    assert_eq!(reached(&core, STREAM, 2 * GIB - PAGE_SIZE), None, "Corevisor's own");
    world::give(&core, PAGE);
    assert_eq!(reached(&core, STREAM, PAGE), Some(PAGE));
}

#[test]
fn a_page_stays_the_hosts_if_the_smmu_does_not_forget_it() {
    let core = world().boot();
    let page = PAGE + PMD_SIZE;
    assert_eq!(reached(&core, STREAM, page), Some(page));
    set_faults(&core, Faults { stuck: true, ..Faults::default() });
    for _ in 0..2 {
        assert_refused(&core, Refused::SmmuStuck, || world::take(&core, page));
    }
    assert_eq!(reached(&core, STREAM, page), Some(page));
    set_faults(&core, Faults::default());
    world::take(&core, page).unwrap();
    assert_eq!(reached(&core, STREAM, page), None);
    world::give(&core, page);
}

#[test]
fn a_command_that_is_refused_is_taken_for_no_end() {
    for rejected in [opcode::TLBI_S2_IPA, opcode::SYNC] {
        let core = world().boot();
        assert_eq!(reached(&core, STREAM, PAGE), Some(PAGE));
        set_faults(&core, Faults { rejects: Some(rejected), ..Faults::default() });
        for _ in 0..3 {
            assert_refused(&core, Refused::SmmuStuck, || world::take(&core, PAGE));
        }
        // It goes on after them.
        set_faults(&core, Faults::default());
        world::take(&core, PAGE).unwrap();
        assert_eq!(reached(&core, STREAM, PAGE), None);
    }
}

#[test]
fn the_queue_may_wrap_and_be_full_of_what_is_left_over() {
    // Queues of 16 commands.
    let core = world().boot_with(|machine| {
        machine.name_smmu3(BASE);
        machine.set_register(BASE, machine.register(BASE) & !(0x1F << 53) | 4 << 53);
    });
    let take_and_give = |n: u64| {
        let page = PAGE + n % 8 * PAGE_SIZE;
        assert_eq!(reached(&core, STREAM, page), Some(page));
        world::take(&core, page).unwrap();
        assert_eq!(reached(&core, STREAM, page), None);
        world::give(&core, page);
    };
    (0..30).for_each(take_and_give);
    set_faults(&core, Faults { stuck: true, ..Faults::default() });
    for _ in 0..12 {
        let ended = core.end_dma(0x7F, Some((ipa(PAGE), PAGE_SIZE)), &mut Held::nothing());
        assert_eq!(ended, Err(Refused::SmmuStuck));
    }
    set_faults(&core, Faults::default());
    (0..10).for_each(take_and_give);
}

#[test]
fn a_part_is_forgotten_by_pages_by_a_range_or_with_all() {
    use crate::smmu3::commands::invalidation;
    let opcodes = |part, ranges| {
        invalidation(1, part, ranges)
            .map(|command| (command.0[0] & 0xFF, command.0[0] >> 20 & 0x1F))
            .collect::<Vec<_>>()
    };
    let (page, range, all) = ((opcode::TLBI_S2_IPA, 0), (opcode::TLBI_S2_IPA, 9), (opcode::TLBI_S12_VMALL, 0));
    assert_eq!(opcodes(Some((ipa(PAGE), PAGE_SIZE)), false), [page]);
    assert_eq!(opcodes(Some((ipa(PAGE), 8 * PAGE_SIZE)), true), [page; 8]);
    assert_eq!(opcodes(Some((ipa(GIB), PMD_SIZE)), true), [range]);
    assert_eq!(opcodes(Some((ipa(GIB), PMD_SIZE)), false), [all]);
    assert_eq!(opcodes(Some((ipa(GIB), 9 * PAGE_SIZE)), true), [all]);
    assert_eq!(opcodes(None, true), [all]);
}
