// SPDX-License-Identifier: GPL-2.0-only
//! CPUs that come and go.

use crate::rt::call::{self, psci, stat};
use crate::rt::cpu::{self, CPUS, ask_to_start, entry, mpidr, starts, wait_until};
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::stat as id;

fn context(cpu: usize, round: u64) -> u64 {
    0xC0FF_EE00_0000_0000 | (cpu as u64) << 32 | round
}

/// Checks how CPU `cpu` came up.
fn check_start(cpu: usize, context: u64) {
    const EL1H_MASKED: u64 = 0x3C5;
    /// SCTLR_EL1: MMU, caches, alignment checks, big-endian data.
    const M_A_C_I_E0E_EE: u64 = 1 | (1 << 1) | (1 << 2) | (1 << 12) | (0b11 << 24);
    let it = &CPUS[cpu];
    assert_eq!(it.context.load(Ordering::Acquire), context, "x0");
    assert_eq!(it.start_others.load(Ordering::Acquire), 0, "x1 to x30");
    assert_eq!(it.start_state.load(Ordering::Acquire), EL1H_MASKED);
    assert_eq!(it.start_sctlr.load(Ordering::Acquire) & M_A_C_I_E0E_EE, 0);
}

fn start_with(cpu: usize, context: u64) {
    let before = starts(cpu);
    cpu::forget_work(cpu);
    assert_eq!(ask_to_start(cpu, context), psci::SUCCESS);
    wait_until("start of a CPU", 10, || starts(cpu) == before + 1);
    check_start(cpu, context);
}

pub fn every_cpu_comes_up() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    for cpu in 1..4 {
        start_with(cpu, context(cpu, 0));
        assert_eq!(stat(id::CPUS_ON), cpu as u64 + 1);
        cpu::give_work(cpu, |me| {
            call::still_alive();
            SEEN.fetch_or(1 << me, Ordering::AcqRel);
        });
        cpu::wait_for(cpu);
    }
    assert_eq!(SEEN.load(Ordering::Acquire), 0b1110);
    for cpu in 1..4 {
        cpu::stop(cpu);
        assert_eq!(stat(id::CPUS_ON), 4 - cpu as u64);
    }
}

/// The 32-bit CPU_ON ignores the upper half of its arguments.
pub fn narrow_cpu_on_takes_narrow_arguments() {
    const JUNK: u64 = 0xDEAD_BEEF << 32;
    let before = starts(1);
    let args = [mpidr(1) | JUNK, entry() | JUNK, 0x1234_5678 | JUNK];
    assert_eq!(call::psci(psci::CPU_ON_32, args), psci::SUCCESS);
    wait_until("start of a CPU", 10, || starts(1) == before + 1);
    check_start(1, 0x1234_5678);
    cpu::stop(1);
}

pub fn off_and_on_again() {
    for round in 0..50 {
        for cpu in 1..4 {
            start_with(cpu, context(cpu, round));
        }
        for cpu in 1..4 {
            cpu::stop(cpu);
        }
    }
    assert_eq!(stat(id::CPUS_ON), 1);
}

/// The round that the racers may begin; what came of it for each.
static ROUND: AtomicU64 = AtomicU64::new(0);
static RESULTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
const PENDING: u64 = 1 << 40;

/// Two CPUs want to start a third at the same time: exactly one does, and its context it is that counts.
pub fn one_winner_of_two() {
    const ROUNDS: u64 = 300;
    const RACERS: [usize; 2] = [1, 2];
    const TARGET: usize = 3;
    ROUND.store(0, Ordering::Release);
    for racer in RACERS {
        cpu::start(racer);
        cpu::give_work(racer, |me| {
            for round in 1..=ROUNDS {
                wait_until("next round", 60, || ROUND.load(Ordering::Acquire) == round);
                let result = ask_to_start(TARGET, context(me, round));
                RESULTS[me].store(result as u64, Ordering::Release);
            }
        });
    }
    for round in 1..=ROUNDS {
        let before = starts(TARGET);
        RESULTS.iter().for_each(|result| result.store(PENDING, Ordering::Release));
        ROUND.store(round, Ordering::Release);
        let results = RACERS.map(|racer| {
            wait_until("a racer's result", 60, || RESULTS[racer].load(Ordering::Acquire) != PENDING);
            RESULTS[racer].load(Ordering::Acquire) as i64
        });
        let (winner, other) = match results {
            [psci::SUCCESS, other] => (RACERS[0], other),
            [other, psci::SUCCESS] => (RACERS[1], other),
            _ => panic!("round {round}: {results:?}"),
        };
        assert!([psci::ALREADY_ON, psci::ON_PENDING].contains(&other), "round {round}: {results:?}");
        wait_until("start of a CPU", 10, || starts(TARGET) == before + 1);
        check_start(TARGET, context(winner, round));
        cpu::stop(TARGET);
        assert_eq!(starts(TARGET), before + 1);
    }
    for racer in RACERS {
        cpu::wait_for(racer);
        cpu::stop(racer);
    }
}

/// Another CPU is asked for again and again while it switches itself off.
pub fn on_while_going_off() {
    const TARGET: usize = 1;
    for round in 1..=200 {
        cpu::start(TARGET);
        let before = starts(TARGET);
        cpu::give_work(TARGET, cpu::leave);
        wait_until("success of CPU_ON", 10, || match ask_to_start(TARGET, context(TARGET, round)) {
            psci::SUCCESS => true,
            psci::ALREADY_ON | psci::ON_PENDING => false,
            other => panic!("round {round}: {other}"),
        });
        // It comes up with the work that it had, and leaves again.
        wait_until("start of a CPU", 10, || starts(TARGET) == before + 1);
        check_start(TARGET, context(TARGET, round));
        let off = || call::psci(psci::AFFINITY_INFO_64, [mpidr(TARGET), 0, 0]) == psci::OFF;
        wait_until("end of a CPU", 10, off);
    }
    cpu::forget_work(TARGET);
}
