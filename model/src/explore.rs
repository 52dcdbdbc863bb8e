// SPDX-License-Identifier: GPL-2.0-only
//! Search for states that break the invariants ([`crate::invariants`]) and for steps that leak ([`crate::observe`]).
//!
//! An [`action::Action`] is one step that the host, a VM or a device can make a machine do; [`arena::Arena`] lists those of
//! a small world. [`rules::Rules`] say what an action does: [`rules::Literal`] to the letter, [`careful::Careful`] as the
//! rulings on the differences have it. A [`world::World`] takes steps, undoes those that halt or have no result (a
//! refusal changes nothing), and finds what each has newly broken. [`walk`] goes at random, [`search`] everywhere,
//! [`pairs`] in two worlds that differ in one principal's secrets. [`library`] does all of it with the library itself.

pub mod action;
pub mod arena;
pub mod careful;
pub mod deck;
pub mod findings;
pub mod ghosts;
pub mod library;
pub mod pairs;
pub mod random;
pub mod rules;
pub mod search;
mod snapshot;
pub mod walk;
pub mod world;
