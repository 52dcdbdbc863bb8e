// SPDX-License-Identifier: GPL-2.0-only
//! PSCI for the host: what it is told, and what the firmware is asked.

use super::{assert_results, call as call_both, distinct};
use crate::abi::stat;
use crate::lock::Held;
use crate::machine::sim::{self, CPU_CONTEXT, CPU_ENTRY};
use crate::trap::{Conduit, Firmware};
use crate::world::{Core, GIB, World, range, snapshot, stat};
use std::sync::{Arc, Weak, mpsc};
use std::vec;

const VERSION: u64 = 0x8400_0000;
const CPU_SUSPEND: u64 = 0xC400_0001;
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xC400_0003;
const AFFINITY_INFO: u64 = 0xC400_0004;
const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const FEATURES: u64 = 0x8400_000A;
const CPU_DEFAULT_SUSPEND: u64 = 0xC400_000C;
const NODE_HW_STATE: u64 = 0xC400_000D;
const SYSTEM_SUSPEND: u64 = 0xC400_000E;
const STAT_RESIDENCY: u64 = 0xC400_0010;
const STAT_COUNT: u64 = 0xC400_0011;
const SYSTEM_RESET2: u64 = 0xC400_0012;
/// The bit that tells a 64-bit function from its 32-bit sibling.
const WIDE: u64 = 1 << 30;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const ON_PENDING: i64 = -5;
const INTERNAL_FAILURE: i64 = -6;
const INVALID_ADDRESS: i64 = -9;

/// Where the host's CPUs begin.
const ENTRY: u64 = GIB + 0x8_0000;
/// MPIDRs of the [`World`]'s CPUs 1 to 3.
const CPU_1: u64 = 1;
const CPU_2: u64 = 0x100;
const CPU_3: u64 = 0x1_0000_0000;

/// One PSCI call by SMC of the CPU that this thread is; the other registers must stay as they are.
fn psci<const N: usize>(core: &Core, args: [u64; N]) -> i64 {
    let mut regs = distinct();
    regs[..N].copy_from_slice(&args);
    core.host_smccc(Conduit::Smc, 0, &mut regs, &mut Held::nothing());
    assert_results(regs, args, [regs[0]]);
    regs[0] as i64
}

/// Asserts that a call is refused with `error`, before the firmware hears of it, and changes nothing.
fn assert_refused<const N: usize>(core: &Core, args: [u64; N], error: i64) {
    let before = snapshot(core);
    let (refused, on) = (stat(core, stat::REFUSED_CALL), stat(core, stat::CPUS_ON));
    assert_eq!(psci(core, args), error, "{args:#x?}");
    assert_eq!(core.machine().take_calls(), [[0u64; 4]; 0], "{args:#x?}");
    assert_eq!(snapshot(core), before);
    assert_eq!((stat(core, stat::REFUSED_CALL), stat(core, stat::CPUS_ON)), (refused + 1, on));
}

/// Asserts that a call sends `sent` to the firmware, and returns its answer.
fn forwarded<const N: usize>(core: &Core, args: [u64; N], sent: [u64; 4]) -> i64 {
    let result = psci(core, args);
    assert_eq!(core.machine().take_calls(), [sent], "{args:#x?}");
    result
}

fn on_args(index: usize, target: u64) -> [u64; 4] {
    [CPU_ON, target, CPU_ENTRY, CPU_CONTEXT + index as u64]
}

#[test]
fn the_version_is_1_1_or_the_firmwares() {
    for (theirs, ours) in
        [(2, 2), (0x1_0000, 0x1_0000), (0x1_0001, 0x1_0001), (0x1_0003, 0x1_0001), (0x2_0000, 0x1_0001)]
    {
        let firmware = Firmware { psci_version: theirs, ..Firmware::default() };
        let core = World { firmware, ..World::default() }.boot();
        assert_results(call_both(&core, [VERSION]), [VERSION], [ours]);
        assert!(core.machine().take_calls().is_empty());
    }
}

