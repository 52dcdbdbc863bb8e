// SPDX-License-Identifier: GPL-2.0-only
//! Virtual machines: layers VMPower, BootCore, BootAux, BootOps (`spec/layers/06-boot.md`).

mod boot_ops;
mod record;
mod vm_power;

pub use record::{CoreData, Image, MAX_LOAD_INFO_NUM, VcpuInfo, VcpuState, VmInfo, VmState};
