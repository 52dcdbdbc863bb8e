// SPDX-License-Identifier: GPL-2.0-only
//! How a VM is made.

use super::bundle::{self, Image};
use super::protocol::VCPUS;
use super::protocol::desk::ARGUMENT_COUNT;
use super::vm::Vm;

/// What vouches for the VM's images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A signature.
    Signed,
    /// Nothing: REGISTER_KVM's UNSIGNED.
    Unsigned,
    /// Nothing, and the host has access to all pages: REGISTER_KVM's SHARED.
    Shared,
}

/// A VM to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub program: &'static str,
    pub arguments: [u64; ARGUMENT_COUNT],
    pub vcpus: usize,
    pub kind: Kind,
    /// What its lines on the console begin with.
    pub name: &'static str,
    /// Whether its console is kept to itself.
    pub quiet: bool,
    pub image: Image,
}

impl Setup {
    /// An unsigned VM with one vCPU that runs `program`.
    pub fn new(program: &'static str) -> Self {
        let arguments = [0; ARGUMENT_COUNT];
        let image = bundle::image("guest");
        Self { program, arguments, vcpus: 1, kind: Kind::Unsigned, name: "VM", quiet: false, image }
    }

    /// With these arguments, and zeros.
    pub fn arguments(mut self, arguments: &[u64]) -> Self {
        self.arguments[..arguments.len()].copy_from_slice(arguments);
        self
    }

    /// With so many vCPUs.
    pub fn vcpus(mut self, vcpus: usize) -> Self {
        assert!((1..=VCPUS).contains(&vcpus));
        self.vcpus = vcpus;
        self
    }

    /// Of this kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// With this name on the console.
    pub fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Without output.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Makes it: verified, its boot vCPU ready to run.
    pub fn start(self) -> &'static Vm {
        Vm::make(&self)
    }
}
