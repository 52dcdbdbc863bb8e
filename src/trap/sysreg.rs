// SPDX-License-Identifier: GPL-2.0-only
//! System registers of the host that are trapped: ACTLR_EL1 (HCR_EL2.TACR) and those that the architecture leaves to
//! the implementation (HCR_EL2.TIDCP). Both can switch off what Corevisor relies on, on some CPUs.

use super::Registers;
use super::syndrome::Syndrome;
use crate::corevisor::Corevisor;
use crate::machine::Machine;

/// What becomes of the access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SysregAnswer {
    /// It is done; the instruction is skipped.
    Done,
    /// It is undefined.
    Undefined,
}

/// ACTLR_EL1 as ISS has it: Op0 3 (21:20), Op2 1 (19:17), Op1 0 (16:14), CRn 1 (13:10), CRm 0 (4:1).
const ACTLR_EL1: u64 = (3 << 20) | (1 << 17) | (1 << 10);
const REGISTER: u64 = (3 << 20) | (7 << 17) | (7 << 14) | (0xF << 10) | (0xF << 1);
/// ISS.Direction: a read.
const READ: u64 = 1;

impl<M: Machine> Corevisor<M> {
    /// Answers a trapped access: ACTLR_EL1 reads as it is and ignores writes, anything else is undefined.
    pub fn host_sysreg(&self, syndrome: Syndrome, regs: &mut Registers, actlr: impl FnOnce() -> u64) -> SysregAnswer {
        if syndrome.0 & REGISTER != ACTLR_EL1 {
            return SysregAnswer::Undefined;
        }
        if syndrome.0 & READ != 0
            && let Some(target) = regs.get_mut((syndrome.0 >> 5) as usize & 0x1F)
        {
            *target = actlr(); // there is no register 31: XZR
        }
        SysregAnswer::Done
    }

    /// Says that a trap has no meaning for the host, which will find its instruction undefined.
    pub fn refuse_trap(&self, syndrome: Syndrome, pc: u64) {
        self.machine().log_refusal(format_args!("host trap refused: esr={:#x} pc={pc:#x}", syndrome.0));
    }
}
