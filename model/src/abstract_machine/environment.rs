// SPDX-License-Identifier: GPL-2.0-only
//! Control and environment.

use crate::constants::{is_addr, is_pfn, is_reg, is_vcpu, is_vmid};
use crate::rdata::{RData, lock_id};
use crate::{Spec, oracle, rely};

/// Spec: AM-13.
pub fn check(d: &mut RData, n: u32) -> Spec<u32> {
    Some(if d.halt { 0 } else { n })
}

/// Spec: AM-14.
pub fn check64(d: &mut RData, n: u64) -> Spec<u64> {
    Some(if d.halt { 0 } else { n })
}

/// Spec: AM-15.
pub fn fetch_from_doracle(d: &mut RData, vmid: u32, pfn: u64, pgnum: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_vmid(vmid) && is_pfn(pfn) && is_pfn(pgnum))?;
    rely(pgnum == 0 || is_pfn(pfn + pgnum - 1))?;
    for page in pfn..pfn + pgnum {
        let value = d.draw(vmid);
        if value == 0 {
            d.flatmem.remove(&page);
        } else {
            d.flatmem.insert(page, value);
        }
    }
    d.log(lock_id::FLATMEM, crate::history::Event::Shared);
    Some(())
}

/// Spec: AM-16.
pub fn panic(d: &mut RData) -> Spec {
    d.halt = true;
    Some(())
}

/// Spec: AM-17.
pub fn get_shared_kvm(d: &mut RData, vmid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid))?;
    Some(oracle::shared_kvm(vmid))
}

/// Spec: AM-18.
pub fn get_shared_vcpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    Some(oracle::shared_vcpu(vmid, vcpuid))
}

/// Spec: AM-19.
pub fn verify_image(d: &mut RData, vmid: u32, addr: u64) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid) && is_addr(addr))?;
    Some(d.env.verify_img(vmid, addr))
}

/// Spec: AM-20.
pub fn get_sys_reg_desc_val(d: &mut RData, index: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_reg(index))?;
    Some(oracle::reg_desc(index))
}

/// Spec: AM-21.
pub fn get_exception_vector(_d: &mut RData, pstate: u64) -> Spec<u64> {
    Some(oracle::exception_vector(pstate))
}
