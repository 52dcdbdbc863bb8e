// SPDX-License-Identifier: GPL-2.0-only
//! Virtual CPUs: layers VCPUOpsAux, VCPUOps, CtxtSwitch (`spec/layers/08-vcpu.md`).

mod context;
#[cfg(test)]
mod tests;

pub use context::{CONTEXT_COUNT, ContextLock, Fp, ShadowContext, Sys, SysRegs, Unfinished};
