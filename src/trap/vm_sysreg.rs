// SPDX-License-Identifier: GPL-2.0-only
//! System registers of VMs that are trapped: what each of them is to a VM. What is not named here is undefined to it.

use super::id_registers::IdRegister;
use super::inject::Exception;
use super::syndrome::Syndrome;
use crate::corevisor::Corevisor;
use crate::machine::{CpuFeatures, WorldSwitch};
use crate::refused::Refused;
use crate::vcpu::{Next, ShadowContext};

/// OSLSR_EL1: OSLM says that there is an OS lock, which is open.
const OSLSR: u64 = 1 << 3;
/// ICC_SRE_EL1: SRE, DFB and DIB, none of which can be cleared.
const ICC_SRE: u64 = 0b111;
/// Breakpoints and watchpoints, as ID_AA64DFR0_EL1 has them.
const BREAKPOINTS: u64 = 2;

/// The name of a system register: op0, op1, CRn, CRm and op2 as the immediate of MRS has them, in 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisterName(u16);

impl RegisterName {
    /// The name in `bits`, if there is nothing else in them.
    pub fn new(bits: u64) -> Option<Self> {
        bits.try_into().ok().map(Self)
    }

    /// The trap of a read of the register.
    fn read(self) -> Access {
        let bits = |shift: u32, count: u32| u64::from(self.0) >> shift & ((1 << count) - 1);
        let [op0, op1, crn, crm, op2] = [bits(14, 2), bits(11, 3), bits(7, 4), bits(3, 4), bits(0, 3)];
        Access(Syndrome(op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1 | 1))
    }
}

/// What a trapped access comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Reads as this; a write does nothing.
    Constant(u64),
    /// ACTLR_EL1: reads as the hardware's; a write does nothing.
    Actlr,
    /// What [`IdRegister::shown`] says; can only be read.
    Id(IdRegister),
    /// Reads as 0; can only be read.
    ReadOnlyZero,
    /// Can only be written, which does nothing.
    Ignored,
    /// A write asks the host for an interrupt of other vCPUs.
    Sgi,
    /// There is no such register.
    Undefined,
}

/// An access to a system register, or a system instruction, as the ISS of its trap describes it (Arm ARM D24.2.40,
/// "ISS encoding for an exception from MSR, MRS, or System instruction execution in AArch64 state").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Access(Syndrome);

impl Access {
    fn bits(self, shift: u32, count: u32) -> u64 {
        (self.0.0 >> shift) & ((1 << count) - 1)
    }

    /// Op0, Op1, CRn, CRm, Op2.
    fn name(self) -> [u64; 5] {
        [self.bits(20, 2), self.bits(14, 3), self.bits(10, 4), self.bits(1, 4), self.bits(17, 3)]
    }

    fn is_read(self) -> bool {
        self.bits(0, 1) == 1
    }

    /// Number of the general register; 31 is XZR.
    fn register(self) -> usize {
        self.bits(5, 5) as usize
    }

    fn outcome(self, gic: bool) -> Outcome {
        let outcome = match self.name() {
            [3, 0, 0, 1..=7, _] => self.id_register(),
            // REVIDR_EL1, AIDR_EL1
            [3, 0, 0, 0, 6] | [3, 1, 0, 0, 7] => Outcome::ReadOnlyZero,
            [3, 0, 1, 0, 1] => Outcome::Actlr,
            [2, ..] => self.debug_register(),
            // DC ISW, DC CSW, DC CISW
            [1, 0, 7, 6 | 10 | 14, 2] => Outcome::Ignored,
            // ICC_SGI1R_EL1, ICC_ASGI1R_EL1, ICC_SGI0R_EL1
            [3, 0, 12, 11, 5..=7] if gic => Outcome::Sgi,
            // ICC_SRE_EL1
            [3, 0, 12, 12, 5] if gic => Outcome::Constant(ICC_SRE),
            _ => Outcome::Undefined,
        };
        match (outcome, self.is_read()) {
            (Outcome::Id(_) | Outcome::ReadOnlyZero, false) | (Outcome::Ignored | Outcome::Sgi, true) => {
                Outcome::Undefined
            }
            (outcome, _) => outcome,
        }
    }

