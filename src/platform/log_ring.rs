// SPDX-License-Identifier: GPL-2.0-only
//! The log's memory: the last lines, for the host call LOG_READ.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Bytes of memory.
pub const SIZE: usize = 32 * 1024;

/// Bytes that can be read: the writer may be about to overwrite one more.
const KEPT: u64 = SIZE as u64 - 1;

/// A ring of bytes with one writer at a time (the console's lock sees to that) and any number of readers, who need no
/// lock: a reader that was overtaken notices, and starts at what is left.
pub struct LogRing {
    bytes: [AtomicU8; SIZE],
    /// Bytes written since boot.
    end: AtomicU64,
}

impl LogRing {
    /// An empty log.
    pub const fn new() -> Self {
        Self { bytes: [const { AtomicU8::new(0) }; SIZE], end: AtomicU64::new(0) }
    }

    /// Appends `text`.
    pub fn write(&self, text: &[u8]) {
        for &byte in text {
            let end = self.end.load(Ordering::Relaxed);
            // Released, so that a reader who sees this byte sees that `end` has come past the one before.
            self.bytes[end as usize % SIZE].store(byte, Ordering::Release);
            self.end.store(end + 1, Ordering::Release);
        }
    }

    /// Copies bytes from `position` on, or from the oldest that is left, to `buffer`. Returns the position of the first
    /// one and their number.
    pub fn read(&self, position: u64, buffer: &mut [u8]) -> (u64, usize) {
        loop {
            let end = self.end.load(Ordering::Acquire);
            let first = position.max(end.saturating_sub(KEPT)).min(end);
            let length = buffer.len().min((end - first) as usize);
            for (i, slot) in buffer[..length].iter_mut().enumerate() {
                *slot = self.bytes[(first + i as u64) as usize % SIZE].load(Ordering::Acquire);
            }
            // Unless the writer has come round to what was copied, it is whole.
            if self.end.load(Ordering::Acquire) - first <= KEPT {
                return (first, length);
            }
        }
    }
}

impl Default for LogRing {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_pieces_and_ends() {
        let ring = LogRing::new();
        ring.write(b"hello, world");
        let mut buffer = [0; 5];
        assert_eq!(ring.read(0, &mut buffer), (0, 5));
        assert_eq!(&buffer, b"hello");
        assert_eq!(ring.read(7, &mut buffer), (7, 5));
        assert_eq!(&buffer, b"world");
        assert_eq!(ring.read(12, &mut buffer), (12, 0));
        assert_eq!(ring.read(u64::MAX, &mut buffer), (12, 0));
    }

    #[test]
    fn a_reader_gets_whole_text_while_the_writer_goes_round() {
        let ring = LogRing::new();
        let value = |position: u64| (position % 251) as u8;
        let rounds = 20 * SIZE as u64;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in 0..rounds / 16 {
                    ring.write(&core::array::from_fn::<u8, 16, _>(|i| value(piece * 16 + i as u64)));
                }
            });
            let (mut position, mut skips) = (0, 0);
            let mut buffer = [0; 100];
            while position < rounds {
                let (first, length) = ring.read(position, &mut buffer);
                assert!(first >= position && first + length as u64 <= rounds);
                skips += u64::from(first > position);
                for (i, &byte) in buffer[..length].iter().enumerate() {
                    assert_eq!(byte, value(first + i as u64), "at {first} + {i}, after {skips} skips");
                }
                position = first + length as u64;
            }
        });
    }

    #[test]
    fn what_was_overwritten_is_skipped() {
        let ring = LogRing::new();
        for i in 0..SIZE as u64 + 10 {
            ring.write(&[i as u8]);
        }
        let mut buffer = [0; 1];
        assert_eq!(ring.read(3, &mut buffer), (11, 1));
        assert_eq!(buffer, [11]);
    }
}
