// SPDX-License-Identifier: GPL-2.0-only
//! What this CPU can do.

use super::host_cpu;
use super::machine::Hardware;
use super::sysreg::field;
use crate::machine::CpuFeatures;
use crate::read_sysreg;
use crate::trap::IdRegister;
use crate::trap::inject::PstateFeatures;

impl CpuFeatures for Hardware {
    fn id_register(&self, register: IdRegister) -> u64 {
        match register {
            IdRegister::Pfr0 => read_sysreg!("id_aa64pfr0_el1"),
            IdRegister::Pfr1 => read_sysreg!("id_aa64pfr1_el1"),
            IdRegister::Dfr0 => read_sysreg!("id_aa64dfr0_el1"),
            IdRegister::Isar0 => read_sysreg!("id_aa64isar0_el1"),
            IdRegister::Isar1 => read_sysreg!("id_aa64isar1_el1"),
            IdRegister::Isar2 => read_sysreg!("S3_0_C0_C6_2"),
            IdRegister::Mmfr0 => read_sysreg!("id_aa64mmfr0_el1"),
            IdRegister::Mmfr1 => read_sysreg!("id_aa64mmfr1_el1"),
            IdRegister::Mmfr2 => read_sysreg!("id_aa64mmfr2_el1"),
        }
    }

    fn pstate_features(&self) -> PstateFeatures {
        host_cpu::pstate_features()
    }

    fn gic_registers(&self) -> bool {
        /// ICC_SRE_EL2.SRE, which the host's set-up leaves set where the platform has a GICv3.
        const SRE: u64 = 1;
        let interface = field(read_sysreg!("id_aa64pfr0_el1"), 24) != 0;
        interface && read_sysreg!("S3_4_C12_C9_5") & SRE != 0
    }
}
