// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioRaw.

use crate::constants::model_only::PTE_AF_OR_SH_IS;
use crate::constants::{HOSTVISOR, SMMU_GLOBAL_BASE, SMMU_PGSHIFT, is_addr, is_smmu_cfg, is_vcpu};
use crate::rdata::RData;
use crate::registers::by_index;
use crate::{Spec, rely};

/// Spec: IR-1 (high). Register 31 reads 0.
pub fn host_get_mmio_data(d: &mut RData, hsr: u32) -> Spec<u64> {
    rely(is_vcpu(d.cur_vcpuid))?;
    if d.halt {
        return Some(0);
    }
    let vcpuid = d.cur_vcpuid;
    Some(by_index(hsr >> 16 & 31).map_or(0, |reg| d.ctxt(HOSTVISOR, vcpuid).get(reg)))
}

/// Spec: IR-2 (high). Does not look at `halt`. D-61: the attributes collide with bit 16 of the address.
pub fn smmu_init_pte(_d: &mut RData, prot: u64, addr: u64) -> Spec<u64> {
    rely(is_addr(addr) && prot < (1 << 63) - 1)?;
    Some(addr | prot | PTE_AF_OR_SH_IS)
}

/// Spec: IR-3 (high). Does not look at `halt`.
pub fn smmu_get_cbndx(_d: &mut RData, offset: u64) -> Spec<u32> {
    rely(offset >= SMMU_GLOBAL_BASE)?;
    let cbndx = u32::try_from((offset - SMMU_GLOBAL_BASE) >> SMMU_PGSHIFT).ok()?;
    rely(is_smmu_cfg(cbndx))?;
    Some(cbndx)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{HOSTVISOR, RData, Spec};
    use crate::abstract_machine::{get_cur_vcpuid, get_shadow_ctxt, host_dabt_get_rd};

    pub use super::{smmu_get_cbndx, smmu_init_pte};

    /// Spec: IR-1 (low).
    pub fn host_get_mmio_data(d: &mut RData, hsr: u32) -> Spec<u64> {
        let vcpuid = get_cur_vcpuid(d)?;
        let rd = host_dabt_get_rd(d, hsr)?;
        get_shadow_ctxt(d, HOSTVISOR, vcpuid, rd)
    }
}
