// SPDX-License-Identifier: GPL-2.0-only
//! What a host does about exits: devices, pages, PSCI, interrupts.

use super::exit::{DEVICES_END, Exit};
use super::protocol::desk::{self, ARGUMENT_COUNT, RESULT_COUNT};
use super::protocol::{CONSOLE, DESK, LARGE_PAGES};
use super::vcpu::State;
use super::vm::{Hook, Outcome, Vm};
use super::{BLOCK, gic};
use crate::rt::call::psci;
use crate::rt::{cpu, machine};
use crate::say;
use core::sync::atomic::Ordering;
use corevisor::abi::run_page::{self, inject};

/// PSCI function ids that need no host's help to be told apart.
const PSCI_VERSION_1_1: i64 = 0x1_0001;
/// Flags of the console's PL011: the transmit FIFO is empty.
const PL011_FR: u64 = 0x18;

impl Vm {
    /// Does what vCPU `i` asks of its host by `exit`, and puts the vCPU into the state that follows: ready in general.
    pub fn serve(&self, i: usize, exit: Exit) {
        let vcpu = &self.vcpus[i];
        let mut next = State::Ready;
        match exit {
            Exit::Irq => gic::acknowledge(),
            Exit::Wfe => {}
            Exit::Wfi => next = self.wait(i),
            Exit::Hvc(x) => next = self.call(i, x),
            Exit::Register(iss, value) => self.register_written(i, iss, value),
            Exit::Device { address, size, store, register, signed, wide } => {
                match (self.device(i, address, store), store) {
                    (None, _) => {
                        // A hostile host tries to give the register a value all the same.
                        vcpu.set_x(register, 0xBAD);
                        vcpu.set_word(run_page::FLAGS, inject::DATA_ABORT);
                    }
                    (Some(value), None) => vcpu.set_x(register, extend(value, size, signed, wide)),
                    _ => {}
                }
            }
            Exit::Fault { page, .. } => self.give_memory(i, page),
            Exit::Abort { esr, .. } => {
                let is_fetch = esr >> 26 & 0x3F == 0x20;
                vcpu.set_word(run_page::FLAGS, if is_fetch { inject::INSTRUCTION_ABORT } else { inject::DATA_ABORT });
            }
            Exit::Stopped => {
                self.end(Outcome::Stopped);
                next = State::Off;
            }
            Exit::Serror | Exit::Illegal | Exit::Unknown(..) => panic!("VM {} vCPU {i}: {exit:x?}", self.id()),
        }
        vcpu.set_state(next);
        // What came while the state was about to change: nobody else could have woken it.
        if next == State::Waiting && (vcpu.pending() != 0 || self.is_off()) {
            vcpu.change_state(State::Waiting, State::Ready);
        }
    }

    /// The VM is off, for this reason unless there is one already; its other vCPUs come back to the host.
    fn end(&self, outcome: Outcome) {
        self.outcome.lock().get_or_insert(outcome);
        self.off.store(true, Ordering::SeqCst);
        for other in 0..self.count() {
            self.kick(other);
        }
    }

    fn wait(&self, i: usize) -> State {
        let vcpu = &self.vcpus[i];
        vcpu.set_wake_at(gic::timer_deadline(vcpu));
        let now = self.virtual_now();
        if gic::has_interrupt(vcpu) || vcpu.wake_at() <= now { State::Ready } else { State::Waiting }
    }

    /// Answers a fault with a fresh page, or block.
    fn give_memory(&self, i: usize, page: u64) {
        let vcpu = &self.vcpus[i];
        let (memory, level) = if page < LARGE_PAGES { (self.take_page(), 3) } else { (self.take_block(), 2) };
        vcpu.set_word(run_page::FAULT_ADDR, page);
        vcpu.set_word(run_page::NEW_PAGE, memory);
        vcpu.set_word(run_page::NEW_LEVEL, level);
    }

    /// A load from a device, or a store to it; what is loaded. `None`: there is no such device.
    fn device(&self, i: usize, address: u64, store: Option<u64>) -> Option<u64> {
        debug_assert!(address < DEVICES_END);
        match address & !0xFFF {
            CONSOLE => Some(self.console(address - CONSOLE, store)),
            DESK => self.desk(i, address - DESK, store),
            _ => None,
        }
    }

    fn console(&self, offset: u64, store: Option<u64>) -> u64 {
        if let (0, Some(byte)) = (offset, store) {
            let mut line = self.line.lock();
            if byte as u8 != b'\n' {
                let _ = line.try_push(char::from(byte as u8));
            }
            if byte as u8 == b'\n' || line.is_full() {
                if !self.is_quiet() {
                    say!("  [{} {}] {line}", self.name.lock(), self.id());
                }
                line.clear();
            }
        }
        if offset == PL011_FR { 1 << 7 } else { 0 }
    }

