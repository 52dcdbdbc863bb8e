// SPDX-License-Identifier: GPL-2.0-only
//! The command line.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

const ABOUT: &str = "Keys, signatures and measurements of the images that Corevisor's virtual machines start from";
const STEPS: &str = "\
From nothing to a VM that runs, for an image that the VM is to have at guest address 0x40000000:

  corevisor-sign keygen image.key                          once; keep image.key to yourself
  make image IMAGE_KEYS=image.key.pub                      Corevisor, which trusts that key
  corevisor-sign sign --key image.key --address 0x40000000 kernel.bin > kernel.sig
  corevisor-sign measure 0x40000000:kernel.bin             what the VM, and its host, will find

The host passes kernel.sig with SET_BOOT_INFO. Several public keys make one file: cat a.pub b.pub > keys.
A key file can also be given to Corevisor by its bootloader. docs/abi.md tells what exactly is signed.";

/// The command line.
#[derive(Parser, Debug)]
#[command(version, about = ABOUT, after_help = STEPS)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a new key: the secret one in KEY, the public one in KEY.pub
    Keygen {
        /// File for the secret key; it must not exist yet
        key: PathBuf,
    },
    /// Write the public key of a secret one: 32 bytes
    Public {
        /// Secret key
        #[arg(long)]
        key: PathBuf,
        /// File for the public key, instead of the standard output
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Sign an image for the guest address that it is made for: 64 bytes
    Sign {
        /// Secret key
        #[arg(long)]
        key: PathBuf,
        /// Guest address (decimal, or hexadecimal with 0x), a multiple of 4096
        #[arg(long, value_parser = address)]
        address: u64,
        /// Fill the image up with zeros to whole pages of 4096 bytes, for a host that loads it so
        #[arg(long)]
        pad: bool,
        /// The image
        image: PathBuf,
        /// File for the signature, instead of the standard output
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Ask whether Corevisor with certain keys accepts an image
    Verify {
        /// File of public keys, 32 bytes each
        #[arg(long)]
        keys: PathBuf,
        /// Guest address
        #[arg(long, value_parser = address)]
        address: u64,
        /// Fill the image up with zeros to whole pages
        #[arg(long)]
        pad: bool,
        /// The signature
        #[arg(long)]
        signature: PathBuf,
        /// The image
        image: PathBuf,
    },
    /// Tell the measurement of a VM, in hexadecimal
    Measure {
        /// The VM is made as an unsigned one
        #[arg(long)]
        unsigned: bool,
        /// The VM is made as one whose memory the host can reach
        #[arg(long)]
        shared: bool,
        /// Fill each image up with zeros to whole pages
        #[arg(long)]
        pad: bool,
        /// The images in the order in which the host announces them
        #[arg(value_name = "ADDRESS:IMAGE", value_parser = image)]
        images: Vec<(u64, PathBuf)>,
    },
}

/// A guest address.
fn address(text: &str) -> Result<u64, String> {
    let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
        None => text.parse(),
    };
    match value {
        Ok(address) if address.is_multiple_of(4096) => Ok(address),
        Ok(_) => Err("an image begins at a page, a multiple of 4096".into()),
        Err(why) => Err(why.to_string()),
    }
}

/// ADDRESS:IMAGE.
fn image(text: &str) -> Result<(u64, PathBuf), String> {
    let (at, file) = text.split_once(':').ok_or("no colon between address and file")?;
    Ok((address(at)?, file.into()))
}
