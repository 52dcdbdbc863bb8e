// SPDX-License-Identifier: GPL-2.0-only
//! What a simulated CPU can do.

use super::SimMachine;
use crate::machine::CpuFeatures;
use crate::trap::IdRegister;
use crate::trap::inject::PstateFeatures;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// What all CPUs of the machine can do.
#[derive(Clone, Default, Debug)]
pub struct Features {
    /// Values of ID registers; of those that are not here, 0.
    pub id: BTreeMap<IdRegister, u64>,
    /// Optional bits of PSTATE.
    pub pstate: PstateFeatures,
    /// Whether VMs have a GICv3 CPU interface.
    pub gic_registers: bool,
}

impl SimMachine {
    /// Looks at, or changes, what the CPUs can do.
    pub fn with_features<R>(&self, f: impl FnOnce(&mut Features) -> R) -> R {
        f(&mut self.features.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CpuFeatures for SimMachine {
    fn id_register(&self, register: IdRegister) -> u64 {
        self.with_features(|features| features.id.get(&register).copied().unwrap_or(0))
    }

    fn pstate_features(&self) -> PstateFeatures {
        self.with_features(|features| features.pstate)
    }

    fn gic_registers(&self) -> bool {
        self.with_features(|features| features.gic_registers)
    }
}
