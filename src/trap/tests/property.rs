// SPDX-License-Identifier: GPL-2.0-only
//! Random calls of a hostile host. `COREVISOR_CASES` sets how many sequences are tried.

use super::distinct;
use crate::abi::{self, stat};
use crate::lock::Held;
use crate::machine::sim::{self, CPU_CONTEXT, CPU_ENTRY};
use crate::trap::{Conduit, Registers};
use crate::world::{GIB, MIB, World, range, snapshot, stat};
use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::vec;

/// Ids that mean something, and any.
fn ids() -> impl Strategy<Value = u64> {
    let psci = (prop::bool::ANY, 0u64..0x20).prop_map(|(wide, n)| (if wide { 0xC400_0000 } else { 0x8400_0000 }) + n);
    let host = (0..40u64).prop_map(|n| u64::from(abi::HOST_CALL_BASE) + n);
    let arch = prop::sample::select(vec![0x8000_0000u64, 0x8000_0001, 0x8000_8000, 0x8400_0053, 0xC400_0053]);
    (prop_oneof![4 => psci, 4 => host, 1 => arch, 1 => any::<u64>()], any::<bool>())
        .prop_map(|(id, hint)| if hint { id | (1 << 16) } else { id })
}

fn args() -> impl Strategy<Value = u64> + Clone {
    let known = vec![0, 1, 2, 0x100, 1 << 32, GIB, GIB + 0x8_0000, GIB + 62 * MIB, 1 << 16, 1 << 30, u64::MAX];
    prop_oneof![4 => prop::sample::select(known), 1 => 0..200u64, 1 => any::<u64>()]
}

// Tests: TD-1
#[test]
fn no_call_hurts() {
    let call =
        (ids(), prop::collection::vec(args(), 5), 0..4usize, any::<bool>(), prop_oneof![9 => 0u16..1, 1 => 0u16..5]);
    let sequence = prop::collection::vec(call, 1..30);
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let world = World { ram: vec![range(GIB, 64 * MIB)], ..World::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, seed).run(&sequence, |calls| {
        let core = world.boot();
        let mut before = snapshot(&core);
        for (id, args, cpu, by_smc, immediate) in calls {
            sim::set_cpu(cpu);
            let mut regs: Registers = distinct();
            regs[0] = id;
            regs[1..6].copy_from_slice(&args);
            let conduit = if by_smc { Conduit::Smc } else { Conduit::Hvc };
            core.host_smccc(conduit, immediate, &mut regs, &mut Held::nothing());
            assert_eq!(regs[18..], distinct()[18..], "call {id:#x}");
            let after = snapshot(&core);
            if (regs[0] as i64) < 0 {
                assert!(before == after, "call {id:#x} was refused, but has changed something");
            }
            before = after;
        }
        for [id, x1, x2, x3] in core.machine().take_calls() {
            // Where the firmware is told an entry it is ours, with our context.
            let entry = match id & !(1 << 30) {
                0x8400_0001 | 0x8400_0003 => Some((x2, x3)),
                0x8400_000C | 0x8400_000E => Some((x1, x2)),
                _ => None,
            };
            if let Some((entry, context)) = entry {
                assert_eq!(entry, CPU_ENTRY, "call {id:#x}");
                assert!((CPU_CONTEXT..CPU_CONTEXT + 4).contains(&context), "call {id:#x}");
            }
            let rest = x1 >> 32 | x2 >> 32 | x3 >> 32;
            assert!(id >> 32 == 0 && (id & (1 << 30) != 0 || rest == 0), "call {id:#x} with 64-bit arguments");
        }
        assert!((1..=4).contains(&stat(&core, stat::CPUS_ON)));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}
