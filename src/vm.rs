// SPDX-License-Identifier: GPL-2.0-only
//! Virtual machines: layers VMPower, BootCore, BootAux, BootOps (`spec/layers/06-boot.md`).

mod boot_aux;
mod boot_core;
mod boot_ops;
pub mod measure;
mod record;
mod sealer;
#[cfg(test)]
mod tests;
mod vm_power;

pub use record::{
    CoreData, Generation, Image, MAX_LOAD_INFO_NUM, Manifest, Measurement, Power, Resumed, Signature, Teardown, Turn,
    VcpuInfo, VcpuState, VmFlags, VmInfo, VmState,
};
pub use sealer::{SavedPage, Seal, Sealer};
