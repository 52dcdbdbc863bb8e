// SPDX-License-Identifier: GPL-2.0-only
//! The security invariants of the specification (§11.4), as checks on the abstract state.
//!
//! Each is a function of its own under the specification's number. I1 to I14 have the published form
//! ([`Strength::Literal`]) and, where the specification asks more of an implementation, a strict one; E1 to E7 are the
//! additional ones, and only strict. They look at nothing but [`RData`], so they hold an implementation's abstract state
//! to account as well as the model's. What one state of one CPU can't show is in [`cpus`].

pub mod cpus;
mod owners;
mod smmu;
mod tables;
mod vms;

pub use owners::{e1, e3, e5, e7, i4, i5, i6};
pub use smmu::{i8, i9, i10, i11};
pub use tables::{e4, i1, i2, i3, pointers_monotone};
pub use vms::{e2, e6, i7, i12, i13, i14};

use crate::RData;
use crate::page_table::{Npt, NptEntry};
use std::fmt;

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// I1 to I14 as published.
    Literal,
    /// I1 to I14 as an implementation must keep them, and E1 to E7.
    Strict,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The specification's number of the invariant.
    pub id: &'static str,
    /// The page, bank, VM or CPU that breaks it, and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.detail)
    }
}

/// An invariant.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// The specification's number.
    pub id: &'static str,
    /// From which strength on it is asked for.
    pub from: Strength,
    /// All that breaks it.
    pub check: fn(&RData, Strength) -> Vec<String>,
}

/// All invariants of one state.
pub const INVARIANTS: [Invariant; 21] = {
    use Strength::{Literal, Strict};
    const fn inv(id: &'static str, from: Strength, check: fn(&RData, Strength) -> Vec<String>) -> Invariant {
        Invariant { id, from, check }
    }
    [
        inv("I1", Literal, i1),
        inv("I2", Literal, i2),
        inv("I3", Literal, i3),
        inv("I4", Literal, i4),
        inv("I5", Literal, i5),
        inv("I6", Literal, i6),
        inv("I7", Literal, i7),
        inv("I8", Literal, i8),
        inv("I9", Literal, i9),
        inv("I10", Literal, i10),
        inv("I11", Literal, i11),
        inv("I12", Literal, i12),
        inv("I13", Literal, i13),
        inv("I14", Literal, i14),
        inv("E1", Strict, e1),
        inv("E2", Strict, e2),
        inv("E3", Strict, e3),
        inv("E4", Strict, e4),
        inv("E5", Strict, e5),
        inv("E6", Strict, e6),
        inv("E7", Strict, e7),
    ]
};

/// All violations of all invariants, in the order of their numbers.
pub fn check_all(d: &RData, strength: Strength) -> Vec<Violation> {
    INVARIANTS
        .iter()
        .filter(|inv| inv.from <= strength)
        .flat_map(|inv| (inv.check)(d, strength).into_iter().map(|detail| Violation { id: inv.id, detail }))
        .collect()
}

/// What a stage-2 table maps: guest pages and their entries.
fn mapped(npt: &Npt) -> impl Iterator<Item = (u64, NptEntry)> + '_ {
    npt.pt.iter().filter(|(_, entry)| entry.pfn != 0).map(|(&gfn, &entry)| (gfn, entry))
}
