// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootOps (`spec/layers/06-boot.md` §6.4).

mod images;
mod io;
mod smmu;
mod vcpu;
