// SPDX-License-Identifier: GPL-2.0-only
//! Explores a small machine that runs the library, or walks at random, or makes pairs, and prints how far it came and what
//! was found.

use model::explore::library::pairs;
use model::explore::library::search::{Limits, explore};
use model::explore::library::small::Small;
use model::explore::library::walk::walk;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: explore-library [--world NAME] [--depth N] [--states N] [--ready]
       explore-library --walk STEPS [--world NAME] [--seed N]
       explore-library --pairs STEPS [--world NAME] [--seed N]
  Without --world: all worlds, each as far as it is small enough; pairs in two of them. --ready: from VMs that are verified";

/// What the command line asks for.
#[derive(Default)]
struct Options {
    world: Option<String>,
    depth: Option<usize>,
    states: Option<usize>,
    ready: bool,
    walk: Option<u64>,
    pairs: Option<u64>,
    seed: u64,
}

/// Reads the command line; nothing if it makes no sense.
fn options() -> Option<Options> {
    let mut options = Options { seed: 7, ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--world" => options.world = Some(args.next()?),
            "--depth" => options.depth = Some(args.next()?.parse().ok()?),
            "--states" => options.states = Some(args.next()?.parse().ok()?),
            "--ready" => options.ready = true,
            "--walk" => options.walk = Some(args.next()?.parse().ok()?),
            "--pairs" => options.pairs = Some(args.next()?.parse().ok()?),
            "--seed" => options.seed = args.next()?.parse().ok()?,
            _ => return None,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let worlds: Vec<Small> =
        Small::all().into_iter().filter(|w| options.world.as_ref().is_none_or(|n| n == w.name)).collect();
    if worlds.is_empty() {
        let names: Vec<_> = Small::all().iter().map(|world| world.name).collect();
        eprintln!("no such world; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let found = if let Some(steps) = options.walk {
        let report = walk(&worlds, options.seed, steps);
        for (name, [taken, refused]) in &report.steps {
            println!("{name}: {taken} taken, {refused} refused");
        }
        let [taken, refused] = report.total();
        println!("{} steps ({taken} taken, {refused} refused)", taken + refused);
        report.finding.iter().for_each(|finding| print!("found: {finding}"));
        report.finding.is_some()
    } else if let Some(steps) = options.pairs {
        // Where no VM runs there is little to tell.
        let worlds = worlds.iter().filter(|world| options.world.is_some() || ["two", "full"].contains(&world.name));
        worlds.map(|world| leaks(world, &options, steps)).fold(false, |any, leak| any | leak)
    } else {
        worlds.iter().map(|world| explored(world, &options)).fold(false, |any, found| any | found)
    };
    if found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Explores a world. Whether something was found.
fn explored(world: &Small, options: &Options) -> bool {
    let started = Instant::now();
    let limits = Limits {
        depth: options.depth.unwrap_or(usize::MAX),
        states: options.states.unwrap_or(if options.world.is_some() { usize::MAX } else { world.states }),
    };
    let start = if options.ready { world.ready() } else { vec![] };
    let found = explore(world, &start, limits);
    println!("{}: {found} ({:.0} s)", world.name, started.elapsed().as_secs_f64());
    if options.world.is_some() {
        for (name, [taken, refused]) in &found.steps {
            println!("    {name}: {taken} taken, {refused} refused");
        }
    }
    found.finding.iter().for_each(|finding| print!("found: {finding}"));
    found.finding.is_some()
}

/// Makes pairs in a world. Whether something leaked.
fn leaks(world: &Small, options: &Options, steps: u64) -> bool {
    let pairs = pairs::run(world, options.seed, steps);
    let [vm, host] = pairs.with_vm;
    println!("{}: {} steps, {vm} with a VM's secrets, {host} with the host's while a VM ran", world.name, pairs.steps);
    for (flow, (items, trace)) in &pairs.leaks {
        println!("leak: {flow}: {items:x?}");
        trace.iter().for_each(|step| println!("    {}: {step:x?}", step.name()));
    }
    !pairs.leaks.is_empty()
}
