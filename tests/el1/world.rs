// SPDX-License-Identifier: GPL-2.0-only
//! A host that runs VMs: memory for them, a vCPU's exits and what they ask for, a GIC, and a scheduler that has any CPU
//! run any vCPU.
//!
//! What the VMs run is tests/guest: one image with many programs. A test names one, and looks at what came of it:
//!
//! ```text
//! let vm = Setup::new("compute").arguments(&[1000]).start();
//! scheduler::run(&[vm], 2);               // on two CPUs, until the VM is off
//! assert_eq!(vm.finished(), 0);
//! assert_eq!(vm.result(0), 168);
//! vm.destroy();
//! ```
//!
//! A test that wants each exit in its hands uses [`Vm::enter`], which runs a vCPU on this CPU until its next exit, and
//! [`Vm::serve`], which does what a host does about it; [`Vm::set_hook`] puts a function behind a few device registers.
//! A new program goes to `tests/guest/src/programs/`; a new payload of tests to `Cargo.toml` and, with the machines it
//! runs on, to `MACHINES` and `VM_HOSTS` in tools/qemu-runner. `make guest` builds the image.

#![allow(dead_code, reason = "each payload uses a part of it")]

pub mod bundle;
pub mod exit;
pub mod gic;
pub mod memory;
#[path = "../guest/src/protocol.rs"]
pub mod protocol;
pub mod scheduler;
pub mod serve;
pub mod setup;
pub mod vcpu;
pub mod vm;

#[allow(unused_imports, reason = "as above")]
pub use exit::Exit;
#[allow(unused_imports, reason = "as above")]
pub use setup::{Kind, Setup};
#[allow(unused_imports, reason = "as above")]
pub use vm::Vm;

/// Bytes of a block.
pub const BLOCK: u64 = 2 << 20;
