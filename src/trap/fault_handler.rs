// SPDX-License-Identifier: GPL-2.0-only
//! Layer: FaultHandler (`spec/layers/09-traps.md` §9.2).

use super::Registers;
use super::syndrome::Syndrome;
use crate::abi::stat;
use crate::addr::{Ipa, PAGE_SIZE, Range};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

/// A stage-2 abort of the host, as the hardware reported it.
#[derive(Clone, Copy, Debug)]
pub struct HostAbort {
    /// ESR_EL2 (AM-137 `read_esr_el2`).
    pub syndrome: Syndrome,
    /// FAR_EL2: the virtual address.
    pub far: u64,
    /// HPFAR_EL2 (AM-136 `read_hpfar_el2`).
    pub hpfar: u64,
    /// ELR_EL2, for the log.
    pub pc: u64,
}

/// The page in HPFAR_EL2, if its address has at most 48 bits: FIPA is bits 51:12 of it, from bit 4 on (D-54).
pub fn hpfar_ipa(hpfar: u64) -> Option<Ipa> {
    const FIPA: u64 = ((1 << 40) - 1) << 4;
    Ipa::new((hpfar & FIPA) << 8)
}

/// What becomes of a trapped instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It runs again.
    Retry,
    /// It was emulated: the next one is to run.
    Skip,
    /// It ends in a synchronous external abort.
    ExternalAbort,
}

impl HostAbort {
    /// The page that the access was to; `None` where the hardware does not tell (permission faults) or the address is
    /// wider than 48 bits.
    fn ipa(&self) -> Option<Ipa> {
        if self.syndrome.has_ipa() { hpfar_ipa(self.hpfar) } else { None }
    }
}

impl<M: Machine> Corevisor<M> {
    /// Spec: FH-1. The host touched an address that its stage-2 table does not map for that access: a register of an SMMU
    /// (IO-1) or of an interrupt controller is emulated, other memory is mapped (MM-1), or the access is refused. Addresses
    /// of withheld registers are refused here, before the ownership table is asked. `regs` are the host's registers.
    pub fn handle_host_stage2_fault<const OUTER: u8>(
        &self,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Verdict {
        self.drain_dma_events(outer);
        match self.answer_host_fault(abort, regs, outer) {
            Ok(verdict) => verdict,
            Err(why) => {
                self.count(stat::REFUSED_ACCESS);
                self.machine().log_refusal(format_args!(
                    "host access refused: {why}; ipa={:#x} far={:#x} esr={:#x} pc={:#x}",
                    abort.ipa().map_or(u64::MAX, Ipa::as_u64),
                    abort.far,
                    abort.syndrome.0,
                    abort.pc
                ));
                Verdict::ExternalAbort
            }
        }
    }

    fn answer_host_fault<const OUTER: u8>(
        &self,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Verdict, Refused> {
        let ipa = abort.ipa().filter(|&ipa| self.in_reach(ipa)).ok_or(Refused::OutOfReach)?;
        if !abort.syndrome.is_translation_fault() {
            return Err(Refused::OutOfReach);
        }
        if self.emulate_mmio(ipa, abort, regs, outer)?.is_some() {
            return Ok(Verdict::Skip);
        }
        if self.emulate_gic(ipa, abort, regs, outer)? {
            return Ok(Verdict::Skip);
        }
        if self.page_withheld(ipa) {
            return Err(Refused::OutOfReach);
        }
        self.map_page_host(ipa, outer)?;
        Ok(Verdict::Retry)
    }

    fn page_withheld(&self, ipa: Ipa) -> bool {
        Range::new(ipa.align_down(PAGE_SIZE).as_u64(), PAGE_SIZE).is_none_or(|page| self.is_withheld(page))
    }
}
