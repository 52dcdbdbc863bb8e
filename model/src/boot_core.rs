// SPDX-License-Identifier: GPL-2.0-only
//! Layer: BootCore.

use crate::constants::model_only::REMAP_END;
use crate::constants::{COREVISOR, PAGE_SIZE, is_addr, is_gfn, is_vmid};
use crate::rdata::RData;
use crate::rdata::lock_id::CORE;
use crate::{Spec, rely};

/// Spec: BC-1 (high).
pub fn gen_vmid(d: &mut RData) -> Spec<u32> {
    if d.halt {
        return Some(0);
    }
    d.enter(CORE)?;
    let vmid = d.core_data.next_vmid;
    rely(is_vmid(vmid))?;
    if vmid >= COREVISOR {
        d.halt_in_section();
        return Some(0);
    }
    d.core_data.next_vmid = vmid + 1;
    d.leave(CORE)?;
    Some(vmid)
}

/// Spec: BC-2 (high). The end of the window is strict.
pub fn alloc_remap_addr(d: &mut RData, pgnum: u64) -> Spec<u64> {
    rely(is_gfn(pgnum))?;
    if d.halt {
        return Some(0);
    }
    d.enter(CORE)?;
    let remap = d.core_data.next_remap_ptr;
    rely(is_addr(remap))?;
    if remap + pgnum * PAGE_SIZE >= REMAP_END {
        d.halt_in_section();
        return Some(0);
    }
    d.core_data.next_remap_ptr = remap + pgnum * PAGE_SIZE;
    d.leave(CORE)?;
    Some(remap)
}

/// The same as calls into the layer below.
pub mod low {
    use super::{COREVISOR, PAGE_SIZE, RData, REMAP_END, Spec, is_addr, is_gfn, is_vmid, rely};
    use crate::abstract_machine::{
        check, check64, get_next_remap_ptr, get_next_vmid, panic, set_next_remap_ptr, set_next_vmid,
    };
    use crate::locks::{acquire_lock_core, release_lock_core};

    /// Spec: BC-1 (low).
    pub fn gen_vmid(d: &mut RData) -> Spec<u32> {
        acquire_lock_core(d)?;
        let vmid = get_next_vmid(d)?;
        rely(is_vmid(vmid))?;
        if vmid < COREVISOR {
            set_next_vmid(d, vmid + 1)?;
        } else {
            panic(d)?;
        }
        release_lock_core(d)?;
        check(d, vmid)
    }

    /// Spec: BC-2 (low).
    pub fn alloc_remap_addr(d: &mut RData, pgnum: u64) -> Spec<u64> {
        rely(is_gfn(pgnum))?;
        acquire_lock_core(d)?;
        let remap = get_next_remap_ptr(d)?;
        rely(is_addr(remap))?;
        if remap + pgnum * PAGE_SIZE < REMAP_END {
            set_next_remap_ptr(d, remap + pgnum * PAGE_SIZE)?;
        } else {
            panic(d)?;
        }
        release_lock_core(d)?;
        check64(d, remap)
    }
}
