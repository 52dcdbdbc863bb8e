// SPDX-License-Identifier: GPL-2.0-only
//! Random sequences. The seed is fixed; `COREVISOR_CASES` sets how many sequences are tried.

use crate::run::{Counts, End, Run};
use crate::step::Step;
use crate::world::{owned, withheld};
use corevisor::addr::PAGE_SIZE;
use model::constants::{COREVISOR, HOSTVISOR, INVALID, INVALID64};
use model::library::{View, corresponds};
use model::rdata::REGIONS;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::RefCell;

/// Sequences without `COREVISOR_CASES`.
const CASES: u32 = 160;

/// Of sequences with a multiple of so many steps, each has all invariants checked on its whole last state; it takes as long as the sequence.
const WHOLE: usize = 16;

/// A sequence's world and steps.
#[derive(Clone, Debug)]
struct Sequence {
    /// Width of the host's addresses: its table starts at level 1, or at level 0.
    ipa_bits: u32,
    /// What the steps are about, or are beside.
    pages: Vec<u64>,
    /// Whether the model's table has the host's pages among them from the start.
    filled: bool,
    steps: Vec<Step>,
}

/// Pages that are likely to have something to do with each other, below 2^36.
fn pages() -> impl Strategy<Value = u64> + Clone {
    let mut edges = vec![0, 0x9000, 0x9600, 1 << 24, 1 << 27, 1 << 28, 1 << 35];
    let ram = prop_oneof![0x4_1000u64..0x4_1010, 0x4_8000u64..0x4_8400, 0x8_9000u64..0x8_9010];
    edges.extend(REGIONS.iter().flat_map(|r| [r.base / PAGE_SIZE, (r.base + r.size) / PAGE_SIZE]));
    edges.extend(owned().iter().chain(&withheld()).flat_map(|r| [r.start / PAGE_SIZE, r.end / PAGE_SIZE]));
    let offsets = prop_oneof![2 => -3i64..4, 2 => (-3i64..4).prop_map(|n| n * 512), 1 => -2048i64..2048];
    let edges = (prop::sample::select(edges), offsets)
        .prop_map(|(edge, n): (u64, i64)| edge.saturating_add_signed(n).min((1 << 36) - 1));
    prop_oneof![2 => ram, 3 => edges]
}

/// Records, legal ones mostly.
fn record(pfn: u64) -> impl Strategy<Value = (u32, u32, u64)> {
    let host_gfn = pfn + model::constants::model_only::SMMU_HOST_OFFSET;
    let count = prop_oneof![
        4 => Just(0u32), 3 => 1u32..=3, 2 => Just(INVALID), 1 => 1u32..=100, 1 => prop::sample::select(vec![16, 17, 99])
    ];
    let vm = (prop::sample::select(vec![1u32, 2, 15]), count, gfn());
    let host = (0u32..=16).prop_map(move |count| (HOSTVISOR, count, host_gfn));
    prop_oneof![
        6 => vm,
        1 => (prop::sample::select(vec![0, INVALID]), gfn()).prop_map(|(count, gfn)| (COREVISOR, count, gfn)),
        3 => host,
        2 => Just((HOSTVISOR, 0, host_gfn)),
    ]
}

/// A guest's page number, or none.
fn gfn() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..16, Just(INVALID64), Just((1u64 << 36) - 1), 0u64..1 << 36]
}

