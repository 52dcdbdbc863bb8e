// SPDX-License-Identifier: GPL-2.0-only
//! Layer: TrapDispatcher (`spec/layers/09-traps.md` §9.3): the host's calls to Corevisor.

use super::host_call::HostCall;
use super::{HostAction, LogSource, Registers};
use crate::abi::{self, features, page_owner, stat};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::CpuFeatures;
use crate::memory::Stretch;
use crate::refused::Refused;
use crate::vm::SavedPage;

impl<M: CpuFeatures + LogSource> Corevisor<M> {
    /// Spec: TD-1. Carries out the host call with function id `id`, [`abi::HOST_CALL_BASE`] or above, whose arguments
    /// are in `regs` from x1 on, and writes the results there. A refusal changes nothing but x0. Returns what is left to
    /// do.
    #[inline(always)]
    pub(super) fn host_hvc_dispatcher(
        &self,
        id: u32,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> HostAction {
        // What is called most, and needs none of the others' arguments.
        if id == abi::HOST_CALL_BASE + abi::host_call::VCPU_RUN
            && M::VMS
            && let Ok((v, vcpu)) = HostCall::parse_vcpu_run(regs[1], regs[2])
        {
            return HostAction::Run { v, vcpu };
        }
        self.any_host_call(id, regs, outer)
    }

    #[inline(never)]
    fn any_host_call(&self, id: u32, regs: &mut Registers, outer: &mut Held<'_, { rank::NONE }>) -> HostAction {
        #[cfg(feature = "semihosting")]
        if id >= abi::test_call::BASE {
            self.test_call(id, regs, outer);
            return HostAction::Resume;
        }
        let args = core::array::from_fn(|i| regs[1 + i]);
        let done = match HostCall::parse(id - abi::HOST_CALL_BASE, args) {
            Ok(call) if call.needs_vms() && !M::VMS => Err(Refused::NotSupported),
            Ok(HostCall::VcpuRun { v, vcpu }) => return HostAction::Run { v, vcpu },
            Ok(call) => self.host_call(call, regs, outer),
            Err(why) => Err(why),
        };
        match done {
            Ok(x0) => regs[0] = x0,
            Err(why) => self.refuse(id, why, regs),
        }
        HostAction::Resume
    }

    /// Carries `call` out. Returns what goes to x0, and writes further results itself.
    fn host_call(
        &self,
        call: HostCall,
        regs: &mut Registers,
        outer: &mut Held<'_, { rank::NONE }>,
    ) -> Result<u64, Refused> {
        let no_value = |()| 0;
        match call {
            HostCall::TimerSetCntvoff { offset } => {
                self.timer_set_cntvoff(offset);
                Ok(0)
            }
            HostCall::ClearVmS2Range { v, start, size } => self.clear_vm_stage2_range(v, start, size, outer),
            HostCall::SetBootInfo { v, addr, size, signature } => {
                Ok(self.set_boot_info(v, addr, size, signature, outer)? as u64)
            }
            HostCall::RemapVmImage { v, page, image } => self.remap_vm_image(v, page, image, outer).map(no_value),
            HostCall::VerifyVmImage { v } => self.verify_and_load_images(v, outer),
            HostCall::SmmuFreePgd { bank, smmu } => self.el2_free_smmu_pgd(bank, smmu, outer).map(no_value),
            HostCall::SmmuAllocPgd { bank, v, smmu } => self.el2_alloc_smmu_pgd(bank, v, smmu, outer).map(no_value),
            HostCall::SmmuLpaeMap { iova, pa, attributes, bank, smmu } => {
                self.el2_arm_lpae_map(iova, pa, attributes, bank, smmu, outer).map(no_value)
            }
            HostCall::SmmuLpaeIovaToPhys { iova, bank, smmu } => {
                self.el2_arm_lpae_iova_to_phys(iova, bank, smmu, outer)
            }
            HostCall::SmmuClear { iova, bank, smmu } => self.el2_arm_lpae_clear(iova, bank, smmu, outer).map(no_value),
            HostCall::PhysAddrIoremap { v, gpa, pa, size } => self.kvm_phys_addr_ioremap(v, gpa, pa, size, outer),
            HostCall::RegisterKvm { flags } => Ok(self.register_kvm(flags, outer)?.index() as u64),
            HostCall::RegisterVcpu { v, vcpu, run_page } => self.register_vcpu(v, vcpu, run_page, outer).map(no_value),
            HostCall::EncryptBuf { v, page, to } => {
                let SavedPage { seal, gfn, generation } = self.save_encrypt_buf(v, page, to, outer)?;
                let [low, high] = seal.tag;
                regs[1..7].copy_from_slice(&[seal.nonce, low, high, gfn, generation.lineage, generation.epoch]);
                Ok(0)
            }
            HostCall::DecryptBuf { v, page, saved } => self.load_decrypt_buf(v, page, saved, outer).map(no_value),
            HostCall::SaveCryptVcpu { v, vcpu } => self.save_encrypted_vcpu(v, vcpu, outer).map(no_value),
            HostCall::LoadCryptVcpu { v, vcpu } => self.load_encrypted_vcpu(v, vcpu, outer).map(no_value),
            // A switch of worlds, which is the caller's.
            HostCall::VcpuRun { .. } => Err(Refused::NotSupported),
            HostCall::Version => Ok(abi::VERSION.into()),
            HostCall::Features => {
                let list_registers = self.machine().virtual_interface().list_registers as u64;
                regs[1..5].copy_from_slice(&[self.features(), stat::COUNT, self.cpus().len() as u64, list_registers]);
                Ok(0)
            }
            HostCall::DestroyVm { v } => self.destroy_vm(v, outer),
            HostCall::SmmuAttachStream { stream, bank, smmu } => {
                self.attach_stream(stream, bank, smmu, outer).map(no_value)
            }
            HostCall::SmmuDetachStream { stream, smmu } => self.detach_stream(stream, smmu, outer).map(no_value),
            HostCall::LogRead { position } => {
                self.drain_dma_events(outer);
                Ok(self.log_read(position, regs))
            }
            HostCall::VmMeasurement { v } => self.show_measurement(v, regs, outer),
            HostCall::Stats { counter } => {
                regs[1] = self.stat(counter, outer)?;
                Ok(0)
            }
            HostCall::PageOwner { page } => {
                let Stretch { owner, pages, open } = self.stretch(page, outer)?;
                let owner = owner.map_or(page_owner::NOBODY, |owner| owner.index() as u64);
                regs[1..4].copy_from_slice(&[owner, pages, open.into()]);
                Ok(0)
            }
            HostCall::VmIdRegister { name } => {
                regs[1] = self.vm_id_register(name)?;
                Ok(0)
            }
        }
    }

    /// Writes the error of a refused call to x0, and says so.
    fn refuse(&self, id: u32, why: Refused, regs: &mut Registers) {
        self.count(stat::REFUSED_CALL);
        self.machine().log_refusal(format_args!("host call {id:#x} refused: {why}"));
        regs[0] = why.code() as u64;
    }

    fn features(&self) -> u64 {
        [
            (cfg!(feature = "semihosting"), features::TEST_IMAGE),
            (M::VMS, features::VMS),
            (self.machine().allows_unsigned(), features::UNSIGNED_VMS),
        ]
        .into_iter()
        .filter_map(|(is_there, bit)| is_there.then_some(bit))
        .sum()
    }

    /// Returns the number of bytes.
    fn log_read(&self, position: u64, regs: &mut Registers) -> u64 {
        let mut bytes = [0; abi::LOG_READ_MAX];
        let (first, length) = self.machine().read(position, &mut bytes);
        regs[1] = first;
        let (words, _) = bytes.as_chunks::<8>();
        for (reg, word) in regs[2..].iter_mut().zip(words) {
            *reg = u64::from_le_bytes(*word);
        }
        length as u64
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
            test_call::OWNER => pfn.map(|pfn| {
                let owner = self.acquire_lock_s2page(outer).0.get_pfn_owner(pfn);
                regs[1] = owner.map_or(u64::MAX, |owner| owner.index() as u64);
            }),
            test_call::CRASH => {
                self.machine().crash(regs[1]);
                Ok(())
            }
            _ => Err(Refused::NotSupported),
        };
        match done {
            Ok(()) => regs[0] = 0,
            Err(why) => self.refuse(id, why, regs),
        }
    }

    /// [`abi::test_call::PRIMITIVE`]. A page on the stack is not to be there in other calls.
    #[cfg(feature = "semihosting")]
    #[inline(never)]
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
            _ => return Err(Refused::Argument(1)),
        }
        regs[1] = result;
        Ok(())
    }
}
