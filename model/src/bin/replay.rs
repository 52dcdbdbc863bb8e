// SPDX-License-Identifier: GPL-2.0-only
//! Runs the scripts of vector files on the model.

use model::replay::{Model, Tally};
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: replay FILE...");
        return ExitCode::from(2);
    }
    let mut total = Tally::default();
    for file in &files {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::from(2);
            }
        };
        let tally = Tally::of::<Model>(&text);
        println!("{file}: model: {tally}");
        tally.failures.iter().for_each(|failure| println!("  {failure}"));
        let mut names = BTreeMap::<&str, usize>::new();
        tally.not_modelled.iter().for_each(|name| *names.entry(name).or_default() += 1);
        names.iter().for_each(|(name, count)| println!("  not modelled: {name} ({count} scripts)"));
        total.extend(tally);
    }
    println!("total: model: {total}");
    if total.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
