// SPDX-License-Identifier: GPL-2.0-only
//! What the host's traps do: layers FaultHandler and TrapDispatcher (`spec/layers/09-traps.md`), the calls that
//! SMCCC and PSCI define, and the exceptions that Corevisor delivers back.

mod fault_handler;
mod host_call;
mod id_registers;
pub mod inject;
mod log_read;
mod psci;
mod pvops;
mod smccc;
mod syndrome;
mod sysreg;
#[cfg(test)]
mod tests;
mod trap_dispatcher;
mod trap_handler;
mod trap_handler_raw;
mod vm_call;
mod vm_exit;
mod vm_psci;
mod vm_sysreg;

pub use fault_handler::{HostAbort, Verdict, hpfar_ipa};
pub use host_call::HostCall;
pub use id_registers::IdRegister;
pub use log_read::LogSource;
pub use psci::{CpuState, Firmware, HostCpus};
pub use pvops::Pvops;
pub use smccc::Conduit;
pub(crate) use smccc::SVE_HINT;
pub use syndrome::{Class, Syndrome};
pub use sysreg::SysregAnswer;
pub use trap_handler::HostAction;
pub use trap_handler_raw::Exit;
pub use vm_call::MAX_MMIO_ADDR;
pub use vm_sysreg::RegisterName;
pub(crate) use vm_sysreg::written_sgi;

/// x0 to x30.
pub type Registers = [u64; 31];
