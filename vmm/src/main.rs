// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-vm`: the command line.

use clap::Parser;
use corevisor_sign::{hex, keys};
use corevisor_vm::Problem;
use corevisor_vm::arguments::{Arguments, Command, GuestOptions, RunOptions};
use corevisor_vm::driver::Driver;
use corevisor_vm::guest::Guest;
use corevisor_vm::map::{self, Picture};
use corevisor_vm::owners::{self, Run};
use corevisor_vm::status::Status;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("corevisor-vm: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode, Problem> {
    match command {
        Command::Run { guest, run } => return start(&guest, &run),
        Command::Measure { guest } => println!("{}", hex(&Guest::read(&guest)?.measurement()?)),
        Command::Sign { guest, key, output } => sign(&Guest::read(&guest)?, &key, &output)?,
        Command::Status { json } => {
            let driver = Driver::open()?;
            let status = Status { counters: driver.counters()?, runs: survey(&driver)? };
            print!("{}", if json { status.json() } else { status.text() });
        }
        Command::Map { png } => {
            let runs = survey(&Driver::open()?)?;
            Picture::draw(&runs).write(&png)?;
            print!("{}", map::legend(&runs));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(target_arch = "aarch64")]
fn start(guest: &GuestOptions, run: &RunOptions) -> Result<ExitCode, Problem> {
    corevisor_vm::run::run(guest, run)
}

#[cfg(not(target_arch = "aarch64"))]
fn start(guest: &GuestOptions, _: &RunOptions) -> Result<ExitCode, Problem> {
    Guest::read(guest)?;
    Err("this is not an AArch64 machine: it can sign and measure guests, but not run them".into())
}

/// Signs what a protected guest starts from.
fn sign(guest: &Guest, key: &Path, folder: &Path) -> Result<(), Problem> {
    if guest.options.kind.shared {
        return Err("a shared guest needs no signatures".into());
    }
    let key = keys::read_secret(key)?;
    std::fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for image in guest.images(None)? {
        let file = image.signature_file(folder);
        std::fs::write(&file, image.sign(&key)?).map_err(|why| format!("{}: {why}", file.display()))?;
        println!("{}: for {} at {:#x}, {} bytes", file.display(), image.name, image.address, image.bytes.len());
    }
    println!("key {}", keys::fingerprint(&key.verifying_key()));
    println!("measurement {}", hex(&guest.measurement()?));
    Ok(())
}

/// Whose all memory is.
fn survey(driver: &Driver) -> Result<Vec<Run>, Problem> {
    let iomem = std::fs::read_to_string(owners::IOMEM).map_err(|why| format!("{}: {why}", owners::IOMEM))?;
    owners::survey(&iomem, |pfn| driver.owner(pfn))
}
