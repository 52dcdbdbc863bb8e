// SPDX-License-Identifier: GPL-2.0-only
//! The model as what scripts run on.

use super::Subject;
use super::dispatch::{Outcome, dispatch};
use super::final_state::Final;
use super::script::{Init, Step};
use crate::rdata::RData;

/// The model, with its state.
pub struct Model(RData);

impl Subject for Model {
    fn start(init: Init) -> Self {
        Self(RData::new(init.into()))
    }

    fn step(&mut self, step: &Step) -> Outcome {
        dispatch(&mut self.0, &step.name, &step.args)
    }

    fn halted(&self) -> bool {
        self.0.halt
    }

    fn final_state(&self) -> Final {
        Final::of(&self.0)
    }
}
