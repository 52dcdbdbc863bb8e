// SPDX-License-Identifier: GPL-2.0-only
//! Layers VCPUOpsAux and VCPUOps, and shadow contexts.

use super::args::Args;
use super::{Did, Library, Row, done, number};
use crate::constants::{HOSTVISOR, VCPU_PER_VM};
use crate::library::{contexts, world};
use crate::oracle;
use corevisor::abi::run_page;
use corevisor::addr::{VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::vcpu::{Auxiliary, ShadowContext};
use corevisor::vm::Power;
use std::collections::BTreeMap;

impl Library {
    /// What the host claims in the run page of any vCPU of `v`: what the specification's streams give. The core stream
    /// has the fault's address before the page for it, unless `fault` is known already.
    fn claims(&self, v: Vmid, fault: bool) -> BTreeMap<u64, u64> {
        let (d, vmid) = (&self.before, v.index() as u32);
        let data = |n: u64| d.env.doracle(vmid, d.data_pos(vmid) + n);
        let position = d.core_data_log.get(&vmid).copied().unwrap_or(0);
        let core = |n: u64| d.env.core_doracle(vmid, position + n);
        let skip = u64::from(!fault);
        let general = (0..31).map(|i| (run_page::X + i * 8, data(0)));
        let others = [
            (run_page::PC, data(0)),
            (run_page::PSTATE, data(1)),
            (run_page::FLAGS, 0),
            (run_page::FAULT_ADDR, core(0)),
            (run_page::NEW_PAGE, core(skip)),
            (run_page::NEW_LEVEL, core(skip + 1)),
        ];
        general.chain(others).collect()
    }

    /// Makes the claims those of `v`, and gives the vCPU a run page if it has none: in the specification there is always
    /// somebody to ask.
    fn ask(&self, v: Vmid, vcpu: VcpuId, fault: bool) {
        *self.shared.lock().expect("nobody panicked") = self.claims(v, fault);
        let mut nothing = Held::nothing();
        let (mut vm, _) = self.core.acquire_lock_vm(v, &mut nothing);
        vm.vcpu_mut(vcpu).run_page.get_or_insert(world::run_page(v, vcpu));
    }

    /// One function of VCPUOpsAux.
    fn auxiliary(&self, function: Auxiliary, args: &Args) -> Row {
        let (v, vcpu) = (args.v(0)?, args.vcpu(1)?);
        v.is_vm().then_some(())?;
        self.table(v);
        self.ask(v, vcpu, matches!(function, Auxiliary::Fault(_)));
        let result = self.core.auxiliary(function, v, vcpu);
        done(result)
    }

    /// The current vCPU of a VM, as the specification has it.
    fn current(&self) -> Option<(Vmid, VcpuId)> {
        let v = Vmid::new_vm(self.before.cur_vmid.into())?;
        Some((v, VcpuId::new(self.before.cur_vcpuid.into())?))
    }

    /// Makes the library's contexts of VMs those of `d`.
    pub fn copy_contexts(&self, d: &crate::RData) {
        for (&id, model) in &d.shadow_ctxts {
            let (v, c) = (Vmid::new_vm((id / VCPU_PER_VM).into()), VcpuId::new((id % VCPU_PER_VM).into()));
            if let (Some(v), Some(c)) = (v, c)
                && let Ok((mut context, _)) = self.core.context(v, c, &mut Held::nothing())
            {
                contexts::assign(&mut context, model);
            }
        }
    }

    /// Where an exception's handler is, is a parameter of the vectors, and the architecture's business in the library.
    pub fn settle_vectors(&self, d: &crate::RData) {
        for (&id, model) in &d.shadow_ctxts {
            let before = self.before.shadow_ctxts.get(&id).map_or(0, |context| context.get("pstate"));
            let (v, c) = (Vmid::new_vm((id / VCPU_PER_VM).into()), VcpuId::new((id % VCPU_PER_VM).into()));
            let handler = oracle::exception_vector(before);
            if let (Some(v), Some(c)) = (v, c)
                && model.get("pc") == handler
                && let Ok((mut context, _)) = self.core.context(v, c, &mut Held::nothing())
            {
                context.pc = handler;
            }
        }
    }
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    let mut nothing = Held::nothing();
    match name {
        // Single words of the run page, tokens, and the CPU's registers, which a world switch moves.
        "get_sys_reg_desc_val"
        | "get_exception_vector"
        | "get_int_esr"
        | "get_int_gpr"
        | "get_int_pc"
        | "get_int_pstate"
        | "set_int_gpr"
        | "get_vm_fault_addr"
        | "get_int_new_pte"
        | "get_int_new_level"
        | "get_int_run_vcpuid"
        | "encrypt_gp_regs"
        | "encrypt_sys_regs"
        | "host_to_core"
        | "core_to_host"
        | "core_to_vm"
        | "restore_sysregs"
        | "fpsimd_restore_state"
        | "activate_traps"
        | "deactivate_traps"
        | "timer_enable_traps"
        | "core_handle_sys64"
        | "timer_set_cntvoff"
        | "vm_el2_restore_state"
        | "host_el2_restore_state"
        | "read_actlr_el1"
        | "get_cur_vmid"
        | "get_cur_vcpuid"
        | "set_per_cpu"
        | "save_host"
        | "restore_host" => Some(Did::Nothing),
        "get_shadow_ctxt" | "get_shadow_esr" | "get_shadow_dirty_bit" => {
            if args.number(0)? == u64::from(HOSTVISOR) {
                return Some(Did::Nothing);
            }
            let (v, vcpu) = (args.v(0)?, args.vcpu(1)?);
            let (context, _) = s.core.context(v, vcpu, &mut nothing).ok()?;
            number(match name {
                "get_shadow_ctxt" => context.get_shadow_ctxt(args.number(2)?.try_into().ok()?),
                "get_shadow_esr" => context.esr_el2,
                _ => context.dirty,
            })
        }
        "set_shadow_ctxt" | "set_shadow_dirty_bit" | "clear_shadow_gp_regs" | "reset_fp_regs" => {
            if args.number(0)? == u64::from(HOSTVISOR) {
                return Some(Did::Nothing);
            }
            let (v, vcpu) = (args.v(0)?, args.vcpu(1)?);
            let (mut context, _) = s.core.context(v, vcpu, &mut nothing).ok()?;
            match name {
                "set_shadow_ctxt" => {
                    context.set_shadow_ctxt(args.number(2)?.try_into().ok()?, args.number(3)?);
                }
                "set_shadow_dirty_bit" => context.dirty = args.number(2)?,
                "clear_shadow_gp_regs" => context.x = [0; 31],
                _ => context.fp = ShadowContext::ZERO.fp,
            }
            done(Ok(()))
        }
        // What the CPU has, and what a saved state says, goes to a context by the hand of the specification.
        "vm_to_core"
        | "exit_populate_fault"
        | "save_sysregs"
        | "fpsimd_save_state"
        | "decrypt_gp_regs"
        | "decrypt_sys_regs" => Some(Did::Copied),
        "reset_gp_regs" => s.auxiliary(Auxiliary::ResetGp, args),
        "reset_sys_regs" => s.auxiliary(Auxiliary::ResetSys, args),
        "sync_dirty_to_shadow" => s.auxiliary(Auxiliary::Sync, args),
        "prep_wfx" => s.auxiliary(Auxiliary::Wfx, args),
        "prep_hvc" => s.auxiliary(Auxiliary::Hvc, args),
        "prep_abort" => s.auxiliary(Auxiliary::Abort, args),
        "update_exception_gp_regs" => s.auxiliary(Auxiliary::Exception, args),
        "post_handle_shadow_s2pt_fault" => s.auxiliary(Auxiliary::Fault(args.ipa(2)?), args),
        "save_shadow_kvm_regs" | "restore_shadow_kvm_regs" => {
            let (v, vcpu) = s.current()?;
            s.table(v);
            s.ask(v, vcpu, false);
            let (context, mut held) = s.core.context(v, vcpu, &mut nothing).ok()?;
            // A setter of the specification's can make a vCPU one that has run (D-111).
            if context.dirty != ShadowContext::NEVER_RUN {
                s.core.acquire_lock_vm(v, &mut held).0.vcpu_mut(vcpu).power = Power::On;
            }
            drop((context, held));
            let function = if name == "save_shadow_kvm_regs" { Auxiliary::Save } else { Auxiliary::Restore };
            done(s.core.auxiliary(function, v, vcpu))
        }
        _ => Some(Did::Unknown),
    }
}
