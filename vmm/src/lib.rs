// SPDX-License-Identifier: GPL-2.0-only
//! `corevisor-vm`: runs virtual machines under Corevisor, by the KVM API, and shows what Corevisor says of its machine.
//!
//! What a guest finds ([`layout`], [`fdt`], [`guest`]) and how it is signed and measured is the same on every machine, so
//! that the owner of a protected guest need not ask the host that runs it. [`machine`] and [`vcpu`] drive KVM, on AArch64
//! only; [`bus`], [`serial`] and [`virtio`] are the guest's devices.

pub mod arguments;
pub mod bus;
pub mod driver;
pub mod fdt;
pub mod guest;
pub mod kernel;
pub mod layout;
#[cfg(target_arch = "aarch64")]
pub mod machine;
pub mod map;
pub mod owners;
pub mod ram;
#[cfg(target_arch = "aarch64")]
pub mod run;
pub mod serial;
pub mod status;
pub mod terminal;
#[cfg(target_arch = "aarch64")]
pub mod vcpu;
pub mod virtio;

pub use corevisor_sign::Problem;