    fn desk(&self, i: usize, offset: u64, store: Option<u64>) -> Option<u64> {
        let index = |first: u64, count: usize| {
            let index = offset.checked_sub(first)? / 8;
            (index < count as u64).then_some(index as usize)
        };
        if let Some(n) = index(desk::RESULTS, RESULT_COUNT) {
            store.inspect(|&value| self.set_result(n, value));
            return Some(self.result(n));
        }
        if offset >= desk::HOOK {
            let hook = self.hook.load(Ordering::SeqCst);
            if hook == 0 {
                return Some(0);
            }
            // SAFETY: stored by `set_hook`.
            let hook: Hook = unsafe { core::mem::transmute::<usize, Hook>(hook) };
            return Some(hook(self, i, offset - desk::HOOK, store));
        }
        match (offset, store) {
            (desk::PROGRAM, None) => Some(self.program()),
            (desk::VCPUS, None) => Some(self.count() as u64),
            (desk::DONE, Some(value)) => {
                self.outcome.lock().get_or_insert(Outcome::Done(value));
                Some(0)
            }
            (desk::FAILED, Some(line)) => {
                // Counts more than that another vCPU is done.
                *self.outcome.lock() = Some(Outcome::Failed(line));
                Some(0)
            }
            (_, None) => index(desk::ARGUMENTS, ARGUMENT_COUNT).map(|n| self.argument(n)),
            _ => None,
        }
    }

    /// PSCI, as far as Corevisor leaves it to the host.
    fn call(&self, i: usize, [id, x1, x2, x3]: [u64; 4]) -> State {
        let mut next = State::Ready;
        let answer = match id as u32 {
            psci::VERSION => PSCI_VERSION_1_1,
            psci::CPU_ON_64 => self.switch_on(x1, x2, x3),
            psci::CPU_OFF => {
                next = State::Off;
                0
            }
            psci::CPU_SUSPEND_64 => {
                next = self.wait(i);
                psci::SUCCESS
            }
            psci::AFFINITY_INFO_64 | psci::AFFINITY_INFO_32 => match self.vcpus.get(x1 as usize) {
                Some(vcpu) if (x1 as usize) < self.count() => (vcpu.state() == State::Off).into(),
                _ => psci::INVALID_PARAMETERS,
            },
            psci::SYSTEM_OFF | psci::SYSTEM_RESET => {
                next = State::Off;
                self.end(Outcome::Done(u64::MAX));
                0
            }
            _ => psci::NOT_SUPPORTED,
        };
        self.vcpus[i].set_x(0, answer as u64);
        next
    }

    fn switch_on(&self, target: u64, entry: u64, context: u64) -> i64 {
        let Some(vcpu) = self.vcpus[..self.count()].get(target as usize) else { return psci::INVALID_PARAMETERS };
        // Corevisor knows that it is off as soon as it asks for that; this host, when it has served the exit.
        let end = machine::after(2);
        while vcpu.state() != State::Off {
            if machine::now() > end || vcpu.on() == cpu::index() {
                return psci::ALREADY_ON;
            }
            core::hint::spin_loop();
        }
        vcpu.set_start(entry, context);
        vcpu.set_state(State::Ready);
        psci::SUCCESS
    }

    /// The only registers whose writes come here: those that send SGIs.
    fn register_written(&self, i: usize, iss: u64, value: u64) {
        /// ISS without Rt: op0 3, op1 0, CRn 12, CRm 11, op2 5, a write.
        const ICC_SGI1R_EL1: u64 = 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
        const RT: u64 = 0x1F << 5;
        assert_eq!(iss & !RT, ICC_SGI1R_EL1, "VM {} vCPU {i} wrote {value:#x} to {iss:#x}", self.id());
        let intid = (value >> 24 & 0xF) as u32;
        let to_others = value >> 40 & 1 != 0;
        for target in 0..self.count() {
            let wanted = if to_others { target != i } else { value >> target & 1 != 0 };
            if wanted {
                self.interrupt(target, intid);
            }
        }
    }
}

/// What a load of `size` bytes leaves in its register.
fn extend(value: u64, size: u64, signed: bool, wide: bool) -> u64 {
    let unused = 64 - 8 * size as u32;
    let value = if signed { ((value << unused) as i64 >> unused) as u64 } else { value << unused >> unused };
    if wide { value } else { value & 0xFFFF_FFFF }
}

const _: () = assert!(BLOCK == 2 << 20);
