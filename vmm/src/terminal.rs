// SPDX-License-Identifier: GPL-2.0-only
//! The terminal: raw while a guest has it, and as it was before on every way out.

use std::io::{self, IsTerminal};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use vmm_sys_util::signal::register_signal_handler;

/// Ctrl-A.
const ESCAPE: u8 = 1;
/// What Ctrl-A h shows.
pub const HELP: &str =
    "\r\nCtrl-A x  ends the guest\r\nCtrl-A h  shows this\r\nCtrl-A Ctrl-A  is Ctrl-A for the guest\r\n";

/// How the terminal was.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// The terminal on standard input, while it is raw.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Makes it raw, if standard input is a terminal and this process has it in the foreground.
    ///
    /// # Errors
    /// If that does not work.
    pub fn new() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !input.is_terminal() || !is_foreground(input.as_raw_fd()) {
            return Ok(None);
        }
        // SAFETY: all zeros are a value of this structure of numbers.
        let mut modes: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: writes the structure.
        check(unsafe { libc::tcgetattr(input.as_raw_fd(), &raw mut modes) })?;
        // In a second guest of this process the terminal is as it was before the first.
        let mut raw = *BEFORE.get_or_init(|| modes);
        restore_when_this_process_breaks();
        // SAFETY: changes the structure.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        IS_RAW.store(true, Ordering::SeqCst);
        // SAFETY: reads the structure.
        check(unsafe { libc::tcsetattr(input.as_raw_fd(), libc::TCSANOW, &raw const raw) })?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal as it was. Safe in a signal handler.
fn restore() {
    if let (true, Some(before)) = (IS_RAW.swap(false, Ordering::SeqCst), BEFORE.get()) {
        // SAFETY: reads the structure.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before) };
    }
}

/// Panics, and faults such as a touch of a protected guest's memory, end the process without unwinding.
fn restore_when_this_process_breaks() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        for signal in [libc::SIGBUS, libc::SIGSEGV, libc::SIGABRT] {
            // Without a handler the process ends all the same.
            let _ = register_signal_handler(signal, on_fault);
        }
    });
}

extern "C" fn on_fault(signal: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    restore();
    // SAFETY: both may be called in a signal handler; the default action ends this process, as if there were no handler.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Whether this process may set the terminal's modes without being stopped.
fn is_foreground(terminal: i32) -> bool {
    // SAFETY: both only return a number.
    unsafe { libc::tcgetpgrp(terminal) == libc::getpgrp() }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the user asks of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End the guest.
    Quit,
    /// Show [`HELP`].
    Help,
}

/// Finds what is for this program in what is typed at a terminal.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    /// Sorts what was typed: what is for the guest goes to `guest`. Returns the last request.
    pub fn sort(&mut self, typed: &[u8], guest: &mut Vec<u8>) -> Option<Request> {
        let mut request = None;
        for &byte in typed {
            match (std::mem::take(&mut self.escaped), byte) {
                (true, b'x' | b'X') => return Some(Request::Quit),
                (true, b'h' | b'H' | b'?') => request = Some(Request::Help),
                (false, ESCAPE) => self.escaped = true,
                (_, byte) => guest.push(byte),
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::{Keys, Request};

    fn sort(pieces: &[&[u8]]) -> (Vec<u8>, Option<Request>) {
        let (mut keys, mut guest, mut request) = (Keys::default(), Vec::new(), None);
        for piece in pieces {
            request = keys.sort(piece, &mut guest);
        }
        (guest, request)
    }

    #[test]
    fn escapes() {
        assert_eq!(sort(&[b"ls\r"]), (b"ls\r".to_vec(), None));
        assert_eq!(sort(&[b"a\x01xb"]), (b"a".to_vec(), Some(Request::Quit)));
        assert_eq!(sort(&[b"a\x01", b"X"]), (b"a".to_vec(), Some(Request::Quit)));
        assert_eq!(sort(&[b"\x01ha"]), (b"a".to_vec(), Some(Request::Help)));
        assert_eq!(sort(&[b"\x01\x01x"]), (b"\x01x".to_vec(), None));
        assert_eq!(sort(&[b"\x01q\x03"]), (b"q\x03".to_vec(), None));
    }
}
