// SPDX-License-Identifier: GPL-2.0-only
//! The log.

use crate::rt::call::{self, log_read};
use crate::rt::fault::{Access, assert_refused};
use crate::rt::machine::pause;
use crate::rt::tree;
use core::fmt::{self, Write};
use corevisor::abi::{self, LOG_READ_MAX};

/// Room for a line.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 512], length: 0 }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).expect("the log is text")
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

fn format(text: fmt::Arguments<'_>) -> Line {
    let mut line = Line::new();
    line.write_fmt(text).expect("a line has room");
    line
}

/// Calls `f` with each line of the log from `position` on.
fn for_each_line(mut position: u64, mut f: impl FnMut(&str)) {
    let mut line = Line::new();
    loop {
        let (first, bytes, length) = log_read(position);
        assert_eq!(first, position, "nothing can have been overwritten yet");
        if length == 0 {
            assert_eq!(line.length, 0, "the log ends with a whole line");
            return;
        }
        for &byte in &bytes[..length] {
            if byte == b'\n' {
                f(line.as_str());
                line = Line::new();
            } else {
                line.push(byte);
            }
        }
        position += length as u64;
    }
}

/// How many lines from `position` on have all of `parts` in them.
fn lines_with(position: u64, parts: &[&str]) -> usize {
    let mut lines = 0;
    for_each_line(position, |line| lines += usize::from(parts.iter().all(|&part| line.contains(part))));
    lines
}

fn end() -> u64 {
    let (end, _, length) = log_read(u64::MAX);
    assert_eq!(length, 0);
    end
}

pub fn boot_log() {
    let mut lines = 0;
    for_each_line(0, |line| {
        lines += 1;
        assert!(line.starts_with("[corevisor] "), "{line}");
    });
    assert!(lines > 5);
    for range in tree::corevisor() {
        let range = format(format_args!("{:#018x} - {:#018x}", range.start, range.end));
        assert_eq!(lines_with(0, &[range.as_str()]), 1, "{}", range.as_str());
    }
    for part in ["carve-out: ", "image: ", "firmware: PSCI 1.", "host: entering at "] {
        assert_eq!(lines_with(0, &[part]), 1, "{part}");
    }
}

/// From every position, the bytes that the next position has, and one more.
pub fn log_in_pieces() {
    let last = end() - LOG_READ_MAX as u64;
    assert!(last > LOG_READ_MAX as u64);
    let mut previous = log_read(0).1;
    assert_eq!(&previous[..12], b"[corevisor] ");
    for position in 1..=last {
        let (first, bytes, length) = log_read(position);
        assert_eq!((first, length), (position, LOG_READ_MAX));
        assert_eq!(bytes[..LOG_READ_MAX - 1], previous[1..], "from {position}");
        previous = bytes;
    }
}

pub fn log_end() {
    let end = end();
    for position in [end, end + 1, end + 4096, 1 << 32, 1 << 63, u64::MAX] {
        assert_eq!(log_read(position), (end, [0; LOG_READ_MAX], 0), "from {position:#x}");
    }
    let (first, bytes, length) = log_read(end - 1);
    assert_eq!((first, length, bytes[0]), (end - 1, 1, b'\n'));
    assert_eq!(bytes[1..], [0; LOG_READ_MAX - 1], "nothing else is disclosed");
}

/// Waits until lines about refusals are printed again.
fn next_second() {
    pause(1100);
}

pub fn refusals_are_logged() {
    next_second();
    let start = end();
    let page = tree::corevisor().last().expect("Corevisor has memory").start;
    assert_refused(Access::Write, page + 8);
    assert_eq!(call::hvc(abi::HOST_CALL_BASE + abi::host_call::DESTROY_VM, &[16]), abi::INVALID_PARAMETER);
    let access = format(format_args!("host access refused: page {page:#x} is not the host's; ipa={page:#x}"));
    let far = format(format_args!(" far={:#x} ", page + 8));
    assert_eq!(lines_with(start, &[access.as_str(), far.as_str()]), 1);
    assert_eq!(lines_with(start, &["host call 0xc6001022 refused: argument 1 out of range"]), 1);
}

pub fn refusals_are_limited() {
    const A_SECOND: usize = 10;
    next_second();
    let start = end();
    let page = tree::corevisor().next().expect("Corevisor has memory").start;
    for _ in 0..500 {
        assert_refused(Access::Read, page);
    }
    let refused = || lines_with(start, &["host access refused"]);
    let lines = refused();
    // The burst takes less than a second, but may begin just before one ends.
    assert!((A_SECOND..=2 * A_SECOND).contains(&lines), "{lines} lines");
    next_second();
    assert_refused(Access::Read, page);
    assert_eq!(refused(), lines + 1);
    assert!(lines_with(start, &[" more refusals were not logged"]) > 0);
}