#[test]
fn a_cpu_is_started_at_our_entry_and_begins_at_the_hosts() {
    let core = World::default().boot();
    for (index, target, context) in [(1, CPU_1, u64::MAX), (2, CPU_2, 7), (3, CPU_3, 0)] {
        assert_eq!(core.cpus().take_start(index), None, "nobody asked for it");
        let core = World::default().boot();
        assert_eq!(forwarded(&core, [CPU_ON, target, ENTRY, context], on_args(index, target)), 0);
        assert_eq!(stat(&core, stat::CPUS_ON), 1, "not there yet");
        assert_refused(&core, [CPU_ON, target, ENTRY, context], ON_PENDING);
        assert_eq!(core.cpus().take_start(index), Some((ENTRY, context)));
        assert_eq!(stat(&core, stat::CPUS_ON), 2);
        assert_refused(&core, [CPU_ON, target, ENTRY, context], ALREADY_ON);
        assert_eq!(core.cpus().take_start(index), None, "started twice");
    }
    assert_eq!(core.cpus().take_start(4), None);
}

#[test]
fn a_32_bit_cpu_on_has_32_bit_arguments() {
    let core = World::default().boot();
    let junk = 0xABCD_0000_0000_0000;
    let args = [CPU_ON & !WIDE, junk | CPU_2, junk | ENTRY, junk | 0xFFFF_FFFF];
    assert_eq!(forwarded(&core, args, on_args(2, CPU_2)), 0);
    assert_eq!(core.cpus().take_start(2), Some((ENTRY, 0xFFFF_FFFF)));
    // CPU 3 can't be named in 32 bits: this is CPU 0, which is on.
    assert_refused(&core, [CPU_ON & !WIDE, CPU_3, ENTRY, 0], ALREADY_ON);
}

#[test]
fn cpu_on_refuses_what_is_no_cpu() {
    let core = World::default().boot();
    for target in [2, 0x101, 0x1_0000, 0x2_0000_0000, 0x8000_0000, 0x8000_0001, 1 << 40, u64::MAX] {
        assert_refused(&core, [CPU_ON, target, ENTRY, 0], INVALID_PARAMETERS);
    }
    assert_refused(&core, [CPU_ON, 0, ENTRY, 0], ALREADY_ON);
}

/// Entries that are not the host's, for a `World` with an image and a withheld device.
fn bad_entries(world: &World) -> vec::Vec<u64> {
    let carve_out = world.carve_out();
    vec![
        ENTRY + 1,
        ENTRY + 2,
        0,
        0x0900_0000,
        GIB - 4,
        2 * GIB,
        1 << 48,
        u64::MAX - 3,
        carve_out.start,
        carve_out.end - 4,
        GIB + 0x40_0000,
        GIB + 0x6000_0000, // Corevisor's, no-map
        TAKEN,
    ]
}

const TAKEN: u64 = GIB + 0x77_7000;

fn world_with_bad_entries() -> (World, Core) {
    let world = World {
        ram: vec![range(GIB, GIB)],
        no_map: vec![range(GIB + 0x2000_0000, 0x1000)],
        image: Some(range(GIB + 0x40_0000, 0x3_0000)),
        ..World::default()
    };
    let core = world.boot();
    crate::world::take(&core, TAKEN).unwrap();
    (world, core)
}

#[test]
fn an_entry_that_is_not_the_hosts_memory_is_an_invalid_address() {
    let (world, core) = world_with_bad_entries();
    for entry in bad_entries(&world).into_iter().chain([GIB + 0x2000_0000]) {
        assert_refused(&core, [CPU_ON, CPU_1, entry, 0], INVALID_ADDRESS);
        assert_refused(&core, [CPU_DEFAULT_SUSPEND, entry, 0], INVALID_ADDRESS);
        assert_refused(&core, [SYSTEM_SUSPEND, entry, 0], INVALID_ADDRESS);
        assert_refused(&core, [CPU_SUSPEND, 1 << 16, entry, 0], INVALID_ADDRESS);
    }
    // The same CPU can be started after all that.
    assert_eq!(forwarded(&core, [CPU_ON, CPU_1, TAKEN + 0x1000, 5], on_args(1, CPU_1)), 0);
    assert_eq!(core.cpus().take_start(1), Some((TAKEN + 0x1000, 5)));
}

