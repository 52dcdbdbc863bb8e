// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-vm run`.

use crate::Problem;
use crate::arguments::{GuestOptions, OnReboot, RunOptions};
use crate::fdt::Seeds;
use crate::guest::{BootImage, Guest, Signature};
use crate::machine::{self, Input, Machine};
use crate::terminal::{HELP, Keys, RawTerminal, Request};
use crate::vcpu::{self, Context, End, Running};
use crate::virtio::block::Image;
use corevisor_sign::{hex, keys};
use kvm_ioctls::Kvm;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

/// What ends this program, and its guest with it.
const ENDING: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
/// What a shell adds to a signal's number.
const BY_SIGNAL: u8 = 128;

/// Runs a guest until it powers off.
///
/// # Errors
/// If it can't be started, or can't go on.
pub fn run(options: &GuestOptions, how: &RunOptions) -> Result<ExitCode, Problem> {
    let guest = Guest::read(options)?;
    let disks = options.disks.iter().map(Image::open).collect::<Result<Vec<_>, _>>()?;
    let kvm = machine::open()?;
    if options.kind.protected {
        eprintln!("corevisor-vm: a protected guest, its measurement should be {}", hex(&guest.measurement()?));
    } else {
        eprintln!("corevisor-vm: a shared guest, whose memory this machine can read");
    }
    let mut console = Console::new()?;
    loop {
        let seeds = if options.kind.protected { None } else { Some(seeds()?) };
        let images = guest.images(seeds)?;
        let signatures = signatures(&images, options, how)?;
        let end = boot(&kvm, &guest, &images, &signatures, &disks, &mut console)?;
        return match end {
            End::Reset if how.on_reboot == OnReboot::Restart => {
                eprint!("corevisor-vm: the guest reboots\r\n");
                continue;
            }
            End::PowerOff | End::Reset | End::Quit => Ok(ExitCode::SUCCESS),
            End::Signal(number) => Ok(ExitCode::from(BY_SIGNAL + number as u8)),
            End::Broken(problem) => Err(problem),
        };
    }
}

