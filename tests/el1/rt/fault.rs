// SPDX-License-Identifier: GPL-2.0-only
//! Accesses that may fault, and what the fault must look like.

use super::cpu::{self, Cpu};
use super::{EL0, machine::read};
use core::sync::atomic::Ordering;

/// ESR_ELx.IL.
pub const IL: u64 = 1 << 25;
/// ESR_ELx.ISS.WnR of a data abort.
pub const WNR: u64 = 1 << 6;
/// Fault status: synchronous external abort.
pub const EXTERNAL: u64 = 0x10;

/// An exception as EL1 saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub vector: Vector,
    pub esr: u64,
    pub far: u64,
    pub elr: u64,
    pub spsr: u64,
    /// PSTATE in the vector.
    pub state: u64,
    /// PSTATE before.
    pub before: u64,
    /// The instruction that was to fault.
    pub expected_pc: u64,
    /// x0 at the exception.
    pub x0: u64,
}

/// Synchronous exceptions' vectors, by their offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vector {
    El1t,
    El1h,
    El0,
    El0A32,
    Other(u64),
}

impl Fault {
    /// The last one of this CPU.
    fn last(cpu: &Cpu) -> Self {
        let get = |field: &core::sync::atomic::AtomicU64| field.load(Ordering::Relaxed);
        let vector = match get(&cpu.vector) {
            0 => Vector::El1t,
            4 => Vector::El1h,
            8 => Vector::El0,
            12 => Vector::El0A32,
            n => Vector::Other(n),
        };
        Self {
            vector,
            esr: get(&cpu.esr),
            far: get(&cpu.far),
            elr: get(&cpu.elr),
            spsr: get(&cpu.spsr),
            state: get(&cpu.state),
            before: get(&cpu.before),
            expected_pc: get(&cpu.expected_pc),
            x0: get(&cpu.x[0]),
        }
    }

    /// ESR_ELx.EC.
    pub fn class(&self) -> u64 {
        self.esr >> 26
    }
}

/// What came of an access: a value, or a fault.
pub type Outcome = Result<u64, Fault>;

#[repr(C)]
struct Raw {
    value: u64,
    faulted: u64,
}

type Probe = unsafe extern "C" fn(address: u64, value: u64) -> Raw;

macro_rules! probes {
    ($($name:ident = $symbol:ident),* $(,)?) => {
        unsafe extern "C" {
            $(fn $symbol(address: u64, value: u64) -> Raw;)*
        }
        /// A single access by EL1, at a virtual address.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Access { $($name),* }
        impl Access {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];
            fn probe(self) -> Probe {
                match self { $(Self::$name => $symbol),* }
            }
        }
    };
}

probes!(
    Read = probe_read,
    Read8 = probe_read8,
    Read16 = probe_read16,
    Read32 = probe_read32,
    ReadPair = probe_read_pair,
    ReadPost = probe_read_post,
    ReadExclusive = probe_read_exclusive,
    ReadAcquire = probe_read_acquire,
    ReadEl1t = probe_read_el1t,
    Write = probe_write,
    Write8 = probe_write8,
    Write32 = probe_write32,
    WritePair = probe_write_pair,
    WritePost = probe_write_post,
    WriteRelease = probe_write_release,
    Zero = probe_zero,
    Branch = probe_branch,
    UnmappedRead = probe_unmapped_read,
    UnmappedWrite = probe_unmapped_write,
    UnmappedBranch = probe_unmapped_branch,
);

unsafe extern "C" {
    fn run_el0(entry: u64, x0: u64, x1: u64);
    fn run_el0_aarch32(entry: u64, r0: u64, r1: u64, thumb: u64);
    fn probe_read_unprivileged(address: u64, value: u64) -> Raw;
    fn el0_read();
    fn el0_write();
    fn el0_branch();
    fn probe_with_pstate(address: u64, bits: u64, undefined: u64) -> Raw;
    fn probe_code(code: u64, x0: u64, x1: u64) -> Raw;
}

impl Access {
    /// ESR_ELx.ISS bits besides the fault status that the access's aborts have.
    fn iss(self) -> u64 {
        match self {
            Self::Write | Self::Write8 | Self::Write32 | Self::WritePair | Self::WritePost => WNR,
            Self::WriteRelease | Self::Zero | Self::UnmappedWrite => WNR,
            _ => 0,
        }
    }

    /// Whether it is an instruction fetch.
    pub fn is_fetch(self) -> bool {
        matches!(self, Self::Branch | Self::UnmappedBranch)
    }
}

fn outcome(raw: &Raw) -> Outcome {
    if raw.faulted == 0 { Ok(raw.value) } else { Err(Fault::last(cpu::this())) }
}

/// Makes `access` at `address`; writes write `value`.
///
/// Branches must lead to memory that can't be executed, or to a `ret`.
pub fn access(access: Access, address: u64, value: u64) -> Outcome {
    // SAFETY: a fault is caught; that the memory may be written is for the test to know.
    outcome(&unsafe { access.probe()(address, value) })
}

/// Reads 8 bytes.
pub fn read(address: u64) -> Outcome {
    access(Access::Read, address, 0)
}

/// Writes 8 bytes.
pub fn write(address: u64, value: u64) -> Outcome {
    access(Access::Write, address, value)
}

/// Reads `address` with the optional bits of PSTATE set as in `bits`.
pub fn read_with_pstate(address: u64, bits: u64) -> Outcome {
    // SAFETY: one read, and a fault is caught.
    outcome(&unsafe { probe_with_pstate(address, bits, 0) })
}

/// An undefined instruction with the optional bits of PSTATE set as in `bits`.
pub fn undefined_with_pstate(bits: u64) -> Fault {
    // SAFETY: the fault is caught.
    match outcome(&unsafe { probe_with_pstate(0, bits, 1) }) {
        Err(fault) => fault,
        Ok(_) => panic!("udf went through"),
    }
}

