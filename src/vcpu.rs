// SPDX-License-Identifier: GPL-2.0-only
//! Virtual CPUs: layers VCPUOpsAux, VCPUOps, CtxtSwitch (`spec/layers/08-vcpu.md`).

mod context;
mod ctxt_switch;
#[cfg(feature = "sim")]
mod inspect;
mod run_page;
#[cfg(test)]
mod tests;
mod vcpu_ops;
mod vcpu_ops_aux;
pub mod vgic;

pub use context::{CONTEXT_COUNT, ContextLock, Fp, PointerKeys, ShadowContext, Sys, SysRegs, Unfinished, VirtualTimer};
pub use ctxt_switch::Next;
#[cfg(feature = "sim")]
pub use inspect::Auxiliary;
