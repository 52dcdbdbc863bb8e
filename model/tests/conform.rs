// SPDX-License-Identifier: GPL-2.0-only
//! Random steps of the host and of VMs, on the library and on the model, with all invariants; `conform` takes more of them.

use model::replay::conform::conform;

/// Steps for each of `COREVISOR_CASES` (160 unless set).
const STEPS: u64 = 320;

#[test]
fn random_steps_do_the_same_in_both() {
    let cases: u64 = std::env::var("COREVISOR_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(160);
    let seeds = [1, 2];
    let reports = std::thread::scope(|scope| {
        let runs = seeds.map(|seed| scope.spawn(move || conform(cases * STEPS / seeds.len() as u64, seed)));
        runs.map(|run| run.join().expect("no panic").unwrap_or_else(|why| panic!("{why}")))
    });
    for report in reports {
        println!("{report}");
        assert!(report.agreed > report.steps / 2, "{report}");
    }
}