/// Calls `code`, whose first instruction may fault, with these arguments; its result. It ends by `ret`, and keeps x9, x13
/// and the stack.
pub fn run_at_el1(code: u64, x0: u64, x1: u64) -> Outcome {
    // SAFETY: as above.
    outcome(&unsafe { probe_code(code, x0, x1) })
}

/// Runs `code` (an address of EL1) at EL0 until its first exception. If that is `svc #0`, it went well, and x0 is the
/// result.
pub fn run_at_el0(code: u64, x0: u64, x1: u64) -> Outcome {
    const SVC_0: u64 = (0x15 << 26) | IL;
    // SAFETY: EL0 code touches what it is told to, and every exception brings us back.
    unsafe { run_el0(EL0 + code, x0, x1) };
    let fault = Fault::last(cpu::this());
    if fault.esr == SVC_0 && fault.vector == Vector::El0 { Ok(fault.x0) } else { Err(fault) }
}

/// Runs `code` at EL0 in AArch32 state, with the MMU off, until its first exception; `thumb` is that bit of its SPSR.
pub fn run_aarch32(code: u64, thumb: u64, r0: u64, r1: u64) -> Fault {
    // SAFETY: as above.
    unsafe { run_el0_aarch32(code, r0, r1, thumb) };
    Fault::last(cpu::this())
}

/// Reads 8 bytes at EL0. `address` is a virtual one.
pub fn read_el0(address: u64) -> Outcome {
    run_at_el0(el0_read as *const () as u64, address, 0)
}

/// Writes 8 bytes at EL0.
pub fn write_el0(address: u64, value: u64) -> Outcome {
    run_at_el0(el0_write as *const () as u64, address, value)
}

/// Executes the instruction at `address` at EL0, which must not be a valid one.
pub fn branch_el0(address: u64) -> Outcome {
    run_at_el0(el0_branch as *const () as u64, address, 0)
}

/// Checks that PSTATE in the vector is what an exception makes of PSTATE before.
fn check_state(fault: &Fault) {
    const EL1H_MASKED: u64 = 0x3C5;
    assert_eq!(fault.state & 0x3CF, EL1H_MASKED, "EL and masks in the vector");
    assert_eq!(fault.spsr, fault.before, "SPSR_EL1");
}

/// Checks that `access` at EL1 at the virtual address `address` is refused with a synchronous external abort.
pub fn assert_refused(kind: Access, address: u64) {
    assert_refused_at(kind, address, address);
}

/// The same for an access that begins at `address` and fails at `far`.
pub fn assert_refused_at(kind: Access, address: u64, far: u64) {
    let vector = if kind == Access::ReadEl1t { Vector::El1t } else { Vector::El1h };
    let class = if kind.is_fetch() { 0x21 } else { 0x25 };
    let result = access(kind, address, 0xBAD0_BAD0_BAD0_BAD0);
    check_refused(&result, vector, (class << 26) | kind.iss(), far);
    if let Err(fault) = result {
        let pc = if kind.is_fetch() { address } else { fault.expected_pc };
        assert_eq!(fault.elr, pc, "{kind:?} at {address:#x}: {fault:x?}");
        assert_eq!(fault.x0, address, "x0 after {kind:?}: no write-back, no load");
    }
}

/// The same for an LDTR at EL1, an access with EL0's rights, to what EL0 has at the physical address `address`.
pub fn assert_refused_unprivileged(address: u64) {
    // SAFETY: a load, and a fault is caught.
    let result = outcome(&unsafe { probe_read_unprivileged(EL0 + address, 0) });
    check_refused(&result, Vector::El1h, 0x25 << 26, EL0 + address);
}

fn check_refused(result: &Outcome, vector: Vector, esr: u64, far: u64) {
    let Err(fault) = result else { panic!("an access to {far:#x}: {result:x?}") };
    assert_eq!(fault.esr, esr | IL | EXTERNAL, "{fault:x?}");
    assert_eq!(fault.far, far, "{fault:x?}");
    assert_eq!(fault.vector, vector, "{fault:x?}");
    check_state(fault);
}

/// Checks that reading, writing and executing the physical address `address` at EL0 are refused likewise.
pub fn assert_refused_el0(address: u64) {
    let address = EL0 + address;
    let read = (read_el0(address), el0_read as *const () as u64, 0x24 << 26);
    let write = (write_el0(address, 0xBAD0_BAD0_BAD0_BAD0), el0_write as *const () as u64, (0x24 << 26) | WNR);
    let branch = (branch_el0(address), address - EL0, 0x20 << 26);
    for (result, pc, esr) in [read, write, branch] {
        check_refused(&result, Vector::El0, esr, address);
        if let Err(fault) = result {
            assert_eq!((fault.elr, fault.x0), (EL0 + pc, address), "{fault:x?}");
        }
    }
}

/// Checks that `fault` is an undefined instruction at `pc`, of EL1 or EL0.
pub fn assert_undefined(fault: &Fault, what: &str, vector: Vector) {
    assert_eq!(fault.esr, IL, "{what}: {fault:x?}");
    assert_eq!(fault.elr, fault.expected_pc, "{what}: {fault:x?}");
    assert_eq!(fault.vector, vector, "{what}: {fault:x?}");
    check_state(fault);
}

/// Called by rt/vectors.S for an exception that nobody expected.
pub extern "C" fn unexpected() -> ! {
    let fault = Fault::last(cpu::this());
    panic!("unexpected exception on CPU {} (sp_el0 {:#x}): {fault:#x?}", cpu::index(), read!("sp_el0"));
}
