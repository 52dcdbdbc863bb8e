// SPDX-License-Identifier: GPL-2.0-only
//! Event histories of the shared objects: the specification's `log`, reduced to what can be observed of it.
//!
//! The specification keeps a list of events per object and replays it. The replays are automata, so their state and
//! the number of events are enough. Other CPUs' events (the event oracle) are always empty in the vectors.

use crate::constants::model_only::LOCAL_LOCK_BOUND;

/// An event, by what the replays tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A ticket was drawn.
    IncTicket,
    /// The lock was passed on.
    IncNow,
    /// "Now serving" was read.
    GetNow,
    /// The CPU saw that it holds the lock.
    HoldLock,
    /// One atomic wait, with the budget of shared events.
    WaitLock(u32),
    /// One atomic release.
    RelLock,
    /// The object was pulled or published.
    Shared,
}

/// What a history of atomic waits and releases comes to (`H_CalLock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Free,
    Held { cpu: u32, budget: u32 },
}

/// The history of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    len: u64,
    holder: Option<Holder>,
    tickets: Option<(u32, u32)>,
}

impl Default for History {
    fn default() -> Self {
        Self { len: 0, holder: Some(Holder::Free), tickets: Some((0, 0)) }
    }
}

impl History {
    /// Appends an event of `cpu`.
    pub fn push(&mut self, cpu: u32, event: Event) {
        self.len += 1;
        self.holder = match (self.holder, event) {
            (Some(Holder::Free), Event::WaitLock(budget)) => Some(Holder::Held { cpu, budget }),
            (Some(Holder::Held { cpu: c, budget }), Event::Shared) if c == cpu && budget > 0 => {
                Some(Holder::Held { cpu, budget: budget - 1 })
            }
            (Some(Holder::Held { cpu: c, .. }), Event::RelLock) if c == cpu => Some(Holder::Free),
            _ => None,
        };
        self.tickets = self.tickets.and_then(|(next, now)| match event {
            Event::IncTicket => Some((next.wrapping_add(1), now)),
            Event::IncNow => Some((next, now.wrapping_add(1))),
            Event::GetNow | Event::HoldLock | Event::Shared => Some((next, now)),
            Event::WaitLock(_) | Event::RelLock => None,
        });
    }

    /// Whether the atomic history is legal and says free.
    pub fn is_free(&self) -> bool {
        self.holder == Some(Holder::Free)
    }

    /// Whether the atomic history is legal and says held by `cpu`, with an event to spare.
    pub fn is_held_by(&self, cpu: u32) -> bool {
        matches!(self.holder, Some(Holder::Held { cpu: c, budget }) if c == cpu && budget > 0)
    }

    /// Next ticket and "now serving", if the history is legal for a ticket lock.
    pub fn tickets(&self) -> Option<(u32, u32)> {
        self.tickets
    }

    /// Number of events.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has happened yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A wait with the specification's budget.
pub const WAIT: Event = Event::WaitLock(LOCAL_LOCK_BOUND);
