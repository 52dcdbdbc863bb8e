// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioCore (`spec/layers/07-mmio.md` §7.3).

use super::mmio_core_aux::{CbAccess, Write, bank_at, handle_smmu_cb_access};
use super::mmio_ops_aux::Access;
use super::mmio_raw::host_get_mmio_data;
use super::registers::BANKS;
use super::{SmmuBanks, SmmuIndex};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::{Machine, Width};
use crate::refused::Refused;
use crate::trap::Registers;

impl<M: Machine> Corevisor<M> {
    /// Spec: IC-1. The host's write to a register of SMMU `k`. Lock SMMU is held, by `banks`; locks SPT.
    pub(super) fn handle_smmu_write<const OUTER: u8>(
        &self,
        banks: &SmmuBanks,
        k: SmmuIndex,
        access: &Access,
        regs: &Registers,
        held: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let Access { at, offset, width, register } = *access;
        let data = match (host_get_mmio_data(register, regs), width) {
            (data, Width::Double) => data,
            (data, Width::Word) => data & 0xFFFF_FFFF,
        };
        let refused = Refused::Register(offset);
        let write = if offset < BANKS {
            self.handle_smmu_global_access(banks, k, offset, width, data).ok_or(refused)?
        } else {
            let (b, owner) = bank_at(banks, k, offset).ok_or(refused)?;
            match handle_smmu_cb_access(offset, width) {
                CbAccess::Refuse => return Err(refused),
                CbAccess::Through => Write::Value(data),
                CbAccess::Replace => Write::Value(self.replaced(owner, b, k, offset & 0xFFF, data, held)?),
                CbAccess::Ignore => Write::Ignored,
            }
        };
        if let Write::Value(value) = write {
            self.__handle_smmu_write(at, width, value);
        }
        Ok(())
    }

    /// Spec: IC-2. The host's read of a register of SMMU `k`: all are allowed, in both halves. Identification registers tell
    /// what the host may use (D-150).
    pub(super) fn handle_smmu_read(&self, k: SmmuIndex, access: &Access, regs: &mut Registers) {
        match self.identification(k, access.offset, access.width) {
            Some(shown) => {
                if let Some(register) = regs.get_mut(access.register) {
                    *register = shown;
                }
            }
            None => self.__handle_smmu_read(access.at, access.width, access.register, regs),
        }
    }
}
