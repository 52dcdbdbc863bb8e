// SPDX-License-Identifier: GPL-2.0-only
//! The host's HVC and SMC instructions: SMC Calling Convention 1.2 (Arm DEN0028).
//!
//! Both conduits reach the same services. What would go on to the firmware is on a list; the rest does not exist: a
//! secure world call may access memory by physical address (`spec/layers/13-machine-gaps.md` §13.4).

use super::{HostAction, LogSource, Registers};
use crate::abi::{self, stat};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::CpuFeatures;

/// The instruction that made a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// HVC; ELR_EL2 is already past it.
    Hvc,
    /// SMC, trapped; ELR_EL2 points at it.
    Smc,
}

/// Version that we implement.
pub(super) const SMCCC_1_2: u64 = 0x0001_0002;
pub(super) const SMCCC_VERSION: u32 = 0x8000_0000;
pub(super) const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
const SMCCC_ARCH_SOC_ID: u32 = 0x8000_0002;
pub(super) const ARCH_WORKAROUND_1: u32 = 0x8000_8000;
pub(super) const ARCH_WORKAROUND_2: u32 = 0x8000_7FFF;
pub(super) const ARCH_WORKAROUND_3: u32 = 0x8000_3FFF;
/// PSCI function ids (DEN0022) are these plus 0 to 0x1F.
const PSCI_32: u32 = 0x8400_0000;
const PSCI_64: u32 = 0xC400_0000;
/// TRNG (DEN0098): version, features, UUID, and the random numbers themselves, which come in registers.
const TRNG: [u32; 5] = [0x8400_0050, 0x8400_0051, 0x8400_0052, 0x8400_0053, 0xC400_0053];
/// Bit 16: "no SVE state to preserve", a hint (SMCCC 1.3).
pub(crate) const SVE_HINT: u32 = 1 << 16;
const CALL_64: u32 = 1 << 30;

/// Whether `id` is of a PSCI function.
pub(super) const fn is_psci(id: u32) -> bool {
    matches!(id & !0x1F, PSCI_32 | PSCI_64)
}

impl<M: CpuFeatures + LogSource> Corevisor<M> {
    /// Carries out the call in `regs` (id in w0, arguments from x1) of an instruction with immediate `immediate`.
    /// Writes results to x0 and, where the call has more, up to x17; nothing else changes. Returns what is left to do.
    #[inline(always)]
    pub fn host_smccc(
        &self,
        conduit: Conduit,
        immediate: u16,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> HostAction {
        self.count(match conduit {
            Conduit::Hvc => stat::TRAP_HVC,
            Conduit::Smc => stat::TRAP_SMC,
        });
        let id = regs[0] as u32 & !SVE_HINT;
        match id {
            _ if immediate != 0 => self.unknown_call(regs),
            abi::HOST_CALL_BASE..=0xC600_1FFF => return self.host_hvc_dispatcher(id, regs, outer),
            _ => self.standard_call(id, regs, outer),
        }
        HostAction::Resume
    }

    /// A call of another service than Corevisor's.
    #[inline(never)]
    fn standard_call(&self, id: u32, regs: &mut Registers, outer: &mut Held<'_, { rank::NONE }>) {
        match id {
            SMCCC_VERSION => regs[0] = SMCCC_1_2,
            SMCCC_ARCH_FEATURES => self.arch_features(regs),
            SMCCC_ARCH_SOC_ID | ARCH_WORKAROUND_1 | ARCH_WORKAROUND_2 | ARCH_WORKAROUND_3 => {
                self.forward(id, regs);
            }
            _ if TRNG.contains(&id) => self.forward(id, regs),
            _ if is_psci(id) => self.psci(id, regs, outer),
            abi::CALL_UID => {
                for (reg, word) in regs.iter_mut().zip(abi::UID) {
                    *reg = word.into();
                }
            }
            abi::CALL_REVISION => {
                regs[0] = (abi::VERSION >> 16).into();
                regs[1] = (abi::VERSION & 0xFFFF).into();
            }
            _ => self.unknown_call(regs),
        }
    }

    fn unknown_call(&self, regs: &mut Registers) {
        self.count(stat::REFUSED_CALL);
        regs[0] = abi::NOT_SUPPORTED as u64;
    }

    /// SMCCC_ARCH_FEATURES: ours are answered here, the firmware's there.
    fn arch_features(&self, regs: &mut Registers) {
        match regs[1] as u32 {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => regs[0] = 0,
            SMCCC_ARCH_SOC_ID | ARCH_WORKAROUND_1 | ARCH_WORKAROUND_2 | ARCH_WORKAROUND_3 => {
                self.forward(SMCCC_ARCH_FEATURES, regs);
            }
            _ => regs[0] = abi::NOT_SUPPORTED as u64,
        }
    }

    /// Hands a call that touches registers only to the firmware, if that speaks SMCCC 1.1 or later.
    fn forward(&self, id: u32, regs: &mut Registers) {
        if !self.cpus().firmware().smccc_1_1 {
            return self.unknown_call(regs);
        }
        let width = if id & CALL_64 == 0 { u64::from(u32::MAX) } else { u64::MAX };
        let args = [id.into(), regs[1] & width, regs[2] & width, regs[3] & width];
        regs[..4].copy_from_slice(&self.machine().firmware_call(args));
    }
}
