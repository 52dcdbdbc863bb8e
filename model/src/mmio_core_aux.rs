// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioCoreAux: which SMMU registers the host may write.

use crate::abstract_machine::{readl_relaxed, readq_relaxed};
use crate::constants::{
    CB_CONTEXTIDR, CB_SCTLR, CB_TCR, CB_TTBR0, CBAR_TYPE_SHIFT, CBAR_VMID_MASK, GR0_SCR0, GR0_SCR2, GR1_BASE, GR1_END,
    HOSTVISOR, S2CR_BASE, SCR0_SMCFCFG_SHIFT, SMMU_GLOBAL_BASE, is_smmu, is_smmu_cfg, is_vcpu, is_vmid, smmu_id,
};
use crate::mmio_raw::host_get_mmio_data;
use crate::rdata::{RData, lock_id};
use crate::registers::by_index;
use crate::{Spec, rely};

/// Spec: IX-1 (high).
pub fn handle_smmu_global_access(d: &mut RData, hsr: u32, offset: u64, smmu_index: u32) -> Spec<u32> {
    rely(is_smmu(smmu_index))?;
    if d.halt {
        return Some(0);
    }
    d.rely_held(lock_id::SMMU)?;
    let data = host_get_mmio_data(d, hsr)?;
    match offset {
        GR1_BASE => d.tag(57),
        S2CR_BASE..GR1_BASE => d.tag(59),
        _ => {}
    }
    let Some(allowed) = global_access(data, offset, |bank| Some(d.smmu_owner(smmu_id(smmu_index, bank)))) else {
        d.tag(60);
        return None;
    };
    Some(allowed.into())
}

/// Whether `data` may be written to global register `offset`. `owner` is asked for the owner of a bank.
fn global_access(data: u64, offset: u64, owner: impl FnOnce(u32) -> Spec<u32>) -> Spec<bool> {
    Some(if offset == GR0_SCR0 {
        data >> SCR0_SMCFCFG_SHIFT & 1 == 1
    } else if offset == GR0_SCR2 {
        data & CBAR_VMID_MASK == 0
    } else if offset <= GR1_BASE || offset >= GR1_END {
        // D-57: 0x1000, bank 0's CBAR, is let through here.
        true
    } else {
        let bank = u32::try_from((offset - GR1_BASE) / 4).ok()?;
        rely(is_smmu_cfg(bank))?;
        let vmid = owner(bank)?;
        rely(is_vmid(vmid))?;
        vmid == HOSTVISOR || (data >> CBAR_TYPE_SHIFT == 0 && data & CBAR_VMID_MASK == u64::from(vmid))
    })
}

/// Spec: IX-2 (high).
pub fn handle_smmu_cb_access(d: &mut RData, offset: u64) -> Spec<u32> {
    rely(offset >= SMMU_GLOBAL_BASE)?;
    if d.halt {
        return Some(0);
    }
    // D-59: every other register of a bank is the host's.
    let register = (offset - SMMU_GLOBAL_BASE) & 0xFFF;
    if [CB_SCTLR, CB_TTBR0 + 4, CB_TCR].contains(&register) {
        d.tag(59);
    }
    Some(match register {
        CB_TTBR0 => 2,
        CB_CONTEXTIDR => 0,
        _ => 1,
    })
}

/// Spec: IX-3 (high). The model has no devices: a write of 4 or 8 bytes leaves no trace (D-58), any other halts (D-67).
pub fn __handle_smmu_write(d: &mut RData, _hsr: u32, _fault_ipa: u64, len: u32, _val: u64, _write_val: u32) -> Spec {
    rely(is_vcpu(d.cur_vcpuid))?;
    match len {
        8 => {}
        4 => d.tag(58),
        _ => d.halt = true,
    }
    Some(())
}

/// Spec: IX-4 (high).
pub fn __handle_smmu_read(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32) -> Spec {
    rely(is_vcpu(d.cur_vcpuid))?;
    if d.halt {
        return Some(());
    }
    let value = match len {
        8 => readq_relaxed(d, fault_ipa)?,
        4 => readl_relaxed(d, fault_ipa)?,
        _ => {
            d.halt = true;
            return Some(());
        }
    };
    let vcpuid = d.cur_vcpuid;
    if let Some(reg) = by_index(hsr >> 16 & 31) {
        d.ctxt(HOSTVISOR, vcpuid).set(reg, value);
    }
    Some(())
}

/// The same as calls into the layer below.
pub mod low {
    use super::{HOSTVISOR, RData, Spec, global_access, host_get_mmio_data};
    use crate::abstract_machine::{
        check, get_cur_vcpuid, get_smmu_cfg_vmid, host_dabt_get_rd, panic, readl_relaxed, readq_relaxed,
        set_shadow_ctxt, writel_relaxed, writeq_relaxed,
    };

    pub use super::handle_smmu_cb_access;

    /// Spec: IX-1 (low).
    pub fn handle_smmu_global_access(d: &mut RData, hsr: u32, offset: u64, smmu_index: u32) -> Spec<u32> {
        let data = host_get_mmio_data(d, hsr)?;
        let allowed = global_access(data, offset, |bank| get_smmu_cfg_vmid(d, bank, smmu_index))?;
        check(d, allowed.into())
    }

    /// Spec: IX-3 (low).
    pub fn __handle_smmu_write(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32, val: u64, write_val: u32) -> Spec {
        match len {
            8 if write_val == 0 => {
                let data = host_get_mmio_data(d, hsr)?;
                writeq_relaxed(d, data, fault_ipa)
            }
            8 => writeq_relaxed(d, val, fault_ipa),
            // D-58: not the host's data.
            4 => writel_relaxed(d, val, fault_ipa),
            _ => panic(d),
        }
    }

    /// Spec: IX-4 (low).
    pub fn __handle_smmu_read(d: &mut RData, hsr: u32, fault_ipa: u64, len: u32) -> Spec {
        let rt = host_dabt_get_rd(d, hsr)?;
        let vcpuid = get_cur_vcpuid(d)?;
        let value = match len {
            8 => readq_relaxed(d, fault_ipa)?,
            4 => readl_relaxed(d, fault_ipa)?,
            _ => return panic(d),
        };
        set_shadow_ctxt(d, HOSTVISOR, vcpuid, rt, value)
    }
}
