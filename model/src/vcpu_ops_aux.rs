// SPDX-License-Identifier: GPL-2.0-only
//! Layer: VCPUOpsAux.

pub mod low;

use crate::boot_ops::search_load_info;
use crate::constants::model_only::PSCI_AFFINITY_INFO_64;
use crate::constants::{
    DIRTY_PC_FLAG, ESR_S1PTW, ESR_WNR, MAX_MMIO_ADDR, PAGE_SIZE, PSCI_AFFINITY_INFO, PSCI_CPU_ON, PSCI_SYSTEM_OFF,
    PSTATE_FAULT_BITS_64, is_gfn, is_vcpu, is_vm, is_vmid,
};
use crate::memory_ops::prot_and_map_vm_s2pt;
use crate::oracle;
use crate::rdata::RData;
use crate::registers::{FP, GP};
use crate::vm_power::set_vm_poweroff;
use crate::{Spec, rely};

/// Relies on a vCPU of a VM.
fn rely_vcpu(vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vm(vmid) && is_vcpu(vcpuid))
}

/// Spec: VA-1 (high). D-38: any PSTATE.
pub fn reset_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely(is_vmid(vmid) && is_vcpu(vcpuid))?;
    if d.halt {
        return Some(());
    }
    let pc = d.draw(vmid);
    if search_load_info(d, vmid, pc)? == 0 {
        d.halt = true;
        return Some(());
    }
    let pstate = d.draw(vmid);
    if pstate != PSTATE_FAULT_BITS_64 {
        d.tag(38);
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    GP.into_iter().chain(FP).for_each(|reg| ctxt.set(reg, 0));
    ctxt.set("pstate", pstate);
    ctxt.set("pc", pc);
    Some(())
}

/// Spec: VA-2 (high). D-29: the registers numbered 1 to 24 get the values, x1 to x24, and none of those that should.
pub fn reset_sys_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    d.tag(29);
    let ctxt = d.ctxt(vmid, vcpuid);
    (1..=24).for_each(|i: u32| ctxt.set(GP[i as usize], oracle::reg_desc(i)));
    Some(())
}

/// Spec: VA-3 (high). D-30: every dirty register gets the same value of the stream, which moves on by one for each.
pub fn sync_dirty_to_shadow(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    let dirty = d.ctxt(vmid, vcpuid).get("dirty");
    let value = d.env.doracle(vmid, d.data_pos(vmid));
    let synced: Vec<_> = GP.into_iter().enumerate().filter(|(i, _)| dirty >> i & 1 == 1).map(|(_, reg)| reg).collect();
    if synced.len() > 1 {
        d.tag(30);
    }
    synced.iter().for_each(|_| _ = d.draw(vmid));
    let ctxt = d.ctxt(vmid, vcpuid);
    synced.into_iter().for_each(|reg| ctxt.set(reg, value));
    Some(())
}

/// Spec: VA-4 (high).
pub fn prep_wfx(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if !d.halt {
        d.ctxt(vmid, vcpuid).set("dirty", DIRTY_PC_FLAG);
    }
    Some(())
}

/// Spec: VA-5 (high). D-33: every HVC makes x0 dirty.
pub fn prep_hvc(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    ctxt.set("dirty", 1);
    if psci_function(ctxt.get("x0")) == PsciFunction::SystemOff {
        set_vm_poweroff(d, vmid)?;
    }
    Some(())
}

/// The PSCI functions that the exit treats in a way of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PsciFunction {
    /// Shows the host x0 to x3.
    CpuOn,
    /// Shows the host x0 to x2. D-34: the 64-bit number is wrong.
    AffinityInfo,
    /// Switches the VM off.
    SystemOff,
    /// Shows the host x0.
    Other,
}

/// The function that x0 names.
pub(crate) fn psci_function(x0: u64) -> PsciFunction {
    match x0 & 0xFFFF_FFFF {
        PSCI_CPU_ON => PsciFunction::CpuOn,
        PSCI_AFFINITY_INFO | PSCI_AFFINITY_INFO_64 => PsciFunction::AffinityInfo,
        PSCI_SYSTEM_OFF => PsciFunction::SystemOff,
        _ => PsciFunction::Other,
    }
}

/// Spec: VA-6 (high). D-32: the syndrome is the host's word, read without moving on in the stream (D-30). D-31: after a
/// load only the register is dirty, not the PC.
pub fn prep_abort(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    let esr = d.env.doracle(vmid, d.data_pos(vmid));
    let ctxt = d.ctxt(vmid, vcpuid);
    let gfn = ctxt.get("hpfar_el2") / 16;
    rely(is_gfn(gfn))?;
    let ctxt = d.ctxt(vmid, vcpuid);
    if gfn * PAGE_SIZE >= MAX_MMIO_ADDR && matches!(ctxt.get("esr_el2") & 0x3F, 4..=7) {
        // The library notes that a page may be offered.
        d.tag(37);
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    if gfn * PAGE_SIZE < MAX_MMIO_ADDR {
        let read = esr & ESR_WNR == 0 && esr & ESR_S1PTW == 0;
        ctxt.set("dirty", if read { 1 << (esr >> 16 & 31) } else { DIRTY_PC_FLAG });
        d.tag(32);
        if read {
            d.tag(31);
        }
    }
    Some(())
}

/// Spec: VA-7 (high).
pub fn update_exception_gp_regs(d: &mut RData, vmid: u32, vcpuid: u32) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    let ctxt = d.ctxt(vmid, vcpuid);
    let pstate = ctxt.get("pstate");
    let other = pstate != ctxt.get("spsr_el1");
    // Condition flags, PAN and DIT stay, and ESR_EL1 tells the length of the instruction.
    let as_hardware = pstate & (0xF << 28 | 1 << 24 | 1 << 22) != 0 || ctxt.get("esr_el2") & 1 << 25 != 0;
    ctxt.set("elr_el1", ctxt.get("pc"));
    ctxt.set("pc", oracle::exception_vector(pstate));
    ctxt.set("spsr_0", pstate);
    ctxt.set("pstate", PSTATE_FAULT_BITS_64);
    ctxt.set("esr_el1", 0);
    if other {
        d.tag(94);
    }
    if as_hardware {
        d.tag(121);
    }
    Some(())
}

/// Spec: VA-8 (high).
pub fn post_handle_shadow_s2pt_fault(d: &mut RData, vmid: u32, vcpuid: u32, addr: u64) -> Spec {
    rely_vcpu(vmid, vcpuid)?;
    if d.halt {
        return Some(());
    }
    let pte = d.draw_core(vmid);
    let level = d.draw_core(vmid);
    prot_and_map_vm_s2pt(d, vmid, addr, pte, if level == 2 { 2 } else { 3 })
}
