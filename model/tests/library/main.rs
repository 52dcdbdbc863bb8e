// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor's library against the model.

mod calls;
mod invariants;
mod run;
mod sequences;
mod step;
mod world;
