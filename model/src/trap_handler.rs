// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapHandler: the top interface. No vectors exist for it; it is written from the text alone.
//!
//! The handlers are the raw ones between the guards and the mode flags. TH-1 differs from TR-1 in range tests that the
//! text itself calls typos (D-51), and in calls 26 to 29 (D-28), which are dispatched here.

use crate::abstract_machine::{core_to_host, get_shadow_ctxt, host_to_core, panic};
use crate::boot_ops::{load_decrypt_buf, load_encrypted_vcpu, save_encrypt_buf, save_encrypted_vcpu};
use crate::constants::state::VERIFIED;
use crate::constants::{HOSTVISOR, INVALID, hvc, is_paddr, is_smmu, is_smmu_cfg, is_vcpu, is_vm, smmu_id, smmu_ttbr};
use crate::rdata::RData;
use crate::registers::GP;
use crate::trap_handler_raw::{
    host_hvc_handler_raw, host_npt_handler_raw, host_vcpu_run_handler_raw, vm_exit_handler_raw,
};
use crate::{Spec, rely};

/// Runs `body` inside KCore, entered from the host.
fn from_host(d: &mut RData, body: impl FnOnce(&mut RData) -> Spec) -> Spec {
    rely(d.ihost && !d.icore)?;
    if d.halt {
        return Some(());
    }
    d.icore = true;
    body(d)?;
    d.icore = false;
    Some(())
}

/// Spec: TH-1.
pub fn host_hvc_handler(d: &mut RData) -> Spec {
    from_host(d, |d| match d.regs.get("x0") {
        hvc::ENCRYPT_BUF..=hvc::LOAD_CRYPT_VCPU => encrypted_call(d),
        _ => host_hvc_handler_raw(d),
    })
}

/// Calls 26 to 29.
fn encrypted_call(d: &mut RData) -> Spec {
    host_to_core(d)?;
    let mut x = [0; 4];
    for (i, x) in (0..).zip(&mut x) {
        *x = get_shadow_ctxt(d, d.cur_vmid, d.cur_vcpuid, i)?;
    }
    let small = |x: u64| u32::try_from(x).unwrap_or(INVALID);
    let [call, vmid, a, b] = x;
    let (vmid, vcpuid) = (small(vmid), small(a));
    match call {
        hvc::ENCRYPT_BUF if is_vm(vmid) && is_paddr(a) && is_paddr(b) => save_encrypt_buf(d, vmid, a, b)?,
        hvc::DECRYPT_BUF if is_vm(vmid) && is_paddr(a) => load_decrypt_buf(d, vmid, a)?,
        hvc::SAVE_CRYPT_VCPU if is_vm(vmid) && is_vcpu(vcpuid) => save_encrypted_vcpu(d, vmid, vcpuid)?,
        hvc::LOAD_CRYPT_VCPU if is_vm(vmid) && is_vcpu(vcpuid) => load_encrypted_vcpu(d, vmid, vcpuid)?,
        _ => panic(d)?,
    }
    core_to_host(d)
}

/// Spec: TH-2.
pub fn host_npt_handler(d: &mut RData) -> Spec {
    from_host(d, host_npt_handler_raw)
}

/// Spec: TH-3.
pub fn host_vcpu_run_handler(d: &mut RData) -> Spec {
    from_host(d, |d| {
        host_vcpu_run_handler_raw(d)?;
        if !d.halt {
            d.ihost = false;
        }
        Some(())
    })
}

/// Spec: TH-4.
pub fn vm_exit_handler(d: &mut RData) -> Spec {
    rely(!d.ihost && !d.icore)?;
    if d.halt {
        return Some(());
    }
    d.icore = true;
    vm_exit_handler_raw(d)?;
    d.icore = false;
    if !d.halt && d.cur_vmid == HOSTVISOR {
        d.ihost = true;
    }
    Some(())
}

/// Whether principal `vmid` sees the true contents of page `pfn`; else what it sees is undetermined, and what it writes
/// goes nowhere.
fn sees(d: &mut RData, vmid: u32, pfn: u64) -> Spec<bool> {
    rely(pfn != 0)?;
    let page = d.s2page.get(pfn);
    if vmid == HOSTVISOR {
        return Some(page.owner == HOSTVISOR);
    }
    rely(d.vm(vmid).vm_state == VERIFIED && page.owner != INVALID)?;
    Some(page.count == 0)
}

/// The current principal reads page `pfn`.
fn load(d: &mut RData, pfn: u64, reg: u32) -> Spec {
    rely(reg < 30 && !d.icore)?;
    let vmid = d.cur_vmid;
    let value = if sees(d, vmid, pfn)? { d.flatmem.get(&pfn).copied().unwrap_or(0) } else { d.draw(vmid) };
    d.regs.set(GP[reg as usize], value);
    Some(())
}

/// The current principal writes page `pfn`.
fn store(d: &mut RData, pfn: u64, reg: u32) -> Spec {
    rely(reg < 30 && !d.icore)?;
    if sees(d, d.cur_vmid, pfn)? {
        let value = d.regs.get(GP[reg as usize]);
        d.set_page(pfn, value);
    }
    Some(())
}

/// Page behind guest page `gfn` of the current principal.
fn translate(d: &mut RData, gfn: u64) -> u64 {
    let vmid = d.cur_vmid;
    d.npt(vmid).get(gfn).pfn
}

/// Page behind io page `gfn` of a bank of the current principal.
fn translate_dev(d: &RData, gfn: u64, cbndx: u32, index: u32) -> Spec<u64> {
    rely(is_smmu(index) && is_smmu_cfg(cbndx))?;
    rely(d.smmu_owner(smmu_id(index, cbndx)) == d.cur_vmid)?;
    Some(d.spts.get(smmu_ttbr(index, cbndx), gfn).pfn)
}

/// Spec: TH-5.
pub fn mem_load(d: &mut RData, gfn: u64, reg: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    let pfn = translate(d, gfn);
    load(d, pfn, reg)
}

/// Spec: TH-6.
pub fn mem_store(d: &mut RData, gfn: u64, reg: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    let pfn = translate(d, gfn);
    store(d, pfn, reg)
}

/// Spec: TH-7.
pub fn dev_load(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    let pfn = translate_dev(d, gfn, cbndx, index)?;
    load(d, pfn, reg)
}

/// Spec: TH-8.
pub fn dev_store(d: &mut RData, gfn: u64, reg: u32, cbndx: u32, index: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    let pfn = translate_dev(d, gfn, cbndx, index)?;
    store(d, pfn, reg)
}
