// SPDX-License-Identifier: GPL-2.0-only
//! What a CPU does: the host's calls and faults, and what a VM does while it runs there.

use super::vms::{self, VMS};
use super::world::{self, Core};
use corevisor::abi::{HOST_CALL_BASE, host_call, run_page, vm_call};
use corevisor::addr::{HOSTVISOR, Ipa, PAGE_SIZE, PMD_SIZE, Pa, Pfn, VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::npt::{DescBits, Level};
use corevisor::trap::{Conduit, Exit, HostAction};
use corevisor::vcpu::Next;
use shuttle::rand::{Rng, thread_rng};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Guest pages that VMs use, and pages of RAM that they are fought for with.
pub const PAGES: u64 = 6;
/// What a driver asks for.
const DMA_ATTRIBUTES: u64 = DescBits::READ.bits() | DescBits::WRITE.bits() | DescBits::NORMAL_WB.bits();
/// Syndromes of an HVC and of a data abort by a missing page.
const ESR_HVC: u64 = 0x16 << 26;
const ESR_ABORT: u64 = 0x24 << 26 | 0b111;

/// What was asked for and done, over all orders: by name, how often it was refused, and how often not.
pub static TALLY: Mutex<BTreeMap<String, [u64; 2]>> = Mutex::new(BTreeMap::new());

fn tally(what: &str, done: bool) {
    TALLY.lock().unwrap().entry(what.to_string()).or_default()[usize::from(done)] += 1;
}

/// A CPU.
pub struct Actor<'a> {
    core: &'a Core,
    /// The registers of who runs.
    regs: [u64; 31],
    /// Who that is.
    running: Option<(Vmid, VcpuId)>,
}

fn below(bound: u64) -> u64 {
    thread_rng().gen_range(0..bound)
}

fn vm() -> Vmid {
    VMS[below(VMS.len() as u64) as usize]
}

/// A VM that exists, or may come to exist.
fn any_vm() -> u64 {
    if below(4) == 0 { vm().index() as u64 } else { 1 + below(2) }
}

/// One of few pages of RAM; seldom one of Corevisor's.
fn page() -> Pfn {
    let first = if below(16) == 0 { world::RAM.end - PMD_SIZE } else { vms::FREE };
    Pfn::new(first / PAGE_SIZE + below(PAGES)).unwrap()
}

/// One of few guest addresses.
fn guest() -> Ipa {
    Ipa::new(below(PAGES) * PAGE_SIZE).unwrap()
}

impl<'a> Actor<'a> {
    /// A CPU on which the host runs.
    pub fn new(core: &'a Core) -> Self {
        Self { core, regs: [0; 31], running: None }
    }

    /// Does something.
    pub fn step(&mut self) {
        match self.running {
            Some(_) => self.vm_step(),
            None => self.host_step(),
        }
    }

    /// The VM that runs here stops, if one does.
    pub fn leave(&mut self) {
        if self.running.is_some() {
            self.exit(Exit::Irq);
        }
    }

    fn host_step(&mut self) {
        let core = self.core;
        match below(12) {
            0..=3 => self.random_call(),
            4..=5 => self.call(host_call::VCPU_RUN, [vm().index() as u64, below(2), 0, 0, 0]),
            6 => {
                let done = core.prot_and_map_vm_s2pt(vm(), guest(), page().base(), Level::L3, &mut Held::nothing());
                tally("prot_and_map_vm_s2pt, page", done.is_ok());
            }
            7 => {
                let block = Pa::new(vms::BLOCK).unwrap();
                let at = Ipa::new(PMD_SIZE).unwrap();
                let done = core.prot_and_map_vm_s2pt(vm(), at, block, Level::L2, &mut Held::nothing());
                tally("prot_and_map_vm_s2pt, block", done.is_ok());
            }
            8 => {
                let done = core.map_page_host(Ipa::new(page().base().as_u64()).unwrap(), &mut Held::nothing());
                tally("map_page_host", done.is_ok());
            }
            9 => {
                // The host's own access: what it reaches is cached from now on.
                let _ = core.machine().access(HOSTVISOR, Ipa::new(page().base().as_u64()).unwrap());
            }
            10 if below(4) == 0 => core.set_vm_poweroff(vm(), &mut Held::nothing()),
            _ => {
                let (v, pfn) = (vm(), page());
                match below(2) {
                    0 => core.grant_vm_page(v, pfn, &mut Held::nothing()),
                    _ => _ = core.revoke_vm_page(v, pfn, &mut Held::nothing()),
                }
            }
        }
    }

