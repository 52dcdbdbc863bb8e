// SPDX-License-Identifier: GPL-2.0-only
//! The library against the model, by random steps.

use model::replay::conform::conform;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.map_or(Some(default), |at| args.get(at + 1)?.parse().ok())
    };
    let (Some(steps), Some(seed)) = (option("--steps", 1_000_000), option("--seed", 1)) else {
        eprintln!("usage: conform [--steps N] [--seed S]");
        return ExitCode::from(2);
    };
    let start = Instant::now();
    match conform(steps, seed) {
        Ok(report) => {
            println!("{report}");
            println!("{:.0} steps a second", steps as f64 / start.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}
