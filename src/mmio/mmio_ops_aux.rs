// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioOpsAux (`spec/layers/07-mmio.md` §7.4).

use super::{SmmuBanks, SmmuIndex};
use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::{Machine, Width};
use crate::refused::Refused;
use crate::trap::{HostAbort, Registers, Syndrome};

/// The bits of a register that an access of 4 bytes is about.
const WORD: u64 = 0xFFFF_FFFF;

/// An access of the host to a register of an SMMU.
pub(super) struct Access {
    /// The register's address.
    pub at: Pa,
    /// Where that is in a window of the specification's layout.
    pub offset: u64,
    pub width: Width,
    /// The host's register that is read or written; 31 is none.
    pub register: usize,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: IA-1. The last SMMU in whose window `addr` lies. There are as many as the platform has (D-63).
    pub fn is_smmu_range(&self, addr: Ipa) -> Option<SmmuIndex> {
        let k = self.smmus().iter().rposition(|smmu| smmu.window.contains(addr.as_u64()))?;
        SmmuIndex::new(k as u64)
    }

    /// Spec: IA-2. Carries out the host's access to SMMU `k`, of the page `addr`: to which address (AM-134
    /// `host_get_fault_ipa`), by which register (AM-122 `host_dabt_get_rd`), whether it is a write (AM-123
    /// `host_dabt_is_write`) and how wide (AM-124 `host_dabt_get_as`), hardware says. Lock SMMU is held, by `banks`. That
    /// the instruction is skipped is for the caller of FH-1.
    ///
    /// # Errors
    /// If hardware does not describe the access in full (a pair of registers, an instruction fetch, cache maintenance), or
    /// it is not one aligned register of 4 or 8 bytes (D-67), or the register may not be written so.
    pub(super) fn handle_host_mmio<const OUTER: u8>(
        &self,
        banks: &SmmuBanks,
        addr: Ipa,
        k: SmmuIndex,
        abort: &HostAbort,
        regs: &mut Registers,
        held: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let smmu = self.smmu(k)?.config;
        let at = addr.as_u64() | (abort.far & (PAGE_SIZE - 1));
        let offset = at.wrapping_sub(smmu.window.start);
        let refused = Refused::Register(offset);
        let (width, size) = match abort.syndrome.access_mask() {
            WORD => (Width::Word, 4),
            u64::MAX => (Width::Double, 8),
            _ => return Err(refused),
        };
        if !abort.syndrome.describes_access() || !smmu.window.contains(at) || !at.is_multiple_of(size) {
            return Err(refused);
        }
        let offset = smmu.layout.register(offset).ok_or(refused)?;
        let access = Access { at: Pa::low_48(at), offset, width, register: abort.syndrome.register() };
        if abort.syndrome.0 & Syndrome::WNR != 0 {
            self.handle_smmu_write(banks, k, &access, regs, held)
        } else {
            self.handle_smmu_read(k, &access, regs);
            Ok(())
        }
    }
}