/// Runs a guest once.
fn boot(
    kvm: &Kvm,
    guest: &Guest,
    images: &[BootImage<'_>],
    signatures: &[Signature],
    disks: &[Image],
    console: &mut Console,
) -> Result<End, Problem> {
    let mut machine = Machine::new(kvm, guest, images, signatures, disks)?;
    let running = Arc::new(Running::new()?);
    let mut measure = match guest.options.kind.protected {
        true => Some((machine.vm.clone(), guest.measurement()?)),
        false => None,
    };
    // On every way out the terminal is as it was before.
    let terminal = RawTerminal::new().map_err(|why| format!("terminal: {why}"))?;
    let mut threads = Vec::new();
    for (number, vcpu) in machine.vcpus.drain(..).enumerate() {
        let context = Context { running: running.clone(), bus: machine.bus.clone(), measure: measure.take() };
        let thread = thread::Builder::new().name(format!("vcpu{number}")).spawn(move || vcpu::run(vcpu, context));
        match thread {
            Ok(thread) => threads.push(thread),
            Err(why) => {
                running.end(End::Broken(format!("virtual CPU {number}: {why}")));
                break;
            }
        }
    }
    console.serve(&machine.input, &running, terminal.is_some());
    running.stop(threads);
    Ok(running.outcome().unwrap_or(End::Quit))
}

/// The signatures of all images of a protected guest.
fn signatures(images: &[BootImage<'_>], options: &GuestOptions, how: &RunOptions) -> Result<Vec<Signature>, Problem> {
    match (&how.sign_key, &how.signatures) {
        _ if options.kind.shared => Ok(Vec::new()),
        (Some(file), _) => {
            let key = keys::read_secret(file)?;
            images.iter().map(|image| image.sign(&key)).collect()
        }
        (None, Some(folder)) => images.iter().map(|image| image.read_signature(folder)).collect(),
        (None, None) => Err("a protected guest starts from signed images: give --sign-key, or --signatures".into()),
    }
}

/// Random numbers for a shared guest.
fn seeds() -> Result<Seeds, Problem> {
    let mut seeds = Seeds { rng: [0; 64], kaslr: 0 };
    let mut kaslr = [0; 8];
    getrandom::fill(&mut seeds.rng)
        .and_then(|()| getrandom::fill(&mut kaslr))
        .map_err(|why| format!("no random numbers: {why}"))?;
    seeds.kaslr = u64::from_le_bytes(kaslr);
    Ok(seeds)
}

/// Standard input, and the signals that end this program.
struct Console {
    signals: OwnedFd,
    keys: Keys,
    /// Whether there can be more input.
    open: bool,
}

impl Console {
    /// From now on these signals wait until they are asked for, in all threads.
    fn new() -> Result<Self, Problem> {
        let problem = |what: &str| format!("{what}: {}", io::Error::last_os_error());
        let set = vmm_sys_util::signal::create_sigset(&ENDING).map_err(|why| why.to_string())?;
        // SAFETY: both read the set.
        let (blocked, signals) = unsafe {
            (
                libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()),
                libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC),
            )
        };
        if blocked != 0 || signals < 0 {
            return Err(problem("signals"));
        }
        // SAFETY: it is new, and nobody else's.
        let signals = unsafe { OwnedFd::from_raw_fd(signals) };
        Ok(Self { signals, keys: Keys::default(), open: true })
    }

    /// Brings input to the guest until its end.
    fn serve(&mut self, input: &Input, running: &Running, raw: bool) {
        // A terminal that another program has in the foreground is not ours to read.
        let readable = raw || !io::IsTerminal::is_terminal(&io::stdin());
        loop {
            let standard_input = if self.open && readable { libc::STDIN_FILENO } else { -1 };
            let fds = [running.ended.as_raw_fd(), self.signals.as_raw_fd(), standard_input];
            let [ended, signalled, typed] = wait(fds);
            if signalled {
                running.end(End::Signal(self.signal()));
            }
            if ended || signalled {
                return;
            }
            if typed && self.read(input, raw) {
                return running.end(End::Quit);
            }
        }
    }

    /// Reads what was typed. Whether the user wants an end.
    fn read(&mut self, input: &Input, raw: bool) -> bool {
        let mut bytes = [0; 4096];
        // Not through the library's buffer, in which something could stay while we wait for more.
        // SAFETY: writes into the buffer, at most its size.
        let size = unsafe { libc::read(libc::STDIN_FILENO, bytes.as_mut_ptr().cast(), bytes.len()) };
        let Some(bytes) = usize::try_from(size).ok().and_then(|size| bytes.get(..size)) else {
            self.open =
                matches!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock);
            return false;
        };
        self.open = !bytes.is_empty();
        if !raw {
            input.send(bytes);
            return false;
        }
        let mut typed = Vec::with_capacity(bytes.len());
        let request = self.keys.sort(bytes, &mut typed);
        input.send(&typed);
        if request == Some(Request::Help) {
            eprint!("{HELP}");
        }
        request == Some(Request::Quit)
    }

    /// The number of the signal that is there.
    fn signal(&self) -> i32 {
        let mut information = [0; size_of::<libc::signalfd_siginfo>()];
        let Ok(signals) = self.signals.try_clone() else { return libc::SIGTERM };
        match std::fs::File::from(signals).read_exact(&mut information) {
            // Its first word.
            Ok(()) => i32::from_ne_bytes([information[0], information[1], information[2], information[3]]),
            Err(_) => libc::SIGTERM,
        }
    }
}

/// Waits until one of these files can be read, and tells which.
fn wait<const N: usize>(fds: [i32; N]) -> [bool; N] {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: as many structures as it is told.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, -1) };
    polled.map(|file| ready > 0 && file.revents != 0)
}
