// SPDX-License-Identifier: GPL-2.0-only
//! The same for Corevisor's library itself: a small machine that is booted, and steps that enter the library where the
//! vectors and the hardware do.
//!
//! A [`small::Small`] is a machine of a few pages; a [`lab::Lab`] is the library running on it, to which steps are done.
//! An instance can't be copied: [`search`] goes back to an earlier state by booting again and taking the same steps. A
//! refused step changes nothing, which is asked after each ([`state::Everything`]).

mod drive;
pub mod lab;
pub mod pairs;
pub mod search;
pub mod small;
pub mod state;
pub mod walk;
