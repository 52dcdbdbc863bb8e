// SPDX-License-Identifier: GPL-2.0-only
//! Runs the scripts of vector files on the model, and on the library beside it.

use model::replay::{LibraryTally, Model, Tally};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The titles of the rows of the specification's list of differences, if it is there.
fn titles() -> BTreeMap<u32, String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/spec/DIFFERENCES.md");
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deviations.md");
    let mut titles = BTreeMap::new();
    for file in [own, path] {
        for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let mut cells = line.trim_start_matches('|').split('|').map(str::trim);
            if let (Some(id), Some(title)) = (cells.next(), cells.next())
                && let Some(number) = id.strip_prefix("D-").and_then(|n| n.get(..2)?.parse().ok())
            {
                titles.insert(number, title.to_owned());
            }
        }
    }
    titles
}

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: replay FILE...");
        return ExitCode::from(2);
    }
    let titles = titles();
    let (mut total, mut library_total) = (Tally::default(), LibraryTally::default());
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
        let library = LibraryTally::of(&text);
        println!("{file}: library: {library}");
        print(&library, &titles);
        library_total.extend(library);
    }
    println!("total: model: {total}");
    println!("total: library: {library_total}");
    print(&library_total, &titles);
    let failed = !total.failures.is_empty() || !library_total.failures.is_empty();
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What there is to say of a library's tally.
fn print(library: &LibraryTally, titles: &BTreeMap<u32, String>) {
    library.failures.iter().for_each(|failure| println!("  {failure}"));
    for (number, count) in &library.deviations {
        println!("  D-{number:02}: {count} ({})", titles.get(number).map_or("", String::as_str));
    }
    for (name, count) in &library.unknown {
        println!("  not in the library: {name}: {count}");
    }
    let steps = library.steps;
    println!("  {} of {} steps up to the ends were taken by the library, too", steps.library, steps.all);
    let all = library.passed + library.failures.len() + library.deviated + library.unknown.values().sum::<usize>();
    println!("  {:.1} % of the scripts ran to their end without a deviation", percent(library.passed, all));
}

/// `part` of `all`.
fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}
