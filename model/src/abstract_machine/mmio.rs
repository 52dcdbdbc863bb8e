// SPDX-License-Identifier: GPL-2.0-only
//! SMMU configuration, device registers and the machine's own registers.

use super::moves::skip;
use crate::constants::{HOSTVISOR, is_int, is_smmu, is_smmu_cfg, smmu_id};
use crate::rdata::{RData, SMMU_COUNT, SMMUS, SmmuConf, lock_id};
use crate::{Spec, rely};

/// Spec: AM-115.
pub fn get_smmu_cfg_vmid(d: &mut RData, cbndx: u32, index: u32) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    d.rely_held(lock_id::SMMU)?;
    Some(d.smmu_owner(smmu_id(index, cbndx)))
}

/// Spec: AM-116.
pub fn set_smmu_cfg_vmid(d: &mut RData, cbndx: u32, index: u32, vmid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    d.rely_held(lock_id::SMMU)?;
    d.smmu_vmid.insert(smmu_id(index, cbndx), vmid);
    Some(())
}

/// Configuration of SMMU `index`.
fn smmu(index: u32) -> Spec<SmmuConf> {
    rely(is_smmu(index))?;
    Some(SMMUS[index as usize])
}

/// Spec: AM-117.
pub fn get_smmu_num_context_banks(d: &mut RData, index: u32) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    Some(smmu(index)?.context_banks)
}

/// Spec: AM-118.
pub fn get_smmu_pgshift(d: &mut RData, index: u32) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    Some(smmu(index)?.pgshift)
}

/// Spec: AM-119.
pub fn get_smmu_num(d: &mut RData) -> Spec<u32> {
    Some(if d.halt { 0 } else { SMMU_COUNT })
}

/// Spec: AM-120.
pub fn get_smmu_size(d: &mut RData, index: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    Some(smmu(index)?.size)
}

/// Spec: AM-121.
pub fn get_smmu_base(d: &mut RData, index: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    Some(smmu(index)?.base)
}

/// Spec: AM-122.
pub fn host_dabt_get_rd(_d: &mut RData, hsr: u32) -> Spec<u32> {
    Some(hsr >> 16 & 31)
}

/// Spec: AM-123.
pub fn host_dabt_is_write(_d: &mut RData, hsr: u32) -> Spec<u32> {
    Some(hsr & 0x40)
}

/// Spec: AM-124.
pub fn host_dabt_get_as(_d: &mut RData, hsr: u32) -> Spec<u32> {
    Some(1 << ((hsr & 0xC0_0000) >> 22))
}

/// Spec: AM-125. No effect at this level.
pub fn mem_load_raw(_d: &mut RData, _gfn: u64, _reg: u32) -> Spec {
    Some(())
}

/// Spec: AM-126. No effect at this level.
pub fn mem_store_raw(_d: &mut RData, _gfn: u64, _reg: u32) -> Spec {
    Some(())
}

/// Spec: AM-127. No effect at this level.
pub fn dev_load_raw(_d: &mut RData, _gfn: u64, _reg: u32, _cbndx: u32, _index: u32) -> Spec {
    Some(())
}

/// Spec: AM-128. No effect at this level.
pub fn dev_store_raw(_d: &mut RData, _gfn: u64, _reg: u32, _cbndx: u32, _index: u32) -> Spec {
    Some(())
}

/// Spec: AM-129. No state of the model.
pub fn writel_relaxed(_d: &mut RData, _value: u64, _addr: u64) -> Spec {
    Some(())
}

/// Spec: AM-130. No state of the model.
pub fn writeq_relaxed(_d: &mut RData, _value: u64, _addr: u64) -> Spec {
    Some(())
}

/// Spec: AM-131.
pub fn readq_relaxed(d: &mut RData, _addr: u64) -> Spec<u64> {
    Some(if d.halt { 0 } else { d.draw(HOSTVISOR) })
}

/// Spec: AM-132.
pub fn readl_relaxed(d: &mut RData, _addr: u64) -> Spec<u64> {
    Some(if d.halt { 0 } else { d.draw(HOSTVISOR) & 0xFFFF_FFFF })
}

/// Spec: AM-133. D-41: the sum goes to ESR_EL2.
pub fn host_skip_instr(d: &mut RData) -> Spec {
    d.tag(41);
    if !d.halt {
        skip(&mut d.regs);
    }
    Some(())
}

/// Spec: AM-134.
pub fn host_get_fault_ipa(d: &mut RData, addr: u64) -> Spec<u64> {
    Some(if d.halt { 0 } else { addr | d.regs.get("far_el2") & 0xFFF })
}

/// Spec: AM-135.
pub fn read_actlr_el1(d: &mut RData) -> Spec<u64> {
    Some(if d.halt { 0 } else { d.draw(d.cur_vmid) })
}

/// Spec: AM-136.
pub fn read_hpfar_el2(d: &mut RData) -> Spec<u64> {
    Some(if d.halt { 0 } else { d.regs.get("hpfar_el2") })
}

/// Spec: AM-137.
pub fn read_esr_el2(d: &mut RData) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    let esr = d.regs.get("esr_el2");
    rely(is_int(esr))?;
    Some(esr as u32)
}
