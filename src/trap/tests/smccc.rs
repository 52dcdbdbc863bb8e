// SPDX-License-Identifier: GPL-2.0-only
//! Calls that are not PSCI.

use super::{assert_results, call, distinct};
use crate::abi::{self, features, host_call, page_owner, stat};
use crate::lock::Held;
use crate::trap::{Conduit, Firmware, IdRegister};
use crate::world::{Core, GIB, MIB, World, range, snapshot, stat};
use std::vec;
use std::vec::Vec;

const NOT_SUPPORTED: u64 = abi::NOT_SUPPORTED as u64;
const INVALID_PARAMETER: u64 = abi::INVALID_PARAMETER as u64;
const SVE_HINT: u64 = 1 << 16;

fn host_call(number: u32) -> u64 {
    (abi::HOST_CALL_BASE + number).into()
}

/// What goes on to the firmware: id, and whether its arguments are 32 bits wide.
const FORWARDED: [(u64, bool); 10] = [
    (0x8000_0002, true),
    (0x8000_8000, true),
    (0x8000_7FFF, true),
    (0x8000_3FFF, true),
    (0x8400_0050, true),
    (0x8400_0051, true),
    (0x8400_0052, true),
    (0x8400_0053, true),
    (0xC400_0053, false),
    (0x8000_0001, true), // SMCCC_ARCH_FEATURES of one of the above, see below
];

/// Ids of every owning entity, of both widths and both types, less what is known.
fn unknown_ids() -> Vec<u64> {
    let known = [0x8000_0000, 0x8000_0001, 0x8600_FF01, 0x8600_FF03];
    let mut ids = Vec::new();
    for top in [0x0000_0000u64, 0x4000_0000, 0x8000_0000, 0xC000_0000] {
        for owner in 0..64 {
            for function in
                [0, 1, 2, 3, 0x1F, 0x20, 0x4F, 0x50, 0x53, 0x54, 0x3FFF, 0x7FFF, 0x8000, 0xFF01, 0xFF03, 0xFFFF]
            {
                ids.push(top | (owner << 24) | function);
            }
        }
    }
    ids.retain(|id| {
        let psci = matches!(id & !0x1F, 0x8400_0000 | 0xC400_0000);
        !psci && !known.contains(id) && !FORWARDED.iter().any(|(f, _)| f == id)
    });
    ids
}

#[test]
fn unknown_calls_are_not_supported_and_change_nothing_else() {
    let core = World::default().boot();
    let before = snapshot(&core);
    for id in unknown_ids() {
        let refused = stat(&core, stat::REFUSED_CALL);
        assert_results(call(&core, [id]), [id], [NOT_SUPPORTED]);
        assert_eq!(stat(&core, stat::REFUSED_CALL), refused + 2);
    }
    assert_eq!(core.machine().take_calls(), [[0u64; 4]; 0], "no call reaches the firmware");
    assert_eq!(snapshot(&core), before);
}

#[test]
fn an_immediate_makes_every_call_unknown() {
    let core = World::default().boot();
    for id in [0x8000_0000, 0x8400_0000, 0x8400_0008, 0x8000_8000, abi::CALL_UID.into(), host_call(host_call::VERSION)]
    {
        for immediate in [1, 0x8000, u16::MAX] {
            for conduit in [Conduit::Hvc, Conduit::Smc] {
                let mut regs = distinct();
                regs[0] = id;
                core.host_smccc(conduit, immediate, &mut regs, &mut Held::nothing());
                assert_results(regs, [id], [NOT_SUPPORTED]);
            }
        }
    }
    assert!(core.machine().take_calls().is_empty());
}

#[test]
fn the_upper_half_of_x0_and_the_sve_hint_are_ignored() {
    let core = World::default().boot();
    for noise in [0, SVE_HINT, 0xFFFF_FFFF_0000_0000, 0xDEAD_0000_0000_0000 | SVE_HINT] {
        let id = noise | 0x8000_0000;
        assert_results(call(&core, [id]), [id], [0x1_0002]);
        let id = noise | host_call(host_call::VERSION);
        assert_results(call(&core, [id]), [id], [abi::VERSION.into()]);
        let id = noise | 0x8400_0000;
        assert_results(call(&core, [id]), [id], [0x1_0001]);
    }
}

#[test]
fn who_we_are() {
    let core = World::default().boot();
    let uid = call(&core, [abi::CALL_UID.into()]);
    assert_results(uid, [abi::CALL_UID.into()], abi::UID.map(u64::from));
    // The UUID as text is the words' bytes, least significant first.
    let bytes: Vec<u8> = uid[..4].iter().flat_map(|&word| (word as u32).to_le_bytes()).collect();
    let text = [0xc0, 0xe5, 0xe1, 0x50, 0x2f, 0x6b, 0x4f, 0x0e, 0x9d, 0x0a, 0x7b, 0xe1, 0xa7, 0xc0, 0xde, 0x16];
    assert_eq!(bytes, text);
    assert_results(call(&core, [abi::CALL_REVISION.into()]), [abi::CALL_REVISION.into()], [1, 0]);
}

