// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootOps (`spec/layers/06-boot.md` §6.4): the life of a VM, from its registration to its destruction, and its
//! consent to what happens to it in between.

mod create;
mod crypt;
mod destroy;
mod images;
mod io;
mod saved_vcpu;
mod smmu;
mod vcpu;
mod verify;
