// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-sign`: keys, signatures and measurements of the images that Corevisor's virtual machines start from.
//!
//! What is signed, byte for byte, is Corevisor's own [`corevisor::vm::measure`]; `docs/abi.md` explains it.

mod arguments;

use arguments::{Arguments, Command};
use clap::Parser;
use corevisor::vm::VmFlags;
use corevisor_sign::image::{Image, measurement};
use corevisor_sign::{Problem, hex, keys, read};
use ed25519_dalek::Signer;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("corevisor-sign: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Problem> {
    match command {
        Command::Keygen { key } => {
            let public = with_suffix(&key, ".pub");
            let made = keys::generate()?;
            keys::write_secret(&key, &made)?;
            write(Some(&public), made.verifying_key().as_bytes())?;
            println!("{}: the secret key, for `corevisor-sign sign --key`", key.display());
            println!("{}: the public key, for Corevisor", public.display());
            println!("fingerprint {}", keys::fingerprint(&made.verifying_key()));
            Ok(())
        }
        Command::Public { key, output } => {
            let public = keys::read_secret(&key)?.verifying_key();
            eprintln!("fingerprint {}", keys::fingerprint(&public));
            write(output.as_deref(), public.as_bytes())
        }
        Command::Sign { key, address, pad, image, output } => {
            let key = keys::read_secret(&key)?;
            let image = Image::read(&image, address, pad)?;
            write(output.as_deref(), &key.sign(&image.message()).to_bytes())
        }
        Command::Verify { keys, address, pad, signature, image } => {
            let (keys, image) = (keys::read_public(&keys)?, Image::read(&image, address, pad)?);
            let signature = read(&signature)?;
            let signature = signature.as_slice().try_into();
            let signature = signature.map_err(|_| "the signature is not 64 bytes long".to_string())?;
            if !keys.verify(&image.message(), &signature) {
                return Err("bad: Corevisor refuses this image at this address with these keys".into());
            }
            println!("good: Corevisor accepts this image at {address:#x} with these keys");
            Ok(())
        }
        Command::Measure { unsigned, shared, pad, images } => {
            let images = images.iter().map(|(address, file)| Image::read(file, *address, pad));
            let images = images.collect::<Result<Vec<_>, _>>()?;
            let flags = [(unsigned, VmFlags::UNSIGNED), (shared, VmFlags::SHARED)];
            let flags = flags.into_iter().filter_map(|(is_set, flag)| is_set.then_some(flag)).collect();
            println!("{}", hex(&measurement(flags, &images)));
            Ok(())
        }
    }
}

/// The path with something behind its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes to `file`, or to the standard output if that is no terminal, which the bytes would confuse.
fn write(file: Option<&Path>, bytes: &[u8]) -> Result<(), Problem> {
    let Some(file) = file else {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            return Err("the result is binary: use --output FILE, or send it to a file with >".into());
        }
        return out.write_all(bytes).and_then(|()| out.flush()).map_err(|why| format!("standard output: {why}"));
    };
    std::fs::write(file, bytes).map_err(|why| format!("{}: {why}", file.display()))
}
