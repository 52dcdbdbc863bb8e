// SPDX-License-Identifier: GPL-2.0-only
//! What SMMUv3s tell.

use super::*;
use crate::smmu3::Event;
use std::format;

/// The lines about SMMUs since the last time.
fn lines(core: &Core) -> Vec<String> {
    core.machine().take_refusals().into_iter().filter(|line| line.starts_with("SMMU")).collect()
}

fn drain(core: &Core) -> u64 {
    core.drain_dma_events(&mut Held::nothing());
    core.dma_events()
}

#[test]
fn an_access_that_was_ended_is_told_and_counted() {
    let core = world().boot();
    assert_eq!((drain(&core), lines(&core)), (0, vec![]));
    assert_eq!(reached(&core, STREAM, 0x42_1000), None);
    assert_eq!(reached(&core, 0x1_0006, PAGE), None);
    assert_eq!(reached(&core, 0x7_0000, PAGE), None);
    assert_eq!(drain(&core), 3);
    let expected = [
        "SMMU at 0x9050000: stream 0x108 writes address 0x421000: nothing mapped there (event 0x10)",
        "SMMU at 0x9050000: stream 0x10006: it may not access memory (event 0x04)",
        "SMMU at 0x9050000: stream 0x70000: no such stream (event 0x02)",
    ];
    assert_eq!(lines(&core), expected);
    assert_eq!((drain(&core), lines(&core)), (3, vec![]));
    // Commands find them, too.
    assert_eq!(reached(&core, STREAM, 0x42_1000), None);
    world::take(&core, PAGE).unwrap();
    assert_eq!((core.dma_events(), lines(&core).len()), (4, 1));
}

#[test]
fn what_the_queue_has_no_room_for_is_told_as_lost() {
    let core = world().boot();
    for round in 1..3u64 {
        for _ in 0..200 {
            assert_eq!(reached(&core, STREAM, 0x42_1000), None);
        }
        assert_eq!(drain(&core), round * 129, "128 are told, and one for the others");
        assert_eq!(lines(&core).last().map(String::as_str), Some("SMMU at 0x9050000: events were lost"));
        assert_eq!(drain(&core), round * 129);
    }
}

#[test]
fn events_say_what_has_happened() {
    let line = |words| format!("{}", Event::new(words));
    assert_eq!(
        line([0x13 | 7 << 32, 1 << 35, 0x1234, 0]),
        "stream 0x7 reads address 0x1234: no permission (event 0x13)"
    );
    assert_eq!(line([0x03, 0, 0, 0]), "stream 0x0: its entry can't be read (event 0x03)");
    assert_eq!(line([0xE0, 0, 0, 0]), "stream 0x0: other (event 0xe0)");
    for number in 0..=u8::MAX {
        assert!(!line([number.into(), 0, 0, 0]).is_empty());
    }
}
