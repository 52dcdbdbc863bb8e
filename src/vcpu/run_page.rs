// SPDX-License-Identifier: GPL-2.0-only
//! The page that a vCPU shares with the host (`spec/layers/01-machine.md` §1.7; its layout is [`crate::abi::run_page`]).
//!
//! The host may write it at any time: each word is read once, and what it says is the host's claim.

use crate::abi::run_page::{
    self, CNTV_CTL, CNTV_CVAL, ESR, FAR, FAULT_ADDR, FLAGS, HPFAR, ICH_HCR, ICH_MISR, LIST_REGISTER, NEW_LEVEL,
    NEW_PAGE, PC, PSTATE, X,
};
use crate::addr::{PAGE_SIZE, Pa, Pfn, Vmid};
use crate::corevisor::Corevisor;
use crate::machine::{Machine, SharedPage};
use crate::npt::Level;
use crate::refused::Refused;
use crate::vcpu::vgic::{LIST_REGISTERS, VgicEntry};
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

/// A run page, in use: its vCPU is ACTIVE. One at a time on a CPU.
pub struct RunPage<'m, M: Machine + 'm>(M::SharedPage<'m>);

impl<M: Machine> RunPage<'_, M> {
    /// The vCPU runs now.
    pub(super) fn keep(self) {
        self.0.keep();
    }
}

impl<M: Machine> Corevisor<M> {
    /// The page that a vCPU of `v` shares with the host (AM-18), which is `page`.
    ///
    /// # Errors
    /// [`Refused::State`] if there is no such vCPU.
    pub(super) fn run_page(&self, v: Vmid, page: Option<Pfn>) -> Result<RunPage<'_, M>, Refused> {
        page.map(|page| RunPage(self.machine().shared_page(page))).ok_or(Refused::State(v))
    }

    /// The same of a vCPU that runs on this CPU: it was entered with this page ([`RunPage::keep`]).
    pub(super) fn kept_run_page(&self, page: Option<Pfn>) -> RunPage<'_, M> {
        RunPage(self.machine().kept_page(page.unwrap_or_else(|| unreachable!("it was entered"))))
    }

    fn claim(&self, page: &RunPage<'_, M>, offset: u64) -> u64 {
        page.0.load(offset)
    }

    /// AM-79 `get_int_gpr`: general register `register`, as the host wants it.
    pub(super) fn get_int_gpr(&self, page: &RunPage<'_, M>, register: usize) -> u64 {
        self.claim(page, X + register as u64 * 8)
    }

    /// AM-80 `get_int_pc`: where the host wants the vCPU to start.
    pub(super) fn get_int_pc(&self, page: &RunPage<'_, M>) -> u64 {
        self.claim(page, PC)
    }

    /// AM-81 `get_int_pstate`: the PSTATE that the host wants it to start with.
    pub(super) fn get_int_pstate(&self, page: &RunPage<'_, M>) -> u64 {
        self.claim(page, PSTATE)
    }

    /// The exceptions that the host wants the vCPU to take, as bits of the dirty word.
    pub(super) fn get_int_flags(&self, page: &RunPage<'_, M>) -> u64 {
        self.claim(page, FLAGS) & ShadowContext::INJECT
    }

    /// AM-87 `get_vm_fault_addr`: the guest address for which the host offers a page, or 0.
    pub(super) fn get_vm_fault_addr(&self, page: &RunPage<'_, M>) -> u64 {
        self.claim(page, FAULT_ADDR)
    }

    /// AM-88 `get_int_new_pte`: the page that the host offers. Attributes, if there are any, are not looked at.
    pub(super) fn get_int_new_pte(&self, page: &RunPage<'_, M>) -> Pa {
        Pa::low_48(self.claim(page, NEW_PAGE)).align_down(PAGE_SIZE)
    }

    /// AM-89 `get_int_new_level`: what size that page has.
    pub(super) fn get_int_new_level(&self, page: &RunPage<'_, M>) -> Level {
        if self.claim(page, NEW_LEVEL) == 2 { Level::L2 } else { Level::L3 }
    }

    /// What the host wants the vCPU to find in its interrupt interface at this entry.
    ///
    /// # Errors
    /// Those of [`VgicEntry::fill`].
    pub(super) fn get_int_vgic(&self, page: &RunPage<'_, M>, entry: &mut VgicEntry) -> Result<(), Refused> {
        entry.fill(self.machine().virtual_interface(), |n| self.claim(page, ICH_HCR + 8 * n as u64))
    }

    /// Shows the host what has become of list register `n`, below [`LIST_REGISTERS`].
    pub(super) fn set_int_list_register(&self, page: &RunPage<'_, M>, n: usize, word: u64) {
        page.0.store(LIST_REGISTER + 8 * n as u64, word);
    }

    /// Shows the host why there is a maintenance interrupt, if there is one, and the virtual timer, whose interrupt it has to
    /// give.
    pub(super) fn set_int_status(&self, page: &RunPage<'_, M>, status: u64, timer: VirtualTimer) {
        page.0.store(CNTV_CTL, timer.ctl);
        page.0.store(CNTV_CVAL, timer.cval);
        page.0.store(ICH_MISR, status);
    }

    /// AM-82 `set_int_gpr`: shows the host a value of general register `register`. This is the only way in which a
    /// register of a VM becomes visible to the host. Register 31 is XZR, of which there is nothing to show.
    pub(super) fn set_int_gpr(&self, page: &RunPage<'_, M>, register: usize, value: u64) {
        if register < GENERAL_REGISTERS {
            page.0.store(X + register as u64 * 8, value);
        }
    }

    /// Tells the host why the vCPU stopped running: `esr`, `hpfar` and `far` are no more of the trusted registers than the
    /// host needs.
    pub(super) fn set_int_exit(&self, page: &RunPage<'_, M>, [esr, hpfar, far]: [u64; 3]) {
        page.0.store(ESR, esr);
        page.0.store(HPFAR, hpfar);
        page.0.store(FAR, far);
    }
}
