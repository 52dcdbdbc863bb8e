// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapDispatcher (`spec/layers/09-traps.md` §9.3): the host's calls to Corevisor.

use super::host_call::HostCall;
use super::{HostAction, LogSource, Registers};
use crate::abi::{self, features, stat};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine + LogSource> Corevisor<M> {
    /// Spec: TD-1. Carries out the host call with function id `id`, [`abi::HOST_CALL_BASE`] or above, whose arguments
    /// are in `regs` from x1 on, and writes the results there. A refusal changes nothing but x0. Returns what is left to
    /// do.
    pub(super) fn host_hvc_dispatcher<const OUTER: u8>(
        &self,
        id: u32,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> HostAction {
        #[cfg(feature = "semihosting")]
        if id >= abi::test_call::BASE {
            self.test_call(id, regs, outer);
            return HostAction::Resume;
        }
        let mut action = HostAction::Resume;
        let args = [regs[1], regs[2], regs[3], regs[4], regs[5]];
        let done = HostCall::parse(id - abi::HOST_CALL_BASE, args).and_then(|call| match call {
            HostCall::Later => Err(Refused::NotSupported),
            HostCall::VcpuRun { v, vcpu } => {
                action = HostAction::Run { v, vcpu };
                Ok(())
            }
            HostCall::Version => {
                regs[0] = abi::VERSION.into();
                Ok(())
            }
            HostCall::Features => {
                regs[..4].copy_from_slice(&[0, self.features(), stat::COUNT, self.cpus().len() as u64]);
                Ok(())
            }
            HostCall::LogRead { position } => {
                self.log_read(position, regs);
                Ok(())
            }
            HostCall::Stats { counter } => {
                let value = self.stat(counter, outer)?;
                regs[..2].copy_from_slice(&[0, value]);
                Ok(())
            }
        });
        self.finish(id, done, regs);
        action
    }

    /// Writes the error of a refused call to x0, and says so.
    fn finish(&self, id: u32, done: Result<(), Refused>, regs: &mut Registers) {
        if let Err(why) = done {
            self.count(stat::REFUSED_CALL);
            self.machine().log_refusal(format_args!("host call {id:#x} refused: {why}"));
            regs[0] = why.code() as u64;
        }
    }

    fn features(&self) -> u64 {
        if cfg!(feature = "semihosting") { features::TEST_IMAGE } else { 0 }
    }

    fn log_read(&self, position: u64, regs: &mut Registers) {
        let mut bytes = [0; abi::LOG_READ_MAX];
        let (first, length) = self.machine().read(position, &mut bytes);
        regs[0] = length as u64;
        regs[1] = first;
        let (words, _) = bytes.as_chunks::<8>();
        for (reg, word) in regs[2..].iter_mut().zip(words) {
            *reg = u64::from_le_bytes(*word);
        }
    }

    /// The calls of [`abi::test_call`].
    #[cfg(feature = "semihosting")]
    fn test_call<const OUTER: u8>(&self, id: u32, regs: &mut Registers, outer: &mut Held<'_, OUTER>) {
        use crate::addr::{Pfn, Vmid};
        use abi::test_call;
        let pfn = Pfn::new(regs[1]).ok_or(Refused::Argument(1));
        let vm = Vmid::new_vm(test_call::TAKER).ok_or(Refused::NotSupported);
        let done = match id {
            test_call::TAKE_PAGE => pfn.and_then(|pfn| self.assign_pfn_to_vm(vm?, pfn.host_gfn(), pfn, outer)),
            test_call::GIVE_PAGE => pfn.and_then(|pfn| self.clear_vm_page(vm?, pfn, outer)),
            test_call::PRIMITIVE => self.primitive(regs),
            test_call::CRASH => {
                self.machine().crash(regs[1]);
                Ok(())
            }
            _ => Err(Refused::NotSupported),
        };
        if done.is_ok() {
            regs[0] = 0;
        }
        self.finish(id, done, regs);
    }

    /// [`abi::test_call::PRIMITIVE`].
    #[cfg(feature = "semihosting")]
    fn primitive(&self, regs: &mut Registers) -> Result<(), Refused> {
        use crate::addr::{PAGE_SIZE, Pa};
        use crate::machine::Width::{Double, Word};
        use abi::primitive;
        let machine = self.machine();
        let (at, value) = (Pa::new(regs[2]).ok_or(Refused::Argument(2))?, regs[3]);
        let mut result = 0;
        match regs[1] {
            primitive::SHARED_LOAD => result = machine.shared_load(at),
            primitive::SHARED_STORE => machine.shared_store(at, value),
            primitive::CLEAR_PHYS_PAGE => machine.clear_phys_page(at.frame()),
            primitive::FETCH_FROM_DORACLE => machine.fetch_from_doracle(at.frame()),
            primitive::COPY_PAGE => {
                let mut page = [0; PAGE_SIZE as usize];
                machine.read_page(at.frame(), &mut page);
                machine.write_page(Pa::new(value).ok_or(Refused::Argument(3))?.frame(), &page);
            }
            primitive::MMIO_READ_WORD => result = machine.mmio_read(at, Word),
            primitive::MMIO_READ_DOUBLE => result = machine.mmio_read(at, Double),
            primitive::MMIO_WRITE_WORD => machine.mmio_write(at, Word, value),
            primitive::MMIO_WRITE_DOUBLE => machine.mmio_write(at, Double, value),
            primitive::ENTROPY => {
                let bytes = machine.entropy().ok_or(Refused::Unavailable)?;
                result = bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
            }
            primitive::TIMER_SET_CNTVOFF => machine.timer_set_cntvoff(value),
            _ => return Err(Refused::Argument(1)),
        }
        regs[1] = result;
        Ok(())
    }
}