fn answering(world: World) -> Core {
    let core = world.boot();
    core.machine().on_firmware_call(|_| [0xF0, 0xF1, 0xF2, 0xF3]);
    core
}

#[test]
fn calls_on_the_list_go_to_the_firmware_with_three_arguments() {
    let core = answering(World::default());
    let wide = [0x1111_2222_8000_8000, 0x3333_4444_5555_6666, 0x7777_8888_9999_AAAA];
    for (id, is_32) in FORWARDED {
        let args = [id, wide[0], wide[1], wide[2]];
        let after = call(&core, args);
        assert_results(after, args, [0xF0, 0xF1, 0xF2, 0xF3]);
        let width = if is_32 { 0xFFFF_FFFF } else { u64::MAX };
        let sent = [id, wide[0] & width, wide[1] & width, wide[2] & width];
        assert_eq!(core.machine().take_calls(), [sent; 2]);
    }
}

#[test]
fn nothing_goes_to_firmware_that_does_not_speak_smccc_1_1() {
    let firmware = Firmware { smccc_1_1: false, ..World::default().firmware };
    let core = answering(World { firmware, ..World::default() });
    for (id, _) in FORWARDED {
        let args = [id, 0x8000_8000];
        assert_results(call(&core, args), args, [NOT_SUPPORTED]);
    }
    assert!(core.machine().take_calls().is_empty());
}

#[test]
fn arch_features_knows_our_own() {
    let core = answering(World::default());
    for (asked, answer) in [(0x8000_0000, 0), (0x8000_0001, 0), (0x8000_0003, NOT_SUPPORTED), (0, NOT_SUPPORTED)] {
        let args = [0x8000_0001, asked];
        assert_results(call(&core, args), args, [answer]);
    }
    assert!(core.machine().take_calls().is_empty());
}

#[test]
fn version_and_features() {
    let core = World::default().boot();
    let id = host_call(host_call::VERSION);
    assert_results(call(&core, [id]), [id], [abi::VERSION.into()]);
    let id = host_call(host_call::FEATURES);
    let test_image = u64::from(cfg!(feature = "semihosting"));
    assert_results(
        call(&core, [id]),
        [id],
        [0, test_image | features::VMS | features::UNSIGNED_VMS, stat::COUNT, 4, 4],
    );
}

#[test]
fn stats_returns_each_counter_in_x1() {
    let core = World::default().boot();
    let id = host_call(host_call::STATS);
    crate::world::take(&core, GIB).unwrap();
    for counter in 0..stat::COUNT {
        // By HVC alone, as the calls are counted, too.
        let mut regs = distinct();
        regs[..2].copy_from_slice(&[id, counter]);
        core.host_smccc(Conduit::Hvc, 0, &mut regs, &mut Held::nothing());
        assert_results(regs, [id, counter], [0, stat(&core, counter)]);
    }
    assert_eq!(stat(&core, stat::TRAP_HVC), stat::COUNT);
    assert_eq!(stat(&core, stat::TRAP_SMC), 0);
    assert_eq!(stat(&core, stat::CPUS_ON), 1);
    assert_eq!(stat(&core, stat::BLOCK_SPLIT), 1);
    assert!(stat(&core, stat::HOST_TABLE_PAGES) > 3);
    for counter in [stat::COUNT, 1 << 32, u64::MAX] {
        assert_results(call(&core, [id, counter]), [id, counter], [INVALID_PARAMETER]);
    }
    assert_eq!(core.machine().take_refusals().len(), 6);
}

#[test]
fn the_host_may_know_whose_pages_are() {
    let withheld = range(0x0801_0000, 0x2000);
    let core = World { withheld: vec![withheld], ..World::default() }.boot();
    let id = host_call(host_call::PAGE_OWNER);
    let [first, last] = [GIB, 2 * GIB].map(|at| at / 4096);
    let carve_out = World::default().carve_out().start / 4096;
    crate::world::take(&core, GIB + 4096).unwrap();
    let nobody = page_owner::NOBODY;
    let expected = [
        (0, [nobody, 0x8010, 1]),
        (0x8010, [nobody, 2, 0]),
        (0x8012, [nobody, first - 0x8012, 1]),
        (first, [page_owner::HOST, 1, 1]),
        (first + 1, [15, 1, 0]),
        (first + 2, [page_owner::HOST, 1 << 15, 1]),
        (carve_out, [page_owner::COREVISOR, last - carve_out, 0]),
        (last, [nobody, (1 << 28) - last, 1]),
    ];
    let before = snapshot(&core);
    for (page, [owner, pages, open]) in expected {
        assert_results(call(&core, [id, page]), [id, page], [0, owner, pages, open]);
    }
    for page in [1 << 28, 1 << 36, u64::MAX] {
        assert_results(call(&core, [id, page]), [id, page], [INVALID_PARAMETER]);
    }
    assert_eq!(snapshot(&core), before);
}