#[test]
fn what_the_firmware_refuses_can_be_tried_again() {
    let core = World::default().boot();
    for error in [INVALID_PARAMETERS, DENIED, ALREADY_ON, ON_PENDING, INTERNAL_FAILURE, INVALID_ADDRESS] {
        // Firmware may return 32 bits, or all 64.
        for x0 in [error as u64, error as u32 as u64] {
            core.machine().on_firmware_call(move |_| [x0, 0, 0, 0]);
            assert_eq!(forwarded(&core, [CPU_ON, CPU_1, ENTRY, 0], on_args(1, CPU_1)), error);
            assert_eq!(stat(&core, stat::CPUS_ON), 1);
        }
    }
    core.machine().on_firmware_call(|_| [0; 4]);
    assert_eq!(forwarded(&core, [CPU_ON, CPU_1, ENTRY, 9], on_args(1, CPU_1)), 0);
    assert_eq!(core.cpus().take_start(1), Some((ENTRY, 9)));
}

#[test]
fn a_started_cpu_that_cannot_join_is_off() {
    let core = World::default().boot();
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), 0);
    core.cpus().leave_off(1);
    assert_eq!(stat(&core, stat::CPUS_ON), 1);
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), 0);
    core.cpus().take_start(1).unwrap();
    core.cpus().leave_off(1);
    assert_eq!(stat(&core, stat::CPUS_ON), 2, "a CPU that runs is not off");
}

/// A core whose firmware calls `during` with it, as the firmware of the first call.
fn interleaved(during: impl Fn(&Core, [u64; 4]) -> i64 + Send + Sync + 'static) -> Arc<Core> {
    let core = Arc::new(World::default().boot());
    let weak: Weak<Core> = Arc::downgrade(&core);
    core.machine().on_firmware_call(move |args| {
        let core = weak.upgrade().unwrap();
        let me = crate::machine::Machine::cpu(core.machine());
        let result = during(&core, args);
        sim::set_cpu(me);
        [result as u64, 0, 0, 0]
    });
    core
}

#[test]
fn of_two_cpus_that_start_a_third_one_is_told_on_pending() {
    let core = interleaved(|core, args| {
        assert_eq!(args, on_args(1, CPU_1));
        sim::set_cpu(2);
        assert_eq!(psci(core, [CPU_ON, CPU_1, ENTRY + 8, 8]), ON_PENDING);
        0
    });
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 7]), 0);
    assert_eq!(core.machine().take_calls().len(), 1);
    assert_eq!(core.cpus().take_start(1), Some((ENTRY, 7)), "the winner's entry");
}

#[test]
fn a_cpu_may_run_before_its_cpu_on_returns() {
    let core = interleaved(|core, _| {
        assert_eq!(core.cpus().take_start(1), Some((ENTRY, 7)));
        sim::set_cpu(2);
        assert_eq!(psci(core, [CPU_ON, CPU_1, ENTRY, 8]), ALREADY_ON);
        0
    });
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 7]), 0);
    assert_eq!(stat(&core, stat::CPUS_ON), 2);
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 7]), ALREADY_ON);
}

/// CPU 1, made to run.
fn with_cpu_1_on() -> Arc<Core> {
    let core = Arc::new(World::default().boot());
    assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), 0);
    core.cpus().take_start(1).unwrap();
    core.machine().take_calls();
    core
}

#[test]
fn a_cpu_that_is_denied_cpu_off_is_on() {
    let core = with_cpu_1_on();
    sim::set_cpu(1);
    assert_eq!(forwarded(&core, [CPU_OFF], [CPU_OFF, 0, 0, 0]), DENIED);
    assert_eq!(stat(&core, stat::CPUS_ON), 2);
    sim::set_cpu(0);
    assert_refused(&core, [CPU_ON, CPU_1, ENTRY, 0], ALREADY_ON);
}

#[test]
fn a_cpu_on_its_way_off_is_the_firmwares_to_judge() {
    let core = with_cpu_1_on();
    let weak = Arc::downgrade(&core);
    core.machine().on_firmware_call(move |args| {
        let core = weak.upgrade().unwrap();
        match args[0] {
            CPU_OFF => {
                assert_eq!(stat(&core, stat::CPUS_ON), 1);
                sim::set_cpu(0);
                assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), ALREADY_ON);
                assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), ALREADY_ON, "as often as it is asked");
                sim::set_cpu(1);
                [DENIED as u64, 0, 0, 0]
            }
            _ => [ALREADY_ON as u64, 0, 0, 0],
        }
    });
    sim::set_cpu(1);
    assert_eq!(psci(&core, [CPU_OFF]), DENIED);
    assert_eq!(stat(&core, stat::CPUS_ON), 2);
}