/// A step that is about `pfn`.
fn step(pfn: u64) -> impl Strategy<Value = Step> {
    let address = move |offset: u64| pfn * PAGE_SIZE + offset;
    let within = 0..PAGE_SIZE;
    let unmap = prop::bool::weighted(0.8);
    prop_oneof![
        12 => within.clone().prop_map(move |o| Step::MapPageHost(address(o))),
        // All 16 bits that the specification looks at; sometimes, those that hardware has (D-54).
        2 => (0u64..0x1000).prop_map(|page| Step::Fault(page << 4)),
        1 => prop::bool::weighted(0.2)
            .prop_map(move |wide| Step::Fault(if wide { pfn << 4 } else { (pfn & 0xFFF) << 4 })),
        3 => Just(Step::ClearPfnHost(pfn)),
        3 => within.clone().prop_map(move |o| Step::MapPage(address(o))),
        1 => prop::bool::weighted(0.1)
            .prop_map(move |block| if block { Step::MapBlock(address(0)) } else { Step::Get(pfn) }),
        4 => Just(Step::Get(pfn)),
        10 => (record(pfn), unmap).prop_map(move |((owner, count, gfn), unmap)| {
            Step::Set { pfn, owner, count, gfn, unmap }
        }),
        2 => (1u32..=16).prop_map(move |owner| Step::SetOwner(pfn, owner)),
        3 => (record(pfn), unmap).prop_map(move |((_, count, _), unmap)| Step::SetCount { pfn, count, unmap }),
        2 => gfn().prop_map(move |gfn| Step::SetMap(pfn, gfn)),
        2 => within.clone().prop_map(move |o| Step::Search(address(o))),
        2 => within.clone().prop_map(move |o| Step::Index(address(o))),
        4 => (within.clone(), any::<bool>()).prop_map(move |(o, section)| Step::Walk { address: address(o), section }),
        3 => within.prop_map(move |o| Step::Access(address(o))),
    ]
}

/// A few pages for each sequence, so that steps meet, and steps about them and their neighbours.
fn sequence() -> impl Strategy<Value = Sequence> {
    let world = (prop::sample::select(vec![40u32, 48]), prop::collection::vec(pages(), 1..4), any::<bool>());
    world.prop_flat_map(|(ipa_bits, pages, filled)| {
        let page = (prop::sample::select(pages.clone()), prop_oneof![3 => Just(0i64), 1 => -1i64..2])
            .prop_map(|(page, n)| page.saturating_add_signed(n).min((1 << 36) - 1));
        let steps = prop::collection::vec(page.prop_flat_map(step), 1..48);
        steps.prop_map(move |steps| Sequence { ipa_bits, pages: pages.clone(), filled, steps })
    })
}

/// The pages themselves and their neighbours.
fn around(pages: &[u64]) -> impl Iterator<Item = u64> + '_ {
    pages.iter().flat_map(|page| page.saturating_sub(1)..=page + 1)
}

fn play(sequence: &Sequence, counts: &mut Counts) -> Result<(), String> {
    let Sequence { ipa_bits, pages, filled, steps } = sequence;
    let mut run = Run::new(*ipa_bits, around(pages).filter(|_| *filled));
    run.watch(around(pages).step_by(2));
    for step in steps {
        if let Some(end) = run.step(step, counts)? {
            *counts.ends.entry(end).or_default() += 1;
            return run.compare_walks(around(pages));
        }
    }
    counts.whole += 1;
    if steps.len() % WHOLE == 0 {
        run.check_whole()?;
    }
    run.compare_walks(around(pages))
}

#[test]
fn random_sequences_agree() {
    let cases = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let counts = RefCell::new(Counts::default());
    let run = TestRunner::new_with_rng(config, seed)
        .run(&sequence(), |sequence| play(&sequence, &mut counts.borrow_mut()).map_err(TestCaseError::fail));
    run.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = counts.into_inner();
    println!("{counts}");
    for name in ["MM-1", "FH-1", "NO-3 page", "NO-4", "PM-2 PM-4 PM-6", "NO-1 NO-2", "NW-1 NW-2", "MR-1", "PI-1"] {
        assert!(counts.steps.get(name).is_some_and(|taken| taken[0] > 10), "{name} is hardly tried");
    }
    assert!(counts.steps["MM-1"][1] > 10 && counts.steps["MM-1"][2] > 0, "MM-1 is hardly refused");
    assert!(counts.ends.contains_key(&End::Deviation(1)), "no page was DMA-pending");
}

