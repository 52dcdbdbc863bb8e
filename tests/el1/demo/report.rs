// SPDX-License-Identifier: GPL-2.0-only
//! The table at the end: what was tried, and what came of it.

use crate::say;
use arrayvec::ArrayString;
use arrayvec::ArrayVec;
use core::fmt::{Arguments, Write};

type Text = ArrayString<72>;

struct Row {
    who: &'static str,
    what: &'static str,
    outcome: Text,
    good: bool,
}

/// All rows so far.
pub struct Report(ArrayVec<Row, 32>);

impl Report {
    /// An empty table.
    pub fn new() -> Self {
        Self(ArrayVec::new())
    }

    /// `who` has tried `what`, with this outcome, which is as it must be or not. Says so at once.
    pub fn note(&mut self, who: &'static str, what: &'static str, outcome: Arguments<'_>, good: bool) {
        let mut text = Text::new();
        let _ = text.write_fmt(outcome);
        say!("   {who}: {what}: {text}{}", if good { "" } else { "  <- THIS MUST NOT BE" });
        self.0.push(Row { who, what, outcome: text, good });
    }

    /// Prints the table; whether all is as it must be.
    pub fn print(&self) -> bool {
        say!("   {:<8} {:<58} {:<44} {}", "who", "what", "outcome", "as it must be");
        for row in &self.0 {
            let good = if row.good { "yes" } else { "NO" };
            say!("   {:<8} {:<58} {:<44} {good}", row.who, row.what, row.outcome);
        }
        self.0.iter().all(|row| row.good)
    }
}