    /// The ID registers (Op0 3, Op1 0, CRn 0): those that are not known, and those of AArch32, read as 0.
    fn id_register(self) -> Outcome {
        Outcome::Id(match self.name() {
            [.., 4, 0] => IdRegister::Pfr0,
            [.., 4, 1] => IdRegister::Pfr1,
            [.., 5, 0] => IdRegister::Dfr0,
            [.., 6, 0] => IdRegister::Isar0,
            [.., 6, 1] => IdRegister::Isar1,
            [.., 6, 2] => IdRegister::Isar2,
            [.., 7, 0] => IdRegister::Mmfr0,
            [.., 7, 1] => IdRegister::Mmfr1,
            [.., 7, 2] => IdRegister::Mmfr2,
            _ => return Outcome::ReadOnlyZero,
        })
    }

    /// Registers of self-hosted and external debug (Op0 2): there, but without effect. Trace and branch records, which
    /// have Op1 1, are not there.
    fn debug_register(self) -> Outcome {
        match self.name() {
            // OSDTRRX_EL1, MDCCINT_EL1, MDSCR_EL1, OSDTRTX_EL1, OSECCR_EL1
            [_, 0, 0, 0, 2] | [_, 0, 0, 2, 0 | 2] | [_, 0, 0, 3 | 6, 2] => Outcome::Constant(0),
            // DBGBVR<n>_EL1, DBGBCR<n>_EL1, DBGWVR<n>_EL1, DBGWCR<n>_EL1
            [_, 0, 0, n, 4..=7] if n < BREAKPOINTS => Outcome::Constant(0),
            // OSLAR_EL1, OSLSR_EL1
            [_, 0, 1, 0, 4] => Outcome::Ignored,
            [_, 0, 1, 1, 4] => Outcome::Constant(OSLSR),
            // OSDLR_EL1, DBGPRCR_EL1, DBGCLAIMSET_EL1, DBGCLAIMCLR_EL1
            [_, 0, 1, 3 | 4, 4] | [_, 0, 7, 8 | 9, 6] => Outcome::Constant(0),
            // MDRAR_EL1, DBGAUTHSTATUS_EL1, MDCCSR_EL0
            [_, 0, 1, 0, 0] | [_, 0, 7, 14, 6] | [_, 3, 0, 1, 0] => Outcome::ReadOnlyZero,
            // DBGDTR_EL0; DBGDTRRX_EL0 and DBGDTRTX_EL0
            [_, 3, 0, 4 | 5, 0] => Outcome::Constant(0),
            _ => Outcome::Undefined,
        }
    }
}

/// The general register whose value a trapped access writes to one of the registers that make SGIs, if it does: 31 is
/// XZR.
pub(crate) fn written_sgi(syndrome: Syndrome, gic: bool) -> Option<usize> {
    let access = Access(syndrome);
    (access.outcome(gic) == Outcome::Sgi).then(|| access.register())
}

impl<M: WorldSwitch> Corevisor<M> {
    /// Answers the access that the vCPU in `context` was trapped at (D-120).
    pub(super) fn vm_sysreg(&self, context: &mut ShadowContext) -> Next {
        let access = Access(Syndrome(context.esr_el2));
        let value = match access.outcome(self.machine().gic_registers()) {
            Outcome::Constant(value) => value,
            Outcome::Actlr => self.machine().read_actlr_el1(),
            Outcome::Id(register) => self.shown(register),
            Outcome::ReadOnlyZero | Outcome::Ignored => 0,
            Outcome::Sgi => return Next::Host,
            Outcome::Undefined => return self.inject(context, Exception::Undefined),
        };
        if access.is_read()
            && let Some(target) = context.x.get_mut(access.register())
        {
            *target = value;
        }
        self.machine().core_handle_sys64();
        Next::Vm
    }
}

impl<M: CpuFeatures> Corevisor<M> {
    /// What a VM finds in `register`.
    fn shown(&self, register: IdRegister) -> u64 {
        register.shown(self.machine().id_register(register), self.ipa_bits(), self.machine().gic_registers())
    }

    /// What a VM on this CPU reads in the ID register `name`.
    ///
    /// # Errors
    /// [`Refused::Argument`] if it is no ID register, or one that VMs are not trapped at.
    pub fn vm_id_register(&self, name: RegisterName) -> Result<u64, Refused> {
        let access = name.read();
        match (access.outcome(self.machine().gic_registers()), access.name()) {
            (Outcome::Id(register), _) => Ok(self.shown(register)),
            // Of the debug registers (op0 2) some read as 0, too.
            (Outcome::ReadOnlyZero, [3, ..]) => Ok(0),
            _ => Err(Refused::Argument(1)),
        }
    }
}
