// SPDX-License-Identifier: GPL-2.0-only
//! The host's calls: which arguments are refused. `HostCall::parse` against the model's dispatcher, and both against the
//! tables of `spec/layers/10-abi-flows.md` §10.1 and `09-traps.md` §9.5, written down here once more.

use corevisor::refused::Refused;
use corevisor::trap::HostCall;
use model::RData;
use model::rdata::S2Index;
use model::registers::GP;
use model::trap_dispatcher::host_hvc_dispatcher;
use std::collections::BTreeMap;

/// All numbers of calls that are tried: those of the specification and of Corevisor, and their neighbours.
const CALLS: std::ops::Range<u32> = 0..40;

type Args = [u64; 5];

/// Why Corevisor refuses what the published dispatcher lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strict {
    /// The C tree's two halves of the offset; the specification's call has no arguments.
    Halves,
    /// Call 14: 40 bits, as MO-1 relies on page numbers; the dispatcher tests for 48.
    Physical,
    /// The range's end, rounded up to whole pages (§9.5).
    RoundedEnd,
    /// D-52: only VMs have devices.
    Vm,
    /// What kind of VM it is, is an argument.
    Flags,
    /// The run page, which the specification finds by itself (AM-18), is an argument.
    RunPage,
    /// D-28: the published dispatcher does not know the call, TrapHandler does, with these ranges.
    Encrypted,
}

fn vm(v: u64) -> bool {
    0 < v && v < 16
}

/// Whether a range ends below `2^bits`: as it is, or rounded up to whole pages.
fn ends(start: u64, size: u64, bits: u32, rounded: bool) -> bool {
    let size = if rounded { u128::from(size).next_multiple_of(4096) } else { size.into() };
    u128::from(start) + size < 1 << bits
}

/// The ranges of the published dispatcher (TD-1); what it does not know it does not refuse.
fn published(call: u32, [x1, x2, x3, x4, x5]: Args) -> bool {
    let (phys, addr) = (1 << 40, 1 << 48);
    match call {
        14 => vm(x1) && x2 < addr && x3 < addr,
        15 => vm(x1) && x2 < phys && x3 < phys && ends(x2, x3, 40, false),
        16 => vm(x1) && x2 < 1 << 28 && x3 < 5,
        17 => vm(x1),
        18 => x1 < 8 && x2 < 2,
        19 => x1 < 8 && x2 < 16 && x3 < 2,
        20 => {
            let address_bits = 0x0FFF_FFFF_FFFF_F000 & ((1 << 48) - 1);
            x1 < phys && x2 < phys && x3 < (1 << 63) - 1 && x3 & address_bits == 0 && x4 < 8 && x5 < 2
        }
        21 | 22 => x1 < phys && x2 < 8 && x3 < 2,
        23 => x1 < 17 && ends(x2, x4, 48, false) && ends(x3, x4, 40, false),
        25 => vm(x1) && x2 < 8,
        _ => true,
    }
}

/// What of the arguments only Corevisor refuses, if it refuses them.
fn strict(call: u32, [x1, x2, x3, x4, _]: Args) -> Option<Strict> {
    let phys = 1 << 40;
    let refused = |it: bool, why: Strict| it.then_some(why);
    match call {
        13 => refused(x1 >> 32 != 0 || x2 >> 32 != 0, Strict::Halves),
        14 if x2 >= phys || x3 >= phys => Some(Strict::Physical),
        14 | 15 => refused(!ends(x2, x3, 40, true), Strict::RoundedEnd),
        23 if !vm(x1) => Some(Strict::Vm),
        23 => refused(!ends(x2, x4, 48, true) || !ends(x3, x4, 40, true), Strict::RoundedEnd),
        24 => refused(x1 >= 4, Strict::Flags),
        25 => refused(x3 >= phys || x3 % 4096 != 0, Strict::RunPage),
        26 => refused(!vm(x1) || x2 >= phys || x3 >= phys, Strict::Encrypted),
        27 => refused(!vm(x1) || x2 >= phys, Strict::Encrypted),
        28 | 29 => refused(!vm(x1) || x2 >= 8, Strict::Encrypted),
        _ => None,
    }
}

/// Whether the model's dispatcher itself refuses the arguments: it halts, and no lock was ever taken. The functions that it
/// calls halt with a lock in hand.
fn refused_by_model(call: u32, args: Args) -> bool {
    let mut d = RData::new(S2Index::Pfn);
    for (reg, value) in GP.iter().zip([u64::from(call)].into_iter().chain(args)) {
        d.ctxt(0, 0).set(reg, value);
    }
    let defined = host_hvc_dispatcher(&mut d).is_some();
    defined && d.halt && d.logs.is_empty()
}

/// Whether the model would go through so many pages that it isn't asked.
fn is_long(call: u32, args: Args) -> bool {
    call == 23 && args[3] > 1 << 24 && published(call, args)
}

