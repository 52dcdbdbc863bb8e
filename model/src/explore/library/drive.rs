// SPDX-License-Identifier: GPL-2.0-only
//! How each step enters the library: by the registers and the shared words that a host or a VM would write.

use super::lab::{Envelope, Lab, Outcome};
use crate::constants::{PAGE_SIZE, hvc};
use crate::explore::action::{Bank, Offer};
use corevisor::abi::{self, exit, host_call, run_page};
use corevisor::addr::{HOSTVISOR, Ipa, Pa, Pfn, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::memory::Count;
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::trap::{Conduit, Exit, HostAbort, HostAction, Registers, Syndrome, Verdict};
use corevisor::vcpu::Next;

/// What a read of memory that others can write gives: any value.
const OUTSIDE: u64 = 0x0D15_EA5E;

/// A physical address.
fn pa(address: u64) -> Pa {
    Pa::new(address).expect("an address")
}

/// Whether a call was carried out.
fn outcome(x0: u64) -> Outcome {
    if (x0 as i64) < 0 { Outcome::Refused } else { Outcome::Done }
}

impl Lab<'_> {
    /// A call of the host's by its number, with x1 and the following.
    fn host_call(&mut self, number: u64, arguments: &[u64]) -> (Outcome, Registers) {
        let x = &mut self.x[self.cpu];
        x[0] = u64::from(abi::HOST_CALL_BASE) + number;
        x[1..=arguments.len()].copy_from_slice(arguments);
        self.asked = *x;
        if let HostAction::Run { v, vcpu } = self.core.host_hvc_handler(Conduit::Hvc, 0, x, &mut Held::nothing())
            && self.core.host_vcpu_run_handler(v, vcpu, x, &mut Held::nothing()) == Next::Vm
        {
            return (Outcome::Done, *x);
        }
        (outcome(x[0]), *x)
    }

    /// TH-1.
    pub(super) fn call(&mut self, x: [u64; 6]) -> Outcome {
        let (done, results) = self.host_call(x[0], &x[1..]);
        if x[0] == hvc::ENCRYPT_BUF && done == Outcome::Done {
            let mut bytes = [0; PAGE_SIZE as usize];
            self.core.machine().read_page(pa(x[3]).frame(), &mut bytes);
            let words = std::array::from_fn(|i| results[1 + i]);
            self.envelopes.push(Envelope { words, bytes: Box::new(bytes), past: false });
        }
        done
    }

    /// Call 27: what was saved is written to a page again, and loaded.
    pub(super) fn unseal(&mut self, vmid: u64, pfn: u64, envelope: usize) -> Outcome {
        let Some(number) = self.envelopes.len().checked_sub(1 + envelope) else { return Outcome::Refused };
        let Envelope { words, bytes, .. } = self.envelopes[number].clone();
        let page = pa(pfn * PAGE_SIZE).frame();
        let mut before = [0; PAGE_SIZE as usize];
        self.core.machine().read_page(page, &mut before);
        let hosts = self.owner(pfn) == Some(HOSTVISOR);
        if hosts {
            self.core.machine().write_page(page, &bytes);
        }
        let mut arguments = vec![vmid, pfn * PAGE_SIZE];
        arguments.extend(words);
        let done = self.host_call(hvc::DECRYPT_BUF, &arguments).0;
        if hosts && done == Outcome::Refused {
            self.core.machine().write_page(page, &before);
        }
        done
    }

    /// TH-2 for memory. An access to what is mapped does not fault.
    pub(super) fn touch(&mut self, addr: u64) -> Outcome {
        let ipa = Ipa::new(addr).expect("an address");
        if self.core.machine().access(HOSTVISOR, ipa).is_ok() {
            return Outcome::Refused;
        }
        self.fault((addr >> 12) << 4, addr & 0xFFF, 0x24 << 26 | 0b00_0111, 0)
    }

    /// TH-2.
    pub(super) fn fault(&mut self, hpfar: u64, far: u64, esr: u64, data: u64) -> Outcome {
        let x = &mut self.x[self.cpu];
        if let Some(register) = x.get_mut((esr >> 16 & 31) as usize) {
            *register = data;
        }
        let abort = HostAbort { syndrome: Syndrome(esr), far, hpfar, pc: 0 };
        match self.core.host_npt_handler(&abort, x, &mut Held::nothing()) {
            Verdict::ExternalAbort => Outcome::Refused,
            _ => Outcome::Done,
        }
    }

    /// TH-3: the host writes the run page, all words of it that the library may read, and runs the vCPU.
    pub(super) fn run(&mut self, vmid: u64, vcpuid: u64, pc: u64, offer: Option<Offer>) -> Outcome {
        let page = self.small.run_page(vmid, vcpuid) * PAGE_SIZE;
        let machine = self.core.machine();
        let mut before = [0; PAGE_SIZE as usize];
        machine.read_page(pa(page).frame(), &mut before);
        let word = |offset: u64, value: u64| machine.shared_store(pa(page + offset), value);
        // x0 tells a VM that boots of a device tree, or of none.
        (0..31).for_each(|n| word(run_page::X + 8 * n, if n == 0 { 0 } else { 0x100 + n }));
        word(run_page::PC, pc);
        word(run_page::PSTATE, 0x3C5);
        word(run_page::FLAGS, 0);
        let Offer { addr, pte, level } = offer.unwrap_or(Offer { addr: 0, pte: 0, level: 0 });
        word(run_page::FAULT_ADDR, addr);
        word(run_page::NEW_PAGE, pte);
        word(run_page::NEW_LEVEL, level);
        let done = self.host_call(host_call::VCPU_RUN.into(), &[vmid, vcpuid]).0;
        if done == Outcome::Refused {
            self.core.machine().write_page(pa(page).frame(), &before);
        } else if let Some(v) = Vmid::new(vmid) {
            let generation = self.core.acquire_lock_vm(v, &mut Held::nothing()).0.generation;
            let saved = |envelope: &&mut Envelope| generation.is_some_and(|now| now.lineage == envelope.lineage());
            self.envelopes.iter_mut().filter(saved).for_each(|envelope| envelope.past = true);
        }
        done
    }

    /// TH-4.
    pub(super) fn exit(&mut self, ec: u64, esr: u64, hpfar: u64, x: [u64; 4]) -> Outcome {
        self.x[self.cpu][..4].copy_from_slice(&x);
        self.core.machine().with_cpu(|cpu| {
            cpu.registers.esr_el2 = esr;
            cpu.registers.hpfar_el2 = hpfar;
            cpu.registers.far_el2 = hpfar << 8;
        });
        let why = match ec {
            exit::IRQ => Exit::Irq,
            exit::SERROR => Exit::SError,
            exit::TRAP => Exit::Trap,
            _ => Exit::Illegal,
        };
        self.core.vm_exit_handler(why, &mut self.x[self.cpu], &mut Held::nothing());
        Outcome::Done
    }

    /// Who runs.
    fn principal(&self) -> Vmid {
        self.core.current().map_or(HOSTVISOR, |(v, _)| v)
    }

    /// The owner of a page.
    pub(super) fn owner(&self, pfn: u64) -> Option<Vmid> {
        let mut nothing = Held::nothing();
        self.core.acquire_lock_s2page(&mut nothing).0.get_pfn_owner(Pfn::new(pfn)?)
    }

    /// Whether what is in `pfn` is for the one who runs alone. None: it reaches the page, but no step is told of that.
    fn private(&self, pfn: u64) -> Option<bool> {
        let mut nothing = Held::nothing();
        let count = self.core.acquire_lock_s2page(&mut nothing).0.get_pfn_count(Pfn::new(pfn)?);
        match self.principal() {
            HOSTVISOR => Some(self.owner(pfn) == Some(HOSTVISOR)),
            _ if self.owner(pfn).is_none() => None,
            _ => Some(count == Count::Shares(0)),
        }
    }

    /// TH-5 and TH-6.
    pub(super) fn access(&mut self, gfn: u64, reg: usize, write: bool) -> Outcome {
        let ipa = Ipa::new(gfn * PAGE_SIZE).expect("an address");
        match self.core.machine().access(self.principal(), ipa) {
            Ok(leaf) => self.transfer(leaf.pa(ipa), reg, write),
            Err(_) => Outcome::Refused,
        }
    }

    /// TH-7 and TH-8: by a bank that is in use.
    pub(super) fn dev_access(&mut self, bank: Bank, gfn: u64, reg: usize, write: bool) -> Outcome {
        let (b, k) = (ContextBank::new(bank.cbndx.into()), SmmuIndex::new(bank.index.into()));
        let (Some(b), Some(k)) = (b, k) else { return Outcome::Refused };
        if self.core.acquire_lock_smmu(&mut Held::nothing()).0.owner(k, b) != Some(self.principal()) {
            return Outcome::Refused;
        }
        let iova = Ipa::new(gfn * PAGE_SIZE).expect("an address");
        match self.core.machine().dma_access(k, b, iova) {
            Ok(leaf) => self.transfer(leaf.pa(iova), reg, write),
            Err(_) => Outcome::Refused,
        }
    }

    /// Reads or writes the first word of a page.
    fn transfer(&mut self, at: u64, reg: usize, write: bool) -> Outcome {
        let private = self.private(at / PAGE_SIZE);
        let (Some(private), machine) = (private, self.core.machine()) else { return Outcome::Refused };
        let register = &mut self.x[self.cpu][reg];
        match (private, write) {
            (true, true) => machine.shared_store(pa(at), *register),
            (true, false) => *register = machine.shared_load(pa(at)),
            (false, true) => {}
            (false, false) => *register = OUTSIDE,
        }
        Outcome::Done
    }
}
