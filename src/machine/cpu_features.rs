// SPDX-License-Identifier: GPL-2.0-only
//! What the CPU can do, where Corevisor answers for it to a VM.

use super::Machine;
use crate::trap::IdRegister;
use crate::trap::inject::PstateFeatures;

/// A machine that says what its CPUs can do. All methods are about the CPU that calls them.
pub trait CpuFeatures: Machine {
    /// The hardware's value of an ID register, 0 where it does not have it.
    fn id_register(&self, register: IdRegister) -> u64;

    /// Which optional bits of PSTATE an exception's entry sets.
    fn pstate_features(&self) -> PstateFeatures;

    /// Whether a VM has the system registers of a GICv3 CPU interface, by the virtual interface.
    fn gic_registers(&self) -> bool;
}
