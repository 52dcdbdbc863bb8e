// SPDX-License-Identifier: GPL-2.0-only
//! Where LOG_READ gets the log from.

/// The log since boot, of which the oldest part may have been overwritten.
pub trait LogSource {
    /// Fills `buffer` from byte `position` of the log on, or from the oldest byte that is left if that is later.
    /// Returns the position of the first byte and how many there are; 0 at or past the end.
    fn read(&self, position: u64, buffer: &mut [u8]) -> (u64, usize);
}