    /// A call with arguments that mean something now and then.
    fn random_call(&mut self) {
        use host_call as n;
        let (v, page) = (any_vm(), page().base().as_u64());
        let (bank, smmu, iova) = (below(2), 0, below(PAGES) * PAGE_SIZE);
        let (call, args) = match below(15) {
            0 => (n::CLEAR_VM_S2_RANGE, [v, page, PAGE_SIZE * PAGES, 0, 0]),
            1 => (n::SET_BOOT_INFO, [v, guest().as_u64(), PAGE_SIZE, 0, 0]),
            2 => (n::REMAP_VM_IMAGE, [v, page / PAGE_SIZE, 0, 0, 0]),
            3 => (n::VERIFY_VM_IMAGE, [v, 0, 0, 0, 0]),
            4 => (n::SMMU_FREE_PGD, [bank, smmu, 0, 0, 0]),
            5 => (n::SMMU_ALLOC_PGD, [bank, if below(3) == 0 { 0 } else { v }, smmu, 0, 0]),
            6 => (n::SMMU_LPAE_MAP, [iova, page, DMA_ATTRIBUTES, bank, smmu]),
            7 => (n::SMMU_LPAE_IOVA_TO_PHYS, [iova, bank, smmu, 0, 0]),
            8 => (n::SMMU_CLEAR, [iova, bank, smmu, 0, 0]),
            9 => (n::PHYS_ADDR_IOREMAP, [v, PMD_SIZE * 4, 0x0900_0000, PAGE_SIZE, 0]),
            10 => (n::REGISTER_KVM, [0; 5]),
            11 => (n::REGISTER_VCPU, [v, below(2), page, 0, 0]),
            12 => (n::ENCRYPT_BUF, [v, page, vms::FREE + below(PAGES) * PAGE_SIZE, 0, 0]),
            13 => (n::DECRYPT_BUF, [v, page, 0, 0, 0]),
            _ => (n::DESTROY_VM, [v, 0, 0, 0, 0]),
        };
        self.call(call, args);
    }

    fn call(&mut self, call: u32, args: [u64; 5]) {
        self.regs[0] = u64::from(HOST_CALL_BASE + call);
        self.regs[1..6].copy_from_slice(&args);
        let mut nothing = Held::nothing();
        match self.core.host_hvc_handler(Conduit::Hvc, 0, &mut self.regs, &mut nothing) {
            HostAction::Resume => tally(&format!("host call {call}"), self.regs[0] as i64 >= 0),
            HostAction::Run { v, vcpu } => {
                let next = self.core.host_vcpu_run_handler(v, vcpu, &mut self.regs, &mut nothing);
                self.running = (next == Next::Vm).then_some((v, vcpu));
                tally("host_vcpu_run_handler", self.running.is_some());
            }
        }
    }

    fn vm_step(&mut self) {
        let Some((v, _)) = self.running else { return };
        let machine = self.core.machine();
        match below(4) {
            0 => {
                // The VM shares a page, or ends that.
                let call = if below(2) == 0 { vm_call::SET_DESC_PFN } else { vm_call::UNSET_DESC_PFN };
                (self.regs[0], self.regs[2], self.regs[3]) = (call, guest().as_u64(), PAGE_SIZE);
                machine.with_cpu(|cpu| cpu.registers.esr_el2 = ESR_HVC);
                self.exit(Exit::Trap);
                tally("grant or revoke by a VM", self.running.is_some());
            }
            1 => {
                let at = guest();
                if machine.access(v, at).is_err() {
                    machine.with_cpu(|cpu| {
                        cpu.registers.esr_el2 = ESR_ABORT;
                        cpu.registers.hpfar_el2 = at.as_u64() >> 8;
                    });
                    self.exit(Exit::Trap);
                    self.offer(v, at);
                }
            }
            2 => self.exit(Exit::Irq),
            _ => self.exit(Exit::SError),
        }
    }

    fn exit(&mut self, why: Exit) {
        if self.core.vm_exit_handler(why, &mut self.regs, &mut Held::nothing()) == Next::Host {
            self.running = None;
        }
    }

    /// The host offers a page to all vCPUs of `v`.
    fn offer(&self, v: Vmid, at: Ipa) {
        for vcpu in 0..2 {
            let shared = world::run_page(v, vcpu).base().as_u64();
            let store = |offset, value| self.core.machine().shared_store(Pa::new(shared + offset).unwrap(), value);
            store(run_page::FAULT_ADDR, at.as_u64());
            store(run_page::NEW_PAGE, page().base().as_u64());
            store(run_page::NEW_LEVEL, 0);
        }
    }
}
