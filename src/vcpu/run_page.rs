// SPDX-License-Identifier: GPL-2.0-only
//! The page that a vCPU shares with the host (`spec/layers/01-machine.md` §1.7; its layout is [`crate::abi::run_page`]).
//!
//! The host may write it at any time: each word is read once, and what it says is the host's claim.

use crate::abi::run_page::{
    self, CNTV_CTL, CNTV_CVAL, ESR, FAR, FAULT_ADDR, FLAGS, HPFAR, ICH_HCR, ICH_MISR, LIST_REGISTER, NEW_LEVEL,
    NEW_PAGE, PC, PSTATE, X,
};
use crate::addr::{PAGE_SIZE, Pa, Pfn, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::Level;
use crate::refused::Refused;
use crate::vcpu::vgic::{LIST_REGISTERS, VgicEntry, VgicExit};
use crate::vcpu::{ShadowContext, VirtualTimer};

/// Number of words at [`X`].
const GENERAL_REGISTERS: usize = 31;

const _: () = {
    assert!(X + GENERAL_REGISTERS as u64 * 8 <= PC && NEW_LEVEL < ICH_HCR && ICH_HCR + 8 == LIST_REGISTER);
    assert!(LIST_REGISTER + LIST_REGISTERS as u64 * 8 == CNTV_CTL && CNTV_CTL + 8 == CNTV_CVAL);
    assert!(CNTV_CVAL + 8 == ICH_MISR && ICH_MISR < run_page::SEALED);
    assert!(
        run_page::inject::DATA_ABORT | run_page::inject::INSTRUCTION_ABORT | run_page::inject::UNDEFINED
            == ShadowContext::INJECT
    );
};

/// A run page, in use: its vCPU is ACTIVE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RunPage(Pfn);

impl RunPage {
    fn word(self, offset: u64) -> Pa {
        Pa::low_48(self.0.base().as_u64() + offset)
    }
}

impl<M: Machine> Corevisor<M> {
    /// The page that `vcpu` of `v` shares with the host (AM-18). Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::State`] if there is no such vCPU.
    pub(super) fn run_page<const OUTER: u8>(
        &self,
        v: Vmid,
        vcpu: VcpuId,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<RunPage, Refused> {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        vm.vcpu(vcpu).run_page.map(RunPage).ok_or(Refused::State(v))
    }

    fn claim(&self, page: RunPage, offset: u64) -> u64 {
        self.machine().shared_load(page.word(offset))
    }

    /// AM-79 `get_int_gpr`: general register `register`, as the host wants it.
    pub(super) fn get_int_gpr(&self, page: RunPage, register: usize) -> u64 {
        self.claim(page, X + register as u64 * 8)
    }

    /// AM-80 `get_int_pc`: where the host wants the vCPU to start.
    pub(super) fn get_int_pc(&self, page: RunPage) -> u64 {
        self.claim(page, PC)
    }

    /// AM-81 `get_int_pstate`: the PSTATE that the host wants it to start with.
    pub(super) fn get_int_pstate(&self, page: RunPage) -> u64 {
        self.claim(page, PSTATE)
    }

    /// The exceptions that the host wants the vCPU to take, as bits of the dirty word.
    pub(super) fn get_int_flags(&self, page: RunPage) -> u64 {
        self.claim(page, FLAGS) & ShadowContext::INJECT
    }

    /// AM-87 `get_vm_fault_addr`: the guest address for which the host offers a page, or 0.
    pub(super) fn get_vm_fault_addr(&self, page: RunPage) -> u64 {
        self.claim(page, FAULT_ADDR)
    }

    /// AM-88 `get_int_new_pte`: the page that the host offers. Attributes, if there are any, are not looked at.
    pub(super) fn get_int_new_pte(&self, page: RunPage) -> Pa {
        Pa::low_48(self.claim(page, NEW_PAGE)).align_down(PAGE_SIZE)
    }

    /// AM-89 `get_int_new_level`: what size that page has.
    pub(super) fn get_int_new_level(&self, page: RunPage) -> Level {
        if self.claim(page, NEW_LEVEL) == 2 { Level::L2 } else { Level::L3 }
    }

    /// What the host wants the vCPU to find in its interrupt interface at this entry.
    ///
    /// # Errors
    /// Those of [`VgicEntry::fill`].
    pub(super) fn get_int_vgic(&self, page: RunPage, entry: &mut VgicEntry) -> Result<(), Refused> {
        let load = |words: &mut [u64]| self.machine().shared_load_words(page.word(ICH_HCR), words);
        entry.fill(self.machine().virtual_interface(), load)
    }

    /// Shows the host what has become of that, and of the virtual timer, whose interrupt it has to give.
    pub(super) fn set_int_vgic(&self, page: RunPage, exit: &VgicExit, timer: VirtualTimer) {
        self.machine().shared_store_words(page.word(LIST_REGISTER), &exit.list);
        self.machine().shared_store_words(page.word(CNTV_CTL), &[timer.ctl, timer.cval, exit.status]);
    }

    /// AM-82 `set_int_gpr`: shows the host a value of general register `register`. This is the only way in which a
    /// register of a VM becomes visible to the host. Register 31 is XZR, of which there is nothing to show.
    pub(super) fn set_int_gpr(&self, page: RunPage, register: usize, value: u64) {
        if register < GENERAL_REGISTERS {
            self.machine().shared_store(page.word(X + register as u64 * 8), value);
        }
    }

    /// Tells the host why the vCPU stopped running: `esr`, `hpfar` and `far` are no more of the trusted registers than the
    /// host needs.
    pub(super) fn set_int_exit(&self, page: RunPage, esr_hpfar_far: [u64; 3]) {
        const _: () = assert!(HPFAR == ESR + 8 && FAR == ESR + 16);
        self.machine().shared_store_words(page.word(ESR), &esr_hpfar_far);
    }
}
