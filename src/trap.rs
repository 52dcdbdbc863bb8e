// SPDX-License-Identifier: GPL-2.0-only
//! What the host's traps do: layers FaultHandler and TrapDispatcher (`spec/layers/09-traps.md`), the calls that
//! SMCCC and PSCI define, and the exceptions that Corevisor delivers back.

mod fault_handler;
mod host_call;
pub mod inject;
mod log_read;
mod psci;
mod smccc;
mod syndrome;
mod sysreg;
#[cfg(test)]
mod tests;
mod trap_dispatcher;

pub use fault_handler::{HostAbort, Verdict};
pub use host_call::HostCall;
pub use log_read::LogSource;
pub use psci::{CpuState, Firmware, HostCpus};
pub use smccc::Conduit;
pub use syndrome::{Class, DataAccess, Syndrome};
pub use sysreg::SysregAnswer;

/// The host's x0 to x30 as the vectors saved them: its shadow context (AM-99 `host_to_core`, AM-101 `core_to_host`).
pub type Registers = [u64; 31];
