// SPDX-License-Identifier: GPL-2.0-only
//! Explores a small world, or walks at random, and prints how far it came and what was broken.

use model::explore::arena::Arena;
use model::explore::careful::{Assembled, Careful};
use model::explore::rules::{Literal, Rules};
use model::explore::search::{Limits, booted, explore};
use model::explore::walk::walk;
use model::invariants::Strength;
use std::process::ExitCode;

const USAGE: &str = "usage: explore (literal|careful) (tiny|small|booted|full) [DEPTH [STATES [CPUS]]]
       explore (literal|careful) walk STEPS [SEED]
  literal: the model, by the published and the strict invariants; careful: with the rulings, by the strict ones
  tiny: one VM, one page of RAM; small: two VMs, four pages, a bank; booted: the same from two VMs that are ready to run;
  full: two banks, blocks and encryption, too";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        // The model to the letter breaks invariants, as everybody knows; the careful one must not.
        Some(found) if found && args[0] == "careful" => ExitCode::FAILURE,
        Some(_) => ExitCode::SUCCESS,
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Does what the arguments say, and gives whether anything was broken; nothing if they make no sense.
fn run(args: &[String]) -> Option<bool> {
    let number = |n: usize, default: usize| args.get(n).map_or(Some(default), |arg| arg.parse().ok());
    let (rules, strengths): (&dyn Rules, &[Strength]) = match args.first()?.as_str() {
        "literal" => (&Literal, &[Strength::Literal, Strength::Strict]),
        "careful" => (&Assembled(Careful), &[Strength::Strict]),
        _ => return None,
    };
    let world = args.get(1)?.as_str();
    let mut arena = match world {
        "walk" => {
            let report = walk(rules, &Arena::all(), strengths, number(3, 1)? as u64, number(2, 1_000_000)?);
            for (name, [done, halted, undefined]) in &report.steps {
                println!("{name}: {done} taken, {halted} refused, {undefined} undefined");
            }
            let [done, halted, undefined] = report.total();
            println!("{done} taken, {halted} refused, {undefined} undefined");
            print!("{}", report.findings);
            return Some(!report.findings.0.is_empty());
        }
        "tiny" => Arena::tiny(),
        "small" | "booted" => Arena::small(2),
        "full" => Arena::full(1),
        _ => return None,
    };
    let limits = Limits { depth: number(2, usize::MAX)?, states: number(3, usize::MAX)?, first: false };
    arena.cpus = if number(4, 1)? > 1 { 2 } else { 1 };
    let start = if world == "booted" { booted(rules, &arena) } else { arena.start() };
    let found = explore(rules, &arena, &start, strengths, limits);
    println!("{found}");
    print!("{}", found.findings);
    Some(!found.findings.0.is_empty())
}