/// CPU 0's CPU_ON has found CPU 1 off, and is with the firmware, when CPU 1's CPU_OFF comes back denied.
#[test]
fn a_denied_cpu_off_during_a_cpu_on_leaves_the_cpu_on() {
    let core = with_cpu_1_on();
    let (in_cpu_on, wait_for_cpu_on) = mpsc::channel::<()>();
    let (off_done, wait_for_off) = mpsc::channel::<()>();
    let waits = std::sync::Mutex::new((Some(wait_for_cpu_on), Some(wait_for_off)));
    core.machine().on_firmware_call(move |args| match args[0] {
        CPU_OFF => {
            waits.lock().unwrap().0.take().unwrap().recv().unwrap();
            [DENIED as u64, 0, 0, 0]
        }
        _ => {
            in_cpu_on.send(()).unwrap();
            let wait = waits.lock().unwrap().1.take().unwrap();
            wait.recv().unwrap();
            [ALREADY_ON as u64, 0, 0, 0]
        }
    });
    std::thread::scope(|scope| {
        let cpu_1 = scope.spawn(|| {
            sim::set_cpu(1);
            let result = psci(&core, [CPU_OFF]);
            off_done.send(()).unwrap();
            result
        });
        while stat(&core, stat::CPUS_ON) == 2 {
            std::thread::yield_now();
        }
        assert_eq!(psci(&core, [CPU_ON, CPU_1, ENTRY, 0]), ALREADY_ON);
        assert_eq!(cpu_1.join().unwrap(), DENIED);
    });
    assert_eq!(stat(&core, stat::CPUS_ON), 2);
}

#[test]
fn a_suspend_always_gets_our_entry() {
    for (extended_state, power_down, standby) in [(false, 1 << 16, 1 << 30), (true, 1 << 30, 1 << 16)] {
        let firmware = Firmware { extended_state, ..World::default().firmware };
        let core = World { firmware, ..World::default() }.boot();
        let ours = |state| [CPU_SUSPEND, state, CPU_ENTRY, CPU_CONTEXT];
        // Standby keeps the context: the entry is not used, and not looked at.
        for entry in [ENTRY, 0, 3, u64::MAX] {
            assert_eq!(forwarded(&core, [CPU_SUSPEND, standby | 5, entry, 7], ours(standby | 5)), 0);
            assert_eq!(core.cpus().take_start(0), None);
        }
        assert_eq!(forwarded(&core, [CPU_SUSPEND, power_down | 5, ENTRY, 7], ours(power_down | 5)), 0);
        assert_eq!(core.cpus().take_start(0), None, "it came back without a power-down");
        assert_refused(&core, [CPU_SUSPEND, power_down, GIB - 4, 7], INVALID_ADDRESS);
        assert_refused(&core, [CPU_SUSPEND, 1 << 31, ENTRY, 7], INVALID_PARAMETERS);
        let junk = 0xABCD_0000_0000_0000;
        let args = [CPU_SUSPEND & !WIDE, junk | power_down, junk | ENTRY, junk];
        assert_eq!(forwarded(&core, args, ours(power_down)), 0);
    }
}

#[test]
fn other_suspends_get_our_entry_too() {
    let core = World::default().boot();
    for id in [CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND] {
        for narrow in [id, id & !WIDE] {
            assert_eq!(forwarded(&core, [narrow, ENTRY, 7], [id, CPU_ENTRY, CPU_CONTEXT, 0]), 0);
            assert_eq!(core.cpus().take_start(0), None);
        }
    }
}

#[test]
fn a_cpu_that_was_powered_down_resumes_at_the_hosts_entry() {
    for args in [[CPU_SUSPEND, 1 << 16, ENTRY, 7], [CPU_DEFAULT_SUSPEND, ENTRY, 7, 0], [SYSTEM_SUSPEND, ENTRY, 7, 0]] {
        let core = interleaved(|core, args| {
            assert!(args.contains(&(CPU_CONTEXT + 1)), "the context of the CPU that suspends");
            assert_eq!(core.cpus().take_start(1), Some((ENTRY, 7)));
            0
        });
        sim::set_cpu(1);
        psci(&core, args);
        assert_eq!(core.machine().take_calls().len(), 1);
    }
}

