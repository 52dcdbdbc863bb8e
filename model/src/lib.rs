// SPDX-License-Identifier: GPL-2.0-only
//! The specification of KCore as executable Rust.
//!
//! One module per layer, one function per specification function, under the specification's names. Each takes the
//! state ([`RData`]) and gives its result, or `None` where the specification gives none (a broken `rely`); after `None`
//! the state is to be thrown away. The high specifications stand at the top of each module, the low ones (`_spec0`:
//! the same function as calls into the layer below) in its `low` submodule. Oddities are kept to the letter and marked
//! with their difference number, D-nn.
//!
//! Nothing of this is ever linked into the firmware. See `README.md` for the replay of test vectors.

pub mod abstract_machine;
pub mod boot_aux;
pub mod boot_core;
pub mod boot_ops;
pub mod constants;
pub mod ctxt_switch;
pub mod explore;
pub mod fault_handler;
pub mod history;
pub mod invariants;
pub mod library;
pub mod lock_ops;
pub mod locks;
pub mod mem_handler;
pub mod mem_manager;
pub mod mem_region;
pub mod memory_ops;
pub mod mmio_core;
pub mod mmio_core_aux;
pub mod mmio_ops;
pub mod mmio_ops_aux;
pub mod mmio_pt_alloc;
pub mod mmio_pt_walk;
pub mod mmio_raw;
pub mod mmio_spt_ops;
pub mod mmio_spt_walk;
pub mod npt_ops;
pub mod npt_walk;
pub mod observe;
pub mod oracle;
pub mod page_index;
pub mod page_manager;
pub mod page_table;
pub mod pt_alloc;
pub mod pt_walk;
pub mod rdata;
pub mod registers;
pub mod replay;
pub mod trap_dispatcher;
pub mod trap_handler;
pub mod trap_handler_raw;
pub mod vcpu_ops;
pub mod vcpu_ops_aux;
pub mod vm_power;

pub use rdata::RData;

/// What a specification function gives: its result, or nothing where the specification is undefined.
pub type Spec<T = ()> = Option<T>;

/// The specification's `rely`: no result unless `assumption` holds.
#[inline]
pub fn rely(assumption: bool) -> Spec {
    assumption.then_some(())
}