/// Corevisor's answer; x6 to x11 may be anything.
fn parse(call: u32, [x1, x2, x3, x4, x5]: Args) -> Result<HostCall, Refused> {
    HostCall::parse(call, [x1, x2, x3, x4, x5, x1, x2, x3, x4, x5, x1])
}

/// Compares one call; why Corevisor alone refuses it, if it does.
fn compare(call: u32, args: Args) -> Option<Strict> {
    let published = published(call, args);
    if !is_long(call, args) {
        assert_eq!(refused_by_model(call, args), !published, "call {call} {args:x?}: the model's dispatcher");
    }
    let only_ours = strict(call, args).filter(|_| published);
    let got = parse(call, args);
    match call {
        13..=29 => {
            let refused = matches!(got, Err(Refused::Argument(1..=5)));
            assert!(refused || got.is_ok(), "call {call} {args:x?}: {got:?}");
            assert_eq!(refused, !published || only_ours.is_some(), "call {call} {args:x?}: {got:?}");
        }
        // The specification's other entries, in Corevisor's numbers: TH-3, and ours.
        30 => assert_eq!(got.is_ok(), vm(args[0]) && args[1] < 8, "call {call} {args:x?}: {got:?}"),
        32 | 33 | 35 | 36 => assert!(got.is_ok(), "call {call} {args:x?}: {got:?}"),
        34 | 37 => assert_eq!(got.is_ok(), vm(args[0]), "call {call} {args:x?}: {got:?}"),
        38 => assert_eq!(got.is_ok(), args[0] < 1 << 36, "call {call} {args:x?}: {got:?}"),
        39 => assert_eq!(got.is_ok(), args[0] < 1 << 16, "call {call} {args:x?}: {got:?}"),
        _ => assert_eq!(got, Err(Refused::NotSupported), "call {call} {args:x?}"),
    }
    only_ours
}

/// Values at which a test of a range may go wrong.
fn edges() -> Vec<u64> {
    let mut edges = vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, u64::MAX, u64::MAX - 4095, u64::MAX - 4096];
    for bits in [12, 24, 28, 31, 32, 36, 40, 47, 48, 52, 60, 62, 63] {
        edges.extend([-4097i64, -4096, -4095, -2, -1, 0, 1, 4096].map(|n| (1u64 << bits).wrapping_add_signed(n)));
    }
    edges
}

/// A deterministic stream of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Arguments that every call accepts.
const ACCEPTED: Args = [1, 1, 0, 1, 1];

#[test]
fn each_argument_is_refused_at_the_same_edge() {
    for call in CALLS {
        assert_eq!(compare(call, ACCEPTED), None, "call {call}");
        for argument in 0..5 {
            for value in edges() {
                let mut args = ACCEPTED;
                args[argument] = value;
                compare(call, args);
            }
        }
    }
}

#[test]
fn random_arguments_are_refused_alike() {
    let cases: u64 = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(160);
    let (edges, mut random) = (edges(), Random(1));
    let mut reasons = BTreeMap::<Strict, usize>::new();
    let [mut accepted, mut refused] = [0; 2];
    for _ in 0..cases * 250 {
        let call = 13 + (random.next() % 18) as u32;
        let mut args = ACCEPTED;
        for arg in &mut args {
            *arg = match random.next() % 8 {
                0..=3 => *arg,
                4 | 5 => edges[random.next() as usize % edges.len()],
                6 => random.next() >> (random.next() % 64),
                // An end close to one of the two limits, if another argument is a size.
                _ => (1 << if random.next() % 2 == 0 { 40 } else { 48 }) - random.next() % 0x4000,
            };
        }
        match compare(call, args) {
            Some(why) => *reasons.entry(why).or_default() += 1,
            None if parse(call, args).is_ok() => accepted += 1,
            None => refused += 1,
        }
    }
    println!("{accepted} calls accepted by both, {refused} refused by both, refused by Corevisor only: {reasons:?}");
    assert_eq!(reasons.len(), 7, "each reason must have occurred: {reasons:?}");
}

#[test]
fn ranges_are_tried_at_their_page_rounded_ends() {
    let phys = 1u64 << 40;
    for (call, size, position) in [(14, 3, 2), (15, 3, 2), (23, 4, 2), (23, 4, 3)] {
        let limit = if (call, position) == (23, 2) { 1 << 48 } else { phys };
        for bytes in [0, 1, 4095, 4096, 4097, 0x1_0000] {
            for below in (0..0x1_2000).step_by(512).flat_map(|n: u64| [n.saturating_sub(1), n, n + 1]) {
                let mut args = ACCEPTED;
                (args[size - 1], args[position - 1]) = (bytes, limit - below);
                compare(call, args);
            }
        }
    }
}