#[test]
fn what_names_no_address_goes_on_as_it_is() {
    let core = World::default().boot();
    core.machine().on_firmware_call(|_| [42, 1, 2, 3]);
    let wide = 0x1_0000_0001;
    for (args, sent) in [
        ([AFFINITY_INFO, wide, 0, 9], [AFFINITY_INFO, wide, 0, 9]),
        ([AFFINITY_INFO & !WIDE, wide, 0, 0], [AFFINITY_INFO & !WIDE, 1, 0, 0]),
        ([MIGRATE_INFO_TYPE, 0, 0, 0], [MIGRATE_INFO_TYPE, 0, 0, 0]),
        ([NODE_HW_STATE, wide, 1, 0], [NODE_HW_STATE, wide, 1, 0]),
        ([STAT_RESIDENCY, wide, 1, 0], [STAT_RESIDENCY, wide, 1, 0]),
        ([STAT_COUNT, wide, 1, 0], [STAT_COUNT, wide, 1, 0]),
        ([SYSTEM_OFF, 0, 0, 0], [SYSTEM_OFF, 0, 0, 0]),
        ([SYSTEM_RESET, 0, 0, 0], [SYSTEM_RESET, 0, 0, 0]),
        ([SYSTEM_RESET2, 0x8000_0001, u64::MAX, 0], [SYSTEM_RESET2, 0x8000_0001, u64::MAX, 0]),
        ([SYSTEM_RESET2 & !WIDE, 0, u64::MAX, 0], [SYSTEM_RESET2 & !WIDE, 0, 0xFFFF_FFFF, 0]),
    ] {
        assert_eq!(forwarded(&core, args, sent), 42);
    }
    assert_refused(&core, [AFFINITY_INFO, 0, 4, 0], INVALID_PARAMETERS);
}

/// What the host may ask for: everything else is not there, whatever the firmware has.
const OFFERED: [u64; 22] = [
    VERSION,
    CPU_SUSPEND,
    CPU_SUSPEND & !WIDE,
    CPU_OFF,
    CPU_ON,
    CPU_ON & !WIDE,
    AFFINITY_INFO,
    AFFINITY_INFO & !WIDE,
    MIGRATE_INFO_TYPE,
    SYSTEM_OFF,
    SYSTEM_RESET,
    FEATURES,
    CPU_DEFAULT_SUSPEND,
    CPU_DEFAULT_SUSPEND & !WIDE,
    NODE_HW_STATE,
    NODE_HW_STATE & !WIDE,
    SYSTEM_SUSPEND,
    SYSTEM_SUSPEND & !WIDE,
    SYSTEM_RESET2,
    SYSTEM_RESET2 & !WIDE,
    STAT_COUNT,
    STAT_RESIDENCY,
];

#[test]
fn functions_that_are_not_offered_do_not_exist() {
    let core = World::default().boot();
    let narrow = [STAT_COUNT & !WIDE, STAT_RESIDENCY & !WIDE];
    for id in (0x8400_0000..0x8400_0020).chain(0xC400_0000..0xC400_0020) {
        if !OFFERED.contains(&id) && !narrow.contains(&id) {
            assert_refused(&core, [id, 1, 0, 0], NOT_SUPPORTED);
            assert_refused(&core, [FEATURES, id], NOT_SUPPORTED);
        }
    }
    for id in [0, 0x8000_0001, 0x8600_FF01, 0xC600_1020, 0x8400_0050, u64::MAX] {
        assert_refused(&core, [FEATURES, id], NOT_SUPPORTED);
    }
}

#[test]
fn features_of_what_is_offered_are_the_firmwares() {
    let core = World::default().boot();
    core.machine().on_firmware_call(|args| if args[1] == CPU_SUSPEND { [2; 4] } else { [NOT_SUPPORTED as u64; 4] });
    for id in OFFERED {
        let (answer, asks) = match id {
            VERSION | FEATURES => (0, 0),
            CPU_SUSPEND => (2, 1),
            _ => (NOT_SUPPORTED, 1),
        };
        assert_eq!(psci(&core, [FEATURES, id]), answer, "{id:#x}");
        assert_eq!(core.machine().take_calls(), vec![[FEATURES, id, 0, 0]; asks]);
    }
    assert_eq!(psci(&core, [FEATURES, 0x8000_0000]), 0, "SMCCC_VERSION");
    assert!(core.machine().take_calls().is_empty());
}
