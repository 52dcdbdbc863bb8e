// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioOpsAux.

use crate::constants::{INVALID, is_addr, is_smmu};
use crate::mmio_ops::note_second_smmu;
use crate::rdata::{RData, SMMU_COUNT, SMMUS, lock_id};
use crate::{Spec, rely};

/// Spec: IA-1 (high). D-63: relies on at most one SMMU.
pub fn is_smmu_range(d: &mut RData, addr: u64) -> Spec<u32> {
    rely(is_addr(addr))?;
    if d.halt {
        return Some(INVALID);
    }
    rely(is_smmu(SMMU_COUNT))?;
    note_second_smmu(d, addr);
    Some(search(addr))
}

/// The last SMMU whose window `addr` is in.
pub(crate) fn search(addr: u64) -> u32 {
    let inside = |k: &u32| {
        let smmu = SMMUS[*k as usize];
        smmu.base <= addr && addr < smmu.base + smmu.size
    };
    (0..SMMU_COUNT).rev().find(inside).unwrap_or(INVALID)
}

/// Spec: IA-2 (high).
pub fn handle_host_mmio(d: &mut RData, addr: u64, index: u32, hsr: u32) -> Spec {
    rely(is_addr(addr) && is_smmu(index))?;
    if d.halt {
        return Some(());
    }
    rely(is_addr(addr | d.regs.get("far_el2") & 0xFFF))?;
    d.rely_held(lock_id::SMMU)?;
    low::handle_host_mmio(d, addr, index, hsr)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{INVALID, RData, Spec, is_addr, is_smmu, rely};
    use crate::abstract_machine::{
        get_smmu_base, get_smmu_num, get_smmu_size, host_dabt_get_as, host_dabt_is_write, host_get_fault_ipa,
        host_skip_instr,
    };
    use crate::mmio_core::{handle_smmu_read, handle_smmu_write};

    /// Spec: IA-1 (low).
    pub fn is_smmu_range(d: &mut RData, addr: u64) -> Spec<u32> {
        rely(is_addr(addr))?;
        let count = get_smmu_num(d)?;
        rely(is_smmu(count))?;
        let mut found = INVALID;
        for k in 0..count {
            let base = get_smmu_base(d, k)?;
            let size = get_smmu_size(d, k)?;
            if base <= addr && addr < base + size {
                found = k;
            }
        }
        Some(found)
    }

    /// Spec: IA-2 (low).
    pub fn handle_host_mmio(d: &mut RData, addr: u64, index: u32, hsr: u32) -> Spec {
        rely(is_addr(addr) && is_smmu(index))?;
        let fault_ipa = host_get_fault_ipa(d, addr)?;
        let len = host_dabt_get_as(d, hsr)?;
        if host_dabt_is_write(d, hsr)? == 0 {
            handle_smmu_read(d, hsr, fault_ipa, len)?;
        } else {
            handle_smmu_write(d, hsr, fault_ipa, len, index)?;
        }
        host_skip_instr(d)
    }
}