/// The table that the library fills at boot is what the model has after the host touched each page of its RAM: entry for
/// entry, and the existing tables, too. Nothing more, nothing less.
#[test]
fn filling_is_a_touch_of_every_page_of_the_host() {
    for ipa_bits in [40, 48] {
        let run = Run::new(ipa_bits, REGIONS.iter().flat_map(|r| r.base / PAGE_SIZE..(r.base + r.size) / PAGE_SIZE));
        let (model, core) = run.states();
        let view = View::of(core);
        assert_eq!(corresponds(model, &view), Ok(()));
        let state = view.state();
        assert!(state.npts[0] == model.npts[0], "{ipa_bits} bits");
        assert!(state.s2page == model.s2page, "{ipa_bits} bits");
    }
}

/// D-71: where the library's tables for devices run out, the model's do not, for a long time.
#[test]
fn running_out_of_tables_is_d_71() {
    let mut run = Run::new(48, []);
    let mut counts = Counts::default();
    for gib in (4..1024).filter(|gib| gib % 4 == 0) {
        // Beside a page that is withheld, or in a GiB of its own, a device takes a table.
        match run.step(&Step::MapPage(gib << 30), &mut counts) {
            Ok(None) => {}
            Ok(Some(end)) => {
                assert_eq!(end, End::Deviation(71));
                assert_eq!(
                    counts.steps["NO-3 page"][0], 127,
                    "two tables a GiB, of 256, and one for the second 512 GiB"
                );
                return;
            }
            Err(why) => panic!("{why}"),
        }
    }
    panic!("the library's tables never run out");
}

#[test]
fn a_missing_invariant_or_correspondence_is_noticed() {
    let run = Run::new(40, [0x4_1000]);
    let (model, core) = run.states();
    let good = View::of(core);
    let host_page = model.npts[0].get(0x4_1000);
    assert_eq!(good.host_entry(0x4_1000), host_page);
    let with = |change: &dyn Fn(&mut View)| {
        let mut view = good.clone();
        change(&mut view);
        (crate::invariants::check(&view, core).is_err(), corresponds(model, &view).is_err())
    };
    assert_eq!(with(&|_| {}), (false, false));
    // A record changed behind the model's back: of a mapped page, of one that is not, of a page of Corevisor.
    let vm = model::rdata::S2Page { owner: 1, count: 0, gfn: 0 };
    assert_eq!(with(&|v| _ = v.s2page_mut().insert(0x4_1000, vm)), (true, true));
    assert_eq!(with(&|v| _ = v.s2page_mut().insert(0x4_0200, vm)), (true, true));
    assert_eq!(with(&|v| _ = v.s2page_mut().remove(&0x4_0200)), (true, true));
    // A mapping that moves, is missing, is of another kind, or is one too many.
    assert_eq!(with(&|v| v.host_mut()[0].pfn += 1), (true, true));
    assert_eq!(with(&|v| v.host_mut().clear()), (false, true));
    assert_eq!(with(&|v| v.host_mut()[0].attributes ^= 0x80), (false, true));
    assert_eq!(with(&|v| v.host_mut()[0].attributes |= model::library::NAMELESS), (true, true));
    assert_eq!(with(&|v| v.host_mut()[0].pages += 1), (true, true));
    // A page of the host's that is not mapped, and that the model has not mapped either, is as MM-1 finds it.
    assert_eq!(with(&|v| v.host_mut().last_mut().unwrap().pages -= 1), (false, false));
    let shared = |v: &mut View| _ = v.s2page_mut().insert(0x4_1000, model::rdata::S2Page { count: 1, ..vm });
    assert_eq!(with(&shared), (false, true));
}

#[test]
fn counts_are_readable() {
    let mut counts = Counts::default();
    counts.steps.insert("MM-1", [3, 2, 1]);
    counts.ends.insert(End::Deviation(1), 4);
    let text = counts.to_string();
    assert!(text.starts_with("3 steps agree; 2 refused by both, 1 undefined and refused\n"), "{text}");
    assert!(text.ends_with("sequences: 0 to their end, 4 to D-01"), "{text}");
}
