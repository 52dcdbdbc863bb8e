// SPDX-License-Identifier: GPL-2.0-only
//! vCPUs, from the shadow context to the simulated CPU's registers.

mod context;
mod states;

use crate::addr::{VcpuId, Vmid};
use crate::lock::Held;
use crate::vm::VmInfo;
use crate::world::Core;

fn vm(id: u64) -> Vmid {
    Vmid::new_vm(id).unwrap()
}

fn vcpu(id: u64) -> VcpuId {
    VcpuId::new(id).unwrap()
}

/// Looks at, or changes, the record of `v`.
fn record<R>(core: &Core, v: Vmid, f: impl FnOnce(&mut VmInfo) -> R) -> R {
    f(&mut core.acquire_lock_vm(v, &mut Held::nothing()).0)
}
