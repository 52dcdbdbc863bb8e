// SPDX-License-Identifier: GPL-2.0-only
//! Shadow contexts, and the data that host and KCore share about a vCPU.

use crate::constants::{COREVISOR, HOSTVISOR, is_pfn, is_vcpu, is_vmid};
use crate::rdata::RData;
use crate::registers::{FP, GP, by_index};
use crate::{Spec, rely};

/// Relies on a principal's vCPU.
fn rely_ctxt(vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vmid(vmid) && is_vcpu(vcpuid))
}

/// Spec: AM-75. D-44: some registers have no index and read 0.
pub fn get_shadow_ctxt(d: &mut RData, vmid: u32, vcpuid: u32, index: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely_ctxt(vmid, vcpuid)?;
    Some(by_index(index).map_or(0, |reg| d.ctxt(vmid, vcpuid).get(reg)))
}

/// Spec: AM-76. D-44: some registers have no index and keep what they have.
pub fn set_shadow_ctxt(d: &mut RData, vmid: u32, vcpuid: u32, index: u32, value: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    if let Some(reg) = by_index(index) {
        d.ctxt(vmid, vcpuid).set(reg, value);
        let (one, other) = (d.ctxt(vmid, vcpuid).get("spsr_el1"), d.ctxt(vmid, vcpuid).get("spsr_0"));
        if matches!(reg, "spsr_el1" | "spsr_0") && one != other {
            d.tag(94);
        }
    }
    Some(())
}

/// Spec: AM-77.
pub fn get_shadow_esr(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely_ctxt(vmid, vcpuid)?;
    Some(d.ctxt(vmid, vcpuid).get("esr_el2"))
}

/// The next value of the data stream, on behalf of a vCPU.
fn draw(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely_ctxt(vmid, vcpuid)?;
    Some(d.draw(vmid))
}

/// Spec: AM-78. D-32: untrusted.
pub fn get_int_esr(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw(d, vmid, vcpuid)
}

/// Spec: AM-79.
pub fn get_int_gpr(d: &mut RData, vmid: u32, vcpuid: u32, _index: u32) -> Spec<u64> {
    draw(d, vmid, vcpuid)
}

/// Spec: AM-80.
pub fn get_int_pc(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw(d, vmid, vcpuid)
}

/// Spec: AM-81. D-38: any value.
pub fn get_int_pstate(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw(d, vmid, vcpuid)
}

/// Spec: AM-82. No state of the model; the one way in which the host gets to see a VM's register.
pub fn set_int_gpr(_d: &mut RData, _vmid: u32, _vcpuid: u32, _index: u32, _value: u64) -> Spec {
    Some(())
}

/// Spec: AM-83.
pub fn clear_shadow_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    let ctxt = d.ctxt(vmid, vcpuid);
    GP.into_iter().for_each(|reg| ctxt.set(reg, 0));
    Some(())
}

/// Spec: AM-84.
pub fn reset_fp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    let ctxt = d.ctxt(vmid, vcpuid);
    FP.into_iter().for_each(|reg| ctxt.set(reg, 0));
    Some(())
}

/// Spec: AM-85.
pub fn get_shadow_dirty_bit(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely_ctxt(vmid, vcpuid)?;
    Some(d.ctxt(vmid, vcpuid).get("dirty"))
}

/// Spec: AM-86. D-31: assigns.
pub fn set_shadow_dirty_bit(d: &mut RData, vmid: u32, vcpuid: u32, value: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    d.ctxt(vmid, vcpuid).set("dirty", value);
    Some(())
}

/// The next value of the core stream, on behalf of a vCPU.
fn draw_core(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely_ctxt(vmid, vcpuid)?;
    Some(d.draw_core(vmid))
}

/// Spec: AM-87. D-37: untrusted.
pub fn get_vm_fault_addr(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw_core(d, vmid, vcpuid)
}

/// Spec: AM-88.
pub fn get_int_new_pte(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw_core(d, vmid, vcpuid)
}

/// Spec: AM-89.
pub fn get_int_new_level(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec<u64> {
    draw_core(d, vmid, vcpuid)
}

/// Spec: AM-90.
pub fn get_cur_vmid(d: &mut RData) -> Spec<u32> {
    Some(if d.halt { 0 } else { d.cur_vmid })
}

/// Spec: AM-91.
pub fn get_cur_vcpuid(d: &mut RData) -> Spec<u32> {
    Some(if d.halt { 0 } else { d.cur_vcpuid })
}

/// Spec: AM-92.
pub fn clear_phys_page(d: &mut RData, pfn: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_pfn(pfn))?;
    d.set_page(pfn, 0);
    d.tstate = 1;
    Some(())
}

/// Spec: AM-93.
pub fn set_per_cpu(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    d.cur_vmid = vmid;
    d.cur_vcpuid = if vmid == HOSTVISOR || vmid == COREVISOR { d.curid } else { vcpuid };
    Some(())
}

/// Spec: AM-94. No state of the model.
pub fn encrypt_gp_regs(_d: &mut RData, _vmid: u32, _vcpuid: u32) -> Spec {
    Some(())
}

/// Spec: AM-95. No state of the model.
pub fn encrypt_sys_regs(_d: &mut RData, _vmid: u32, _vcpuid: u32) -> Spec {
    Some(())
}

/// Spec: AM-96. Which registers, and how many values are drawn, is a parameter of the vectors.
pub fn decrypt_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    for reg in ["x0", "x1", "pc"] {
        let value = d.draw(vmid);
        d.ctxt(vmid, vcpuid).set(reg, value);
    }
    Some(())
}

/// Spec: AM-97. As above.
pub fn decrypt_sys_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    if d.halt {
        return Some(());
    }
    rely_ctxt(vmid, vcpuid)?;
    for reg in ["sctlr_el1", "ttbr0_el1"] {
        let value = d.draw(vmid);
        d.ctxt(vmid, vcpuid).set(reg, value);
    }
    Some(())
}

/// Spec: AM-98.
pub fn get_int_run_vcpuid(d: &mut RData, vmid: u32) -> Spec<u64> {
    if d.halt {
        return Some(0);
    }
    rely(is_vmid(vmid))?;
    Some(d.draw_core(vmid))
}

/// Spec: AM-138. D-25: the addresses are page numbers here.
pub fn encrypt_mem_buf(d: &mut RData, _vmid: u32, inbuf: u64, outbuf: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_pfn(inbuf) && is_pfn(outbuf))?;
    let value = d.draw(HOSTVISOR);
    d.set_page(outbuf, value);
    d.tstate = 1;
    Some(())
}

/// Spec: AM-139. D-25: the address is a page number here.
pub fn decrypt_mem_buf(d: &mut RData, _vmid: u32, inbuf: u64) -> Spec {
    if d.halt {
        return Some(());
    }
    rely(is_pfn(inbuf))?;
    let value = d.draw(HOSTVISOR);
    d.set_page(inbuf, value);
    d.tstate = 1;
    Some(())
}
