// SPDX-License-Identifier: GPL-2.0-only
//! Calls to Corevisor, with an eye on every register.

use corevisor::abi::{self, HOST_CALL_BASE, host_call};

/// The test calls, as `abi::test_call` has them in a library with the feature `semihosting`.
pub mod test_call {
    /// Makes a page of the host a VM's.
    pub const TAKE_PAGE: u32 = 0xC600_1F00;
    /// Gives it back, zeroed.
    pub const GIVE_PAGE: u32 = 0xC600_1F01;
    /// Provokes a fault at EL2.
    pub const CRASH: u32 = 0xC600_1F02;
    /// Has the machine carry out one of its primitives.
    pub const PRIMITIVE: u32 = 0xC600_1F03;
    /// Asks for the owner of a page.
    pub const OWNER: u32 = 0xC600_1F04;

    #[cfg(feature = "semihosting")]
    const _: () = {
        use corevisor::abi::test_call as abi;
        assert!(TAKE_PAGE == abi::TAKE_PAGE && GIVE_PAGE == abi::GIVE_PAGE && CRASH == abi::CRASH);
        assert!(PRIMITIVE == abi::PRIMITIVE && OWNER == abi::OWNER);
    };
}

/// Arguments of [`test_call::PRIMITIVE`], as `abi::primitive` has them.
pub mod primitive {
    pub const SHARED_LOAD: u64 = 0;
    pub const SHARED_STORE: u64 = 1;
    pub const CLEAR_PHYS_PAGE: u64 = 2;
    pub const FETCH_FROM_DORACLE: u64 = 3;
    pub const COPY_PAGE: u64 = 4;
    pub const MMIO_READ_WORD: u64 = 5;
    pub const MMIO_READ_DOUBLE: u64 = 6;
    pub const MMIO_WRITE_WORD: u64 = 7;
    pub const MMIO_WRITE_DOUBLE: u64 = 8;
    pub const ENTROPY: u64 = 9;

    #[cfg(feature = "semihosting")]
    const _: () = {
        use corevisor::abi::primitive as abi;
        assert!(SHARED_LOAD == abi::SHARED_LOAD && SHARED_STORE == abi::SHARED_STORE);
        assert!(CLEAR_PHYS_PAGE == abi::CLEAR_PHYS_PAGE && FETCH_FROM_DORACLE == abi::FETCH_FROM_DORACLE);
        assert!(COPY_PAGE == abi::COPY_PAGE && ENTROPY == abi::ENTROPY);
        assert!(MMIO_READ_WORD == abi::MMIO_READ_WORD && MMIO_READ_DOUBLE == abi::MMIO_READ_DOUBLE);
        assert!(MMIO_WRITE_WORD == abi::MMIO_WRITE_WORD && MMIO_WRITE_DOUBLE == abi::MMIO_WRITE_DOUBLE);
    };
}

/// Numbers of PSCI (Arm DEN0022).
pub mod psci {
    pub const VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
    pub const CPU_SUSPEND_64: u32 = 0xC400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON_32: u32 = 0x8400_0003;
    pub const CPU_ON_64: u32 = 0xC400_0003;
    pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
    pub const AFFINITY_INFO_64: u32 = 0xC400_0004;
    pub const MIGRATE: u32 = 0x8400_0005;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const FEATURES: u32 = 0x8400_000A;
    pub const SYSTEM_SUSPEND_64: u32 = 0xC400_000E;
    pub const SUCCESS: i64 = 0;
    pub const NOT_SUPPORTED: i64 = -1;
    pub const INVALID_PARAMETERS: i64 = -2;
    pub const DENIED: i64 = -3;
    pub const ALREADY_ON: i64 = -4;
    pub const ON_PENDING: i64 = -5;
    pub const INVALID_ADDRESS: i64 = -9;
    /// Of AFFINITY_INFO.
    pub const ON: i64 = 0;
    /// Of AFFINITY_INFO.
    pub const OFF: i64 = 1;
}

/// x0 to x30.
pub type Registers = [u64; 31];

/// The instruction that makes the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    Hvc,
    Smc,
    Hvc1,
    Smc1,
    HvcFfff,
    SmcFfff,
}