#[test]
fn the_host_may_know_what_vms_read_in_id_registers() {
    let core = World::default().boot();
    let id = host_call(host_call::VM_ID_REGISTER);
    let name = |op1: u64, crn: u64, crm: u64, op2: u64| 3 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2;
    core.machine().with_features(|features| {
        features.id.insert(IdRegister::Isar0, 0xEEEE_EEEE_EEEE_EEEE);
        features.gic_registers = true;
    });
    // ID_AA64ISAR0_EL1, ID_AA64PFR0_EL1, ID_AA64ZFR0_EL1, ID_AA64MMFR4_EL1, ID_PFR0_EL1; REVIDR_EL1, AIDR_EL1.
    let pfr0 = 0x11 | 1 << 24;
    let known = [(6, 0, 0x1221_1111_1021_2120), (4, 0, pfr0), (4, 4, 0), (7, 4, 0), (1, 0, 0), (0, 6, 0)];
    for (register, value) in
        known.map(|(crm, op2, value)| (name(0, 0, crm, op2), value)).into_iter().chain([(name(1, 0, 0, 7), 0)])
    {
        assert_results(call(&core, [id, register]), [id, register], [0, value]);
    }
    // MIDR_EL1, MPIDR_EL1, CTR_EL0, ACTLR_EL1, SCTLR_EL1; MDRAR_EL1, which reads as 0, too; nothing; more than a name.
    let debug = 2 << 14 | 1 << 7;
    let none = [name(0, 0, 0, 0), name(0, 0, 0, 5), name(3, 0, 0, 1), name(0, 1, 0, 1), name(0, 1, 0, 0), debug, 0];
    for register in none.into_iter().chain([name(0, 0, 6, 0) | 1 << 16, name(0, 0, 6, 0) | 1 << 63]) {
        assert_results(call(&core, [id, register]), [id, register], [INVALID_PARAMETER]);
    }
}

/// Reads the whole log from `position` on by LOG_READ.
fn read_log(core: &Core, mut position: u64) -> Vec<u8> {
    let id = host_call(host_call::LOG_READ);
    let mut all = Vec::new();
    loop {
        let regs = call(core, [id, position]);
        assert_eq!(regs[18..], distinct()[18..], "registers after x17");
        let length = regs[0] as usize;
        assert!(length <= abi::LOG_READ_MAX);
        let bytes: Vec<u8> = regs[2..18].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert!(bytes[length..].iter().all(|&b| b == 0), "nothing of the stack leaks");
        if length == 0 {
            return all;
        }
        all.extend(&bytes[..length]);
        position = regs[1] + length as u64;
    }
}

#[test]
fn log_read_returns_the_log_in_order() {
    let core = World::default().boot();
    assert_eq!(read_log(&core, 0), b"");
    let text: Vec<u8> = (0..1000u32).map(|i| b'a' + (i % 26) as u8).collect();
    core.machine().log().write(&text);
    assert_eq!(read_log(&core, 0), text);
    assert_eq!(read_log(&core, 993), text[993..]);
    assert_eq!(read_log(&core, 1000), b"");
    assert_eq!(read_log(&core, u64::MAX), b"");
    let id = host_call(host_call::LOG_READ);
    let end = call(&core, [id, u64::MAX]);
    assert_eq!((end[0], end[1]), (0, 1000));
}

// Tests: TD-1
#[test]
fn calls_with_arguments_out_of_range_and_numbers_that_are_no_calls_change_nothing() {
    let core = World { ram: vec![range(GIB, 64 * MIB)], ..World::default() }.boot();
    let before = snapshot(&core);
    for number in 0..0x1000u32 {
        if cfg!(feature = "semihosting") && number >= 0xF00 {
            break;
        }
        let no_range = [host_call::VERSION, host_call::FEATURES, host_call::LOG_READ];
        if no_range.contains(&number) {
            continue;
        }
        let id = host_call(number);
        let args = [id, u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX];
        let call_exists = matches!(number, 13..=30 | 34 | 36..=41);
        let expected = if call_exists { INVALID_PARAMETER } else { NOT_SUPPORTED };
        assert_results(call(&core, args), args, [expected]);
    }
    assert_eq!(snapshot(&core), before);
    assert!(core.machine().take_calls().is_empty());
    assert!(core.machine().take_refusals().iter().all(|line| line.starts_with("host call 0xc600")));
}
