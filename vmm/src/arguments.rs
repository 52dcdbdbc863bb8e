// SPDX-License-Identifier: GPL-2.0-only
//! The command line.

use crate::layout::{BLOCK, MAX_CPUS, MAX_RAM};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const ABOUT: &str = "Runs virtual machines under Corevisor, and shows who owns which memory";
const STEPS: &str = "\
A protected guest, whose memory nobody on this machine can read, in three steps:

  corevisor-sign keygen image.key          once; Corevisor must trust image.key.pub: make image IMAGE_KEYS=image.key.pub
  corevisor-vm run --protected --sign-key image.key --kernel vmlinuz --initrd initrd.img
  corevisor-vm status                      in another shell: how much memory is whose

Who does not want to leave the key on this machine signs elsewhere, and takes the signatures here:

  corevisor-vm sign --protected --key image.key --output signatures --kernel vmlinuz --initrd initrd.img
  corevisor-vm run --protected --signatures signatures --kernel vmlinuz --initrd initrd.img

Ctrl-A x ends a guest, Ctrl-A h tells more.";

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
    /// Run a guest, with its console on this terminal
    Run {
        /// The guest.
        #[command(flatten)]
        guest: GuestOptions,
        /// How it is run.
        #[command(flatten)]
        run: RunOptions,
    },
    /// Tell the measurement that a guest of the same options will have
    Measure {
        /// The guest.
        #[command(flatten)]
        guest: GuestOptions,
    },
    /// Sign what a protected guest of the same options starts from, for `run --signatures`
    Sign {
        /// The guest.
        #[command(flatten)]
        guest: GuestOptions,
        /// Secret key, of `corevisor-sign keygen`
        #[arg(long)]
        key: PathBuf,
        /// Folder for the signatures; it is made if need be
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Show Corevisor's counters, its virtual machines, and how much memory is whose
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Draw which page of the machine's memory is whose
    Map {
        /// File for the picture
        #[arg(long, value_name = "FILE")]
        png: PathBuf,
    },
}

/// What a guest is: all that its measurement depends on.
#[derive(Args, Clone, Debug)]
pub struct GuestOptions {
    /// Linux kernel: an arm64 Image, as distributions have it in /boot/vmlinuz-*, or such an Image compressed by gzip
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "STRING", default_value = "", allow_hyphen_values = true)]
    pub cmdline: String,
    /// Memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = memory)]
    pub mem: u64,
    /// Virtual CPUs, 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CPUS)))]
    pub cpus: u32,
    /// Raw disk image, as /dev/vda, the next as /dev/vdb, …; with ",ro" the guest can't write to it. Shared guests only
    #[arg(long = "disk", value_name = "FILE[,ro]", value_parser = disk, conflicts_with = "protected")]
    pub disks: Vec<Disk>,
    /// Which device the terminal's input goes to. The guest's virtio console (hvc0) is there only if it is asked for
    #[arg(long, value_enum, default_value_t = ConsoleKind::Serial)]
    pub console: ConsoleKind,
    /// Which kind.
    #[command(flatten)]
    pub kind: Kind,
}

/// Who can reach a guest's memory.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Kind {
    /// Nobody but the guest can reach its memory and registers, and it starts from signed images only
    #[arg(long)]
    pub protected: bool,
    /// The host can reach the guest's memory: for virtio devices
    #[arg(long)]
    pub shared: bool,
}

/// How a guest is run.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// Sign what a protected guest starts from with this secret key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["signatures", "shared"])]
    pub sign_key: Option<PathBuf>,
    /// Folder of signatures for a protected guest, made by `corevisor-vm sign` with the same options
    #[arg(long, value_name = "FOLDER", conflicts_with = "shared")]
    pub signatures: Option<PathBuf>,
    /// What happens when the guest reboots
    #[arg(long, value_enum, default_value_t = OnReboot::Restart)]
    pub on_reboot: OnReboot,
}

/// A disk of the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The image.
    pub file: PathBuf,
    /// Whether the guest can only read it.
    pub read_only: bool,
}

/// Which device the terminal's input goes to.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsoleKind {
    /// The serial port, ttyS0
    Serial,
    /// The virtio console, hvc0
    Virtio,
}

/// What happens when the guest reboots.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReboot {
    /// It starts anew, from the same images
    Restart,
    /// This program ends, as if the guest had powered off
    Exit,
}

/// A size of memory.
fn memory(text: &str) -> Result<u64, String> {
    let unit = |letter| match letter {
        'k' | 'K' => Some(1 << 10),
        'm' | 'M' => Some(1 << 20),
        'g' | 'G' => Some(1_u64 << 30),
        _ => None,
    };
    let last = text.char_indices().last().and_then(|(at, letter)| Some((&text[..at], unit(letter)?)));
    let (digits, unit) = last.ok_or("a size has a unit: 512M, 2G")?;
    let size = digits.parse::<u64>().map_err(|why| why.to_string())?.checked_mul(unit);
    match size {
        Some(size) if size > 0 && size <= MAX_RAM && size.is_multiple_of(BLOCK) => Ok(size),
        Some(size) if size > MAX_RAM || size == 0 => Err(format!("a guest has up to {} GiB", MAX_RAM >> 30)),
        Some(_) => Err("a guest's memory is a multiple of 2M".into()),
        None => Err("too large".into()),
    }
}

/// FILE or FILE,ro.
fn disk(text: &str) -> Result<Disk, String> {
    let (file, read_only) = match text.strip_suffix(",ro") {
        Some(file) => (file, true),
        None => (text, false),
    };
    if file.is_empty() {
        return Err("no file".into());
    }
    Ok(Disk { file: file.into(), read_only })
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Disk, disk, memory};
    use clap::{CommandFactory, Parser};

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(memory("256M"), Ok(256 << 20));
        assert_eq!(memory("2g"), Ok(2 << 30));
        assert_eq!(memory("2048k"), Ok(2 << 20));
        for wrong in ["", "256", "M", "-1M", "1M", "3k", "0M", "65G", "99999999999G", "1.5G", "2é"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn disks() {
        assert_eq!(disk("a.img"), Ok(Disk { file: "a.img".into(), read_only: false }));
        assert_eq!(disk("a.img,ro"), Ok(Disk { file: "a.img".into(), read_only: true }));
        assert!(disk(",ro").is_err());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        assert!(parse("corevisor-vm run --kernel k --shared --disk a --disk b,ro --cmdline --debug").is_ok());
        assert!(parse("corevisor-vm run --kernel k --protected --sign-key s").is_ok());
        for wrong in [
            "run --kernel k",
            "run --shared",
            "run --kernel k --shared --protected",
            "run --kernel k --protected --disk a",
            "run --kernel k --shared --sign-key s",
            "run --kernel k --protected --sign-key s --signatures d",
            "run --kernel k --shared --cpus 0",
            "run --kernel k --shared --cpus 9",
            "map",
        ] {
            assert!(parse(&format!("corevisor-vm {wrong}")).is_err(), "{wrong}");
        }
    }
}