/// The conduits that calls come by.
pub const CONDUITS: [Conduit; 2] = [Conduit::Hvc, Conduit::Smc];

unsafe extern "C" {
    fn call_hvc0(registers: &mut Registers) -> u64;
    fn call_smc0(registers: &mut Registers) -> u64;
    fn call_hvc1(registers: &mut Registers) -> u64;
    fn call_smc1(registers: &mut Registers) -> u64;
    fn call_hvc_ffff(registers: &mut Registers) -> u64;
    fn call_smc_ffff(registers: &mut Registers) -> u64;
}

/// A call with these registers; afterwards they are what it left there. The flags must survive.
pub fn raw(conduit: Conduit, registers: &mut Registers) {
    const FLAGS: u64 = 0x6 << 28;
    let call = match conduit {
        Conduit::Hvc => call_hvc0,
        Conduit::Smc => call_smc0,
        Conduit::Hvc1 => call_hvc1,
        Conduit::Smc1 => call_smc1,
        Conduit::HvcFfff => call_hvc_ffff,
        Conduit::SmcFfff => call_smc_ffff,
    };
    // SAFETY: keeps what the procedure call standard wants kept; Corevisor does not touch the payload's memory.
    let flags = unsafe { call(registers) };
    assert_eq!(flags, FLAGS, "NZCV after a call");
}

/// A value for register `n` that nothing returns by chance.
fn canary(n: usize) -> u64 {
    0xCA7A_5100_0000_0000 | (n as u64) << 32 | 0x5EED_0000 | n as u64
}

/// A call with `id` in x0 and `args` from x1 on, and canaries in all other registers. Of what comes back, x0 to
/// x(`results` - 1) are results; all other registers must be unchanged.
pub fn with_canaries(conduit: Conduit, id: u64, args: &[u64], results: usize) -> Registers {
    let mut registers: Registers = core::array::from_fn(canary);
    registers[0] = id;
    registers[1..=args.len()].copy_from_slice(args);
    let before = registers;
    raw(conduit, &mut registers);
    for n in results..registers.len() {
        assert_eq!(registers[n], before[n], "x{n} after call {id:#x}");
    }
    registers
}

/// A call that returns nothing but x0.
pub fn simple(conduit: Conduit, id: u64, args: &[u64]) -> i64 {
    with_canaries(conduit, id, args, 1)[0] as i64
}

/// A call by HVC that returns nothing but x0.
pub fn hvc(id: u32, args: &[u64]) -> i64 {
    simple(Conduit::Hvc, id.into(), args)
}

/// A PSCI call, by SMC.
pub fn psci(id: u32, args: [u64; 3]) -> i64 {
    simple(Conduit::Smc, id.into(), &args)
}

/// Host call `number`.
pub fn host(number: u32, args: &[u64]) -> i64 {
    hvc(HOST_CALL_BASE + number, args)
}

/// The value of a counter. Counts as one SMC, so that HVCs can be counted.
pub fn stat(counter: u64) -> u64 {
    let id = HOST_CALL_BASE + host_call::STATS;
    let [error, value, ..] = with_canaries(Conduit::Smc, id.into(), &[counter], 2);
    assert_eq!(error, 0, "STATS {counter}");
    value
}

/// That Corevisor still serves calls.
pub fn still_alive() {
    for conduit in CONDUITS {
        let id = HOST_CALL_BASE + host_call::VERSION;
        assert_eq!(simple(conduit, id.into(), &[]), abi::VERSION.into(), "VERSION by {conduit:?}");
    }
}

/// What LOG_READ returns for `position`: the position of the first byte, and the bytes.
pub fn log_read(position: u64) -> (u64, [u8; abi::LOG_READ_MAX], usize) {
    let id = HOST_CALL_BASE + host_call::LOG_READ;
    let registers = with_canaries(Conduit::Hvc, id.into(), &[position], 18);
    let mut bytes = [0; abi::LOG_READ_MAX];
    for (chunk, register) in bytes.chunks_mut(8).zip(&registers[2..18]) {
        chunk.copy_from_slice(&register.to_le_bytes());
    }
    let length = registers[0] as usize;
    assert!(length <= abi::LOG_READ_MAX, "LOG_READ returned {length}");
    (registers[1], bytes, length)
}
