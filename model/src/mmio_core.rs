// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioCore.

use crate::constants::{SMMU_GLOBAL_BASE, SMMU_OFFSET_MASK, is_addr, is_smmu};
use crate::mmio_core_aux::__handle_smmu_read;
use crate::rdata::{RData, lock_id};
use crate::{Spec, rely};

/// Spec: IC-1 (high).
pub fn handle_smmu_write(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32, index: u32) -> Spec {
    rely(is_addr(fault_ipa) && is_smmu(index))?;
    if d.halt {
        return Some(());
    }
    d.rely_held(lock_id::SMMU)?;
    low::handle_smmu_write(d, hsr, fault_ipa, len, index)
}

/// Spec: IC-2 (high). All reads are allowed.
pub fn handle_smmu_read(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32) -> Spec {
    __handle_smmu_read(d, hsr, fault_ipa, len)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{RData, SMMU_GLOBAL_BASE, SMMU_OFFSET_MASK, Spec};
    use crate::abstract_machine::{get_smmu_cfg_hw_ttbr, panic};
    use crate::mmio_core_aux::{__handle_smmu_write, handle_smmu_cb_access, handle_smmu_global_access};
    use crate::mmio_raw::smmu_get_cbndx;

    pub use super::handle_smmu_read;

    /// Spec: IC-1 (low).
    pub fn handle_smmu_write(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32, index: u32) -> Spec {
        let offset = fault_ipa & SMMU_OFFSET_MASK;
        if offset < SMMU_GLOBAL_BASE {
            if handle_smmu_global_access(d, hsr, offset, index)? == 0 {
                return panic(d);
            }
            return __handle_smmu_write(d, hsr, fault_ipa, len, 0, 0);
        }
        match handle_smmu_cb_access(d, offset)? {
            0 => panic(d),
            2 => {
                let cbndx = smmu_get_cbndx(d, offset)?;
                let ttbr = get_smmu_cfg_hw_ttbr(d, cbndx, index)?;
                __handle_smmu_write(d, hsr, fault_ipa, len, ttbr, 1)
            }
            _ => __handle_smmu_write(d, hsr, fault_ipa, len, 0, 0),
        }
    }
}
