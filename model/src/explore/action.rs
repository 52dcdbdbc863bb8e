// SPDX-License-Identifier: GPL-2.0-only
//! What host, VMs and devices can make a machine do.

use crate::constants::hvc;

/// A bank: context bank and SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bank {
    /// Context bank.
    pub cbndx: u32,
    /// SMMU.
    pub index: u32,
}

/// The host's answer to a VM's page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Guest address.
    pub addr: u64,
    /// Descriptor: the page.
    pub pte: u64,
    /// 2: block, else: page.
    pub level: u64,
}

/// One step. Every register and every value from outside that decides what a step does is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// TH-1: a host call, with x0 to x5.
    Call {
        /// x0 to x5.
        x: [u64; 6],
    },
    /// TH-2: the host faulted, with these in the fault registers.
    Fault {
        /// HPFAR_EL2.
        hpfar: u64,
        /// FAR_EL2.
        far: u64,
        /// ESR_EL2.
        esr: u64,
        /// What the host's register holds that the syndrome names.
        data: u64,
    },
    /// MM-1: TH-2 for memory, with the address as hardware gives it (D-54: the letter's reach ends at 16 MiB).
    Touch {
        /// Physical address.
        addr: u64,
    },
    /// IO-4: the first half of call 20, another CPU's steps may come between the two.
    Assign {
        /// The bank.
        bank: Bank,
        /// Page.
        pfn: u64,
        /// Io page.
        gfn: u64,
    },
    /// IO-5: the second half of call 20.
    Map {
        /// The bank.
        bank: Bank,
        /// Io address.
        iova: u64,
        /// Descriptor.
        pte: u64,
    },
    /// TH-3: the host runs a vCPU.
    Run {
        /// VM.
        vmid: u64,
        /// vCPU.
        vcpuid: u64,
        /// Where a vCPU that never ran is to start.
        pc: u64,
        /// What the host maps for it.
        offer: Option<Offer>,
    },
    /// TH-4: a VM exits.
    Exit {
        /// Exit code.
        ec: u64,
        /// ESR_EL2.
        esr: u64,
        /// HPFAR_EL2.
        hpfar: u64,
        /// x0 to x3.
        x: [u64; 4],
    },
    /// TH-5: who runs reads a page into a register.
    Load {
        /// Guest page.
        gfn: u64,
        /// Register.
        reg: u32,
    },
    /// TH-6: who runs writes a page.
    Store {
        /// Guest page.
        gfn: u64,
        /// Register.
        reg: u32,
    },
    /// TH-7: a device of who runs reads a page into a register.
    DevLoad {
        /// The device's bank.
        bank: Bank,
        /// Io page.
        gfn: u64,
        /// Register.
        reg: u32,
    },
    /// TH-8: a device of who runs writes a page.
    DevStore {
        /// The device's bank.
        bank: Bank,
        /// Io page.
        gfn: u64,
        /// Register.
        reg: u32,
    },
    /// Call 27 with what call 26 returned before. The library only: the specification's call knows of nothing to return.
    Unseal {
        /// VM.
        vmid: u64,
        /// Page.
        pfn: u64,
        /// Which of all that was saved: 0 is the latest, 1 what was saved before.
        envelope: usize,
    },
    /// The other CPU goes on.
    Switch,
}

/// A host call.
pub fn call(number: u64, args: &[u64]) -> Action {
    let mut x = [0; 6];
    x[0] = number;
    x[1..=args.len()].copy_from_slice(args);
    Action::Call { x }
}

impl Action {
    /// The transition's name in reports: the specification's function, and for a host call its number.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Call { x } => match x[0] {
                hvc::TIMER_SET_CNTVOFF => "call 13 TIMER_SET_CNTVOFF",
                hvc::CLEAR_VM_S2_RANGE => "call 14 CLEAR_VM_S2_RANGE",
                hvc::SET_BOOT_INFO => "call 15 SET_BOOT_INFO",
                hvc::REMAP_VM_IMAGE => "call 16 REMAP_VM_IMAGE",
                hvc::VERIFY_VM_IMAGES => "call 17 VERIFY_VM_IMAGES",
                hvc::SMMU_FREE_PGD => "call 18 SMMU_FREE_PGD",
                hvc::SMMU_ALLOC_PGD => "call 19 SMMU_ALLOC_PGD",
                hvc::SMMU_LPAE_MAP => "call 20 SMMU_LPAE_MAP",
                hvc::SMMU_LPAE_IOVA_TO_PHYS => "call 21 SMMU_LPAE_IOVA_TO_PHYS",
                hvc::SMMU_CLEAR => "call 22 SMMU_CLEAR",
                hvc::PHYS_ADDR_IOREMAP => "call 23 PHYS_ADDR_IOREMAP",
                hvc::REGISTER_KVM => "call 24 REGISTER_KVM",
                hvc::REGISTER_VCPU => "call 25 REGISTER_VCPU",
                hvc::ENCRYPT_BUF => "call 26 ENCRYPT_BUF",
                hvc::DECRYPT_BUF => "call 27 DECRYPT_BUF",
                hvc::SAVE_CRYPT_VCPU => "call 28 SAVE_CRYPT_VCPU",
                hvc::LOAD_CRYPT_VCPU => "call 29 LOAD_CRYPT_VCPU",
                34 => "call 34 DESTROY_VM",
                _ => "unknown call",
            },
            Action::Fault { .. } => "TH-2 host_npt_handler",
            Action::Touch { .. } => "MM-1 map_page_host",
            Action::Assign { .. } => "IO-4 smmu_assign_page",
            Action::Map { .. } => "IO-5 smmu_map_page",
            Action::Run { .. } => "TH-3 host_vcpu_run_handler",
            Action::Exit { .. } => "TH-4 vm_exit_handler",
            Action::Load { .. } => "TH-5 mem_load",
            Action::Store { .. } => "TH-6 mem_store",
            Action::DevLoad { .. } => "TH-7 dev_load",
            Action::DevStore { .. } => "TH-8 dev_store",
            Action::Unseal { .. } => "call 27 DECRYPT_BUF",
            Action::Switch => "other CPU",
        }
    }
}
