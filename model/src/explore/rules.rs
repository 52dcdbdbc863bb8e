// SPDX-License-Identifier: GPL-2.0-only
//! What an action does, to the letter.

use super::action::{Action, Offer};
use crate::constants::{INVALID64, ctxt_id};
use crate::mem_manager::map_page_host;
use crate::mmio_ops::{smmu_assign_page, smmu_map_page};
use crate::rdata::RData;
use crate::registers::GP;
use crate::trap_handler::{
    dev_load, dev_store, host_hvc_handler, host_npt_handler, host_vcpu_run_handler, mem_load, mem_store,
    vm_exit_handler,
};
use crate::{Spec, rely};

/// A machine's rules.
pub trait Rules {
    /// Takes a step: nothing where the specification is undefined, a halt where it refuses. [`Action::Switch`] is not a
    /// step of one CPU, and so never comes here.
    fn step(&self, d: &mut RData, action: &Action) -> Spec;
}

/// The model itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Literal;

impl Rules for Literal {
    fn step(&self, d: &mut RData, action: &Action) -> Spec {
        match *action {
            Action::Call { x } => {
                rely_host(d)?;
                set_gp(d, &x);
                host_hvc_handler(d)
            }
            Action::Fault { hpfar, far, esr, data } => {
                rely_host(d)?;
                set_fault(d, hpfar, far, esr, data);
                host_npt_handler(d)
            }
            Action::Touch { addr } => {
                rely_host(d)?;
                map_page_host(d, addr)
            }
            Action::Assign { bank, pfn, gfn } => {
                rely_host(d)?;
                smmu_assign_page(d, bank.cbndx, bank.index, pfn, gfn)
            }
            Action::Map { bank, iova, pte } => {
                rely_host(d)?;
                smmu_map_page(d, bank.cbndx, bank.index, iova, pte)
            }
            Action::Run { vmid, vcpuid, pc, offer } => {
                rely_host(d)?;
                prepare_run(d, vmid, vcpuid, pc, offer);
                host_vcpu_run_handler(d)
            }
            Action::Exit { ec, esr, hpfar, x } => {
                rely(!d.ihost && !d.icore)?;
                prepare_exit(d, ec, esr, hpfar, &x);
                vm_exit_handler(d)
            }
            Action::Load { gfn, reg } => mem_load(d, gfn, reg),
            Action::Store { gfn, reg } => mem_store(d, gfn, reg),
            Action::DevLoad { bank, gfn, reg } => dev_load(d, gfn, reg, bank.cbndx, bank.index),
            Action::DevStore { bank, gfn, reg } => dev_store(d, gfn, reg, bank.cbndx, bank.index),
            Action::Unseal { .. } | Action::Switch => None,
        }
    }
}

/// Relies on the host running.
pub(super) fn rely_host(d: &RData) -> Spec {
    rely(d.ihost && !d.icore)
}

/// Sets the CPU's first general registers.
pub(super) fn set_gp(d: &mut RData, values: &[u64]) {
    GP.into_iter().zip(values).for_each(|(reg, value)| d.regs.set(reg, *value));
}

/// Sets the fault registers, and the register that the syndrome names.
pub(super) fn set_fault(d: &mut RData, hpfar: u64, far: u64, esr: u64, data: u64) {
    d.regs.set("hpfar_el2", hpfar);
    d.regs.set("far_el2", far);
    d.regs.set("esr_el2", esr);
    if let Some(reg) = GP.get((esr >> 16 & 31) as usize) {
        d.regs.set(reg, data);
    }
}

/// Whether a vCPU never ran.
pub(super) fn never_run(d: &RData, vmid: u64, vcpuid: u64) -> bool {
    let id = |n: u64| u32::try_from(n).ok().filter(|n| *n < 32);
    let (Some(vmid), Some(vcpuid)) = (id(vmid), id(vcpuid)) else { return false };
    d.shadow_ctxts.get(&ctxt_id(vmid, vcpuid)).is_some_and(|ctxt| ctxt.get("dirty") == INVALID64)
}

/// Puts into registers and streams what the host says to run a vCPU: which, where a new one starts, what to map.
pub(super) fn prepare_run(d: &mut RData, vmid: u64, vcpuid: u64, pc: u64, offer: Option<Offer>) {
    d.regs.set("x0", vmid);
    let Ok(stream) = u32::try_from(vmid) else { return };
    if never_run(d, vmid, vcpuid) {
        let pos = d.data_pos(stream);
        d.env.set_doracle(stream, pos, pc);
    }
    let pos = d.core_data_log.get(&stream).copied().unwrap_or(0);
    let Offer { addr, pte, level } = offer.unwrap_or(Offer { addr: 0, pte: 0, level: 0 });
    for (n, value) in (pos..).zip([vcpuid, addr, pte, level]) {
        d.env.set_core_doracle(stream, n, value);
    }
}

/// Puts what a VM's exit leaves into the registers.
pub(super) fn prepare_exit(d: &mut RData, ec: u64, esr: u64, hpfar: u64, x: &[u64]) {
    set_gp(d, x);
    d.regs.set("ec", ec);
    d.regs.set("esr_el2", esr);
    d.regs.set("hpfar_el2", hpfar);
}
