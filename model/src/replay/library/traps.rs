// SPDX-License-Identifier: GPL-2.0-only
//! Layers CtxtSwitch to TrapHandler.

use super::args::Args;
use super::{Did, Library, Row, Value};
use crate::constants::hvc;
use crate::library::world;
use crate::registers::GP;
use corevisor::abi::HOST_CALL_BASE;
use corevisor::addr::{VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::refused::Refused;
use corevisor::trap::{Conduit, Registers};

/// Lowest of the errors that a call can return in x0.
const ERRORS: u64 = -64i64 as u64;

impl Library {
    /// A call of the host with these registers: repeated until nothing is left of it (G9).
    fn host_call(&self, mut regs: Registers) -> Row {
        let call = regs[0];
        if !(hvc::TIMER_SET_CNTVOFF..=hvc::LOAD_CRYPT_VCPU).contains(&call) {
            return Some(Did::Nothing); // no call of the specification's
        }
        for v in regs[1..3].iter().filter_map(|&v| Vmid::new_vm(v)) {
            self.table(v);
        }
        match call {
            // The offset is the host's business; here in halves.
            hvc::TIMER_SET_CNTVOFF => regs[1..3].iter_mut().for_each(|half| *half &= 0xFFFF_FFFF),
            hvc::REGISTER_KVM => self.unmake_table(),
            hvc::REGISTER_VCPU => {
                let vcpu = Vmid::new(regs[1]).zip(VcpuId::new(regs[2]));
                regs[3] = vcpu.map_or(0, |(v, vcpu)| world::run_page(v, vcpu).base().as_u64());
            }
            _ => {}
        }
        let mut nothing = Held::nothing();
        let mut calls = 0;
        Some(loop {
            let mut frame = regs;
            frame[0] = u64::from(HOST_CALL_BASE) + call;
            self.core.host_hvc_handler(Conduit::Hvc, 0, &mut frame, &mut nothing);
            let x0 = frame[0];
            if x0 >= ERRORS {
                let why = Refused::Unavailable;
                break if calls > 0 { Did::Partly(why) } else { Did::Ran(Err(why)) };
            }
            calls += 1;
            match call {
                hvc::CLEAR_VM_S2_RANGE if x0 > 0 => {
                    regs[2] += regs[3] - x0;
                    regs[3] = x0;
                }
                hvc::PHYS_ADDR_IOREMAP if x0 > 0 => {
                    regs[2] += regs[4] - x0;
                    regs[3] += regs[4] - x0;
                    regs[4] = x0;
                }
                hvc::VERIFY_VM_IMAGES if x0 > 0 => {}
                hvc::REGISTER_KVM | hvc::SMMU_LPAE_IOVA_TO_PHYS => break Did::Ran(Ok(Value::X0(x0))),
                _ => break Did::Ran(Ok(Value::None)),
            }
        })
    }
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    match name {
        "host_hvc_dispatcher" | "host_hvc_handler_raw" | "host_hvc_handler" => {
            let d = &s.before;
            let empty = Default::default();
            let context = d.shadow_ctxts.get(&d.curid).unwrap_or(&empty);
            let from = if name == "host_hvc_dispatcher" { context } else { &d.regs };
            if d.cur_vmid != 0 {
                return Some(Did::Nothing);
            }
            s.host_call(GP.map(|reg| from.get(reg)))
        }
        "host_npt_handler_raw" | "host_npt_handler" => super::smmu::call(s, "handle_host_stage2_fault", args),
        // The switch between worlds: what it does to the CPU is the machine's, and its order is tested there.
        "core_handle_pvops"
        | "vm_exit_dispatcher"
        | "save_vm"
        | "restore_vm"
        | "host_vcpu_run_handler_raw"
        | "vm_exit_handler_raw"
        | "host_vcpu_run_handler"
        | "vm_exit_handler"
        | "mem_load"
        | "mem_store"
        | "dev_load"
        | "dev_store" => Some(Did::Nothing),
        _ => Some(Did::Unknown),
    }
}
