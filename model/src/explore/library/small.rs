// SPDX-License-Identifier: GPL-2.0-only
//! Small machines for the library, and what can be done on them.

use crate::constants::{
    HOSTVISOR, PAGE_SIZE, PMD_PAGE_NUM, PMD_SIZE, PSCI_AFFINITY_INFO, PSCI_CPU_ON, PSCI_SYSTEM_OFF, hvc,
};
use crate::explore::action::{Action, Bank, Offer, call};
use crate::explore::random::Random;
use crate::library::Core;
use corevisor::abi::{exit, host_call, vm_call};
use corevisor::addr::Range;
use corevisor::corevisor::{Config, FIXED_TABLE_PAGES, host_table_pages};
use corevisor::machine::sim;
use corevisor::memory::MemRegions;
use corevisor::mmio::SmmuConfig;
use corevisor::npt::HostDma;
use corevisor::trap::{Firmware, HostCpus};

/// Where the page tables are: no principal's address.
const POOL: u64 = 1 << 41;
/// The image window: small, so that it fills up.
const WINDOW: Range = Range { start: 0x200_0000, end: 0x204_0000 };
/// Table pages for VMs, the window and SMMUs.
const TABLES: u64 = 64;
/// First of the pages that vCPUs share with the host to run.
const RUN_PAGES: u64 = 0x4_0100;
/// First page of the blocks that images are loaded to.
const BLOCKS: u64 = 0x4_0200;
/// Where images are loaded in VMs.
pub const IMAGE: u64 = 0x4020_0000;
/// Registers of the SMMU.
pub const SMMU: u64 = 0xA0_0000;

/// States of machines that have too many to explore them to the end.
const LONG: usize = 20_000;

/// A small machine.
#[derive(Clone, Debug)]
pub struct Small {
    /// Its name.
    pub name: &'static str,
    /// CPUs: 1 or 2.
    pub cpus: usize,
    /// VMs that can be there at the same time.
    pub vms: u64,
    /// vCPUs of each VM.
    pub vcpus: u64,
    /// Whether all 15 VMs were there before and are gone, so that ids are used again, from the lowest on.
    pub recycled: bool,
    /// Pages of RAM to play with.
    pub ram: Vec<u64>,
    /// Pages of devices.
    pub devices: Vec<u64>,
    /// Pages of Corevisor.
    pub core: Vec<u64>,
    /// Guest pages, and io pages.
    pub gfns: Vec<u64>,
    /// SMMU banks.
    pub banks: Vec<Bank>,
    /// Whether VMs get an image, of one page, and so can run: 2 MiB of RAM for each.
    pub images: bool,
    /// Whether VMs are destroyed.
    pub destroy: bool,
    /// Whether VMs are saved and loaded.
    pub encryption: bool,
    /// Whether VMs leave for every kind of reason.
    pub all_exits: bool,
    /// Most grants of a page.
    pub grants: u32,
    /// States that an exploration which is not told otherwise ends at.
    pub states: usize,
}

impl Small {
    /// One VM, one page of RAM.
    pub fn tiny() -> Self {
        Self {
            name: "tiny",
            cpus: 1,
            vms: 1,
            vcpus: 1,
            recycled: true,
            ram: vec![0x4_0010],
            devices: vec![],
            core: vec![0x4_0040],
            gfns: vec![0x4_0410],
            banks: vec![],
            images: false,
            destroy: true,
            encryption: false,
            all_exits: false,
            grants: 1,
            states: usize::MAX,
        }
    }

    /// The same with an image, so that the VM can run.
    pub fn running() -> Self {
        Self { name: "running", images: true, ..Self::tiny() }
    }

    /// A VM of two vCPUs, on two CPUs.
    pub fn cpus() -> Self {
        Self { name: "cpus", cpus: 2, vcpus: 2, ..Self::running() }
    }

    /// Two VMs that compete for a page.
    pub fn two() -> Self {
        Self { name: "two", vms: 2, states: LONG, ..Self::running() }
    }

    /// A bank, a VM that can run, a page of RAM.
    pub fn bank() -> Self {
        Self { name: "bank", banks: vec![Bank { cbndx: 0, index: 0 }], states: LONG, ..Self::running() }
    }

    /// A VM that is saved and loaded.
    pub fn saved() -> Self {
        Self { name: "saved", vms: 2, ram: vec![0x4_0010, 0x4_0011], encryption: true, states: LONG, ..Self::running() }
    }

    /// The host, two VMs of a vCPU each, four pages (two of RAM, a device, Corevisor's), a bank, two guest pages.
    pub fn four_pages() -> Self {
        Self {
            name: "small",
            vms: 2,
            ram: vec![0x4_0010, 0x4_0011],
            devices: vec![0x9000],
            gfns: vec![0x4_0410, 0x4_0411],
            grants: 2,
            ..Self::bank()
        }
    }

    /// All of it, for walks and pairs.
    pub fn full() -> Self {
        Self {
            name: "full",
            vcpus: 2,
            banks: vec![Bank { cbndx: 0, index: 0 }, Bank { cbndx: 1, index: 0 }],
            all_exits: true,
            encryption: true,
            ..Self::four_pages()
        }
    }

    /// All worlds.
    pub fn all() -> Vec<Self> {
        let two_cpus = Self { name: "full-cpus", cpus: 2, ..Self::full() };
        vec![
            Self::tiny(),
            Self::running(),
            Self::cpus(),
            Self::two(),
            Self::bank(),
            Self::saved(),
            Self::four_pages(),
            Self::full(),
            two_cpus,
        ]
    }

    /// Pages of a vCPU that it shares with the host to run.
    pub fn run_page(&self, vmid: u64, vcpuid: u64) -> u64 {
        RUN_PAGES + (vmid - 1) * self.vcpus + vcpuid
    }

    /// Pages of all vCPUs' run pages.
    pub fn run_pages(&self) -> std::ops::Range<u64> {
        RUN_PAGES..RUN_PAGES + self.vms * self.vcpus
    }

    /// First page of the block for the image of a VM.
    pub fn block(&self, vmid: u64) -> u64 {
        BLOCKS + (vmid - 1) * PMD_PAGE_NUM
    }

    /// RAM: in order, pages that follow each other together.
    pub(super) fn regions(&self) -> Vec<Range> {
        let mut pages = [&self.ram[..], &self.core].concat();
        pages.extend(self.run_pages());
        if self.images {
            pages.extend(BLOCKS..BLOCKS + self.vms * PMD_PAGE_NUM);
        }
        pages.sort_unstable();
        let mut regions: Vec<Range> = vec![];
        for pfn in pages {
            let page = Range { start: pfn * PAGE_SIZE, end: (pfn + 1) * PAGE_SIZE };
            match regions.last_mut() {
                Some(last) if last.end == page.start => last.end = page.end,
                _ => regions.push(page),
            }
        }
        regions
    }

    /// The library on this machine, just booted.
    pub fn boot(&self) -> Core {
        sim::set_cpu(0);
        let mut regions = MemRegions::default();
        for range in self.regions() {
            regions.push(range, true).expect("few regions");
        }
        let size = (2 * (host_table_pages(&regions) + FIXED_TABLE_PAGES) + TABLES) * PAGE_SIZE;
        let page = |pfn: &u64| Range { start: pfn * PAGE_SIZE, end: (pfn + 1) * PAGE_SIZE };
        let smmu = SmmuConfig::new(Range { start: SMMU, end: SMMU + 0x1_0000 }, 2);
        let config = Config {
            regions,
            owned: self.core.iter().map(page).collect(),
            smmus: (!self.banks.is_empty()).then_some(smmu).into_iter().collect(),
            smmu3s: Default::default(),
            gic: Default::default(),
            remap_window: WINDOW,
            vm_table_pages: TABLES,
            withheld: Default::default(),
            ipa_bits: 40,
            host_dma: Some(HostDma { ipa_bits: 40, blocks: true, doorbells: Default::default() }),
            dma_policy: Default::default(),
            cpus: HostCpus::new(
                (0..self.cpus as u64).collect::<Vec<_>>(),
                0,
                Firmware { psci_version: 0x0001_0001, extended_state: false, smccc_1_1: true },
            ),
        };
        let pool = Range { start: POOL, end: POOL + size.next_multiple_of(PMD_SIZE) };
        sim::boot(config, pool).expect("the library boots")
    }
}

/// An exit of a VM.
fn trap(class: u64, iss: u64, hpfar: u64, x: [u64; 4]) -> Action {
    Action::Exit { ec: exit::TRAP, esr: class << 26 | 1 << 25 | iss, hpfar, x }
}

/// ESR_EL2.EC of what VMs do here.
mod class {
    pub const WFX: u64 = 0x01;
    pub const HVC64: u64 = 0x16;
    pub const SYS64: u64 = 0x18;
    pub const DABT_LOW: u64 = 0x24;
}

/// ISS of a data abort: a translation fault of level 3.
const TRANSLATION: u64 = 0b00_0111;
/// The same with a valid syndrome: 8 bytes, x2.
const DEVICE_ACCESS: u64 = TRANSLATION | 1 << 24 | 3 << 22 | 2 << 16;

impl Small {
    /// Every step with every small argument.
    pub fn actions(&self) -> Vec<Action> {
        let mut all = vec![call(hvc::REGISTER_KVM, &[])];
        (1..=self.vms).for_each(|vmid| self.vm_calls(vmid, &mut all));
        self.smmu_calls(&mut all);
        for pfn in self.pages() {
            all.push(Action::Touch { addr: pfn * PAGE_SIZE });
        }
        let mut pages: Vec<u64> = [&self.pages()[..], &self.gfns].concat();
        pages.extend(self.images.then_some(IMAGE / PAGE_SIZE));
        pages.sort_unstable();
        pages.dedup();
        for gfn in pages {
            all.push(Action::Load { gfn, reg: 1 });
            all.push(Action::Store { gfn, reg: 1 });
        }
        if self.images || self.encryption {
            self.vm_exits(&mut all);
        }
        if self.cpus > 1 {
            all.push(Action::Switch);
        }
        all
    }

    /// All pages that steps name.
    pub fn pages(&self) -> Vec<u64> {
        let mut pages = [&self.ram[..], &self.devices, &self.core].concat();
        if self.images {
            pages.extend((1..=self.vms).map(|vmid| self.block(vmid)));
        }
        pages
    }

    /// All pages of RAM but Corevisor's.
    pub fn all_pages(&self) -> impl Iterator<Item = u64> {
        let blocks = if self.images { BLOCKS..BLOCKS + self.vms * PMD_PAGE_NUM } else { 0..0 };
        self.ram.clone().into_iter().chain(self.run_pages()).chain(blocks)
    }

    /// What the host can do about a VM.
    fn vm_calls(&self, vmid: u64, all: &mut Vec<Action>) {
        for vcpuid in 0..self.vcpus {
            all.push(call(hvc::REGISTER_VCPU, &[vmid, vcpuid, self.run_page(vmid, vcpuid) * PAGE_SIZE]));
            let run = |offer| Action::Run { vmid, vcpuid, pc: IMAGE, offer };
            all.push(run(None));
            if self.images {
                let offers = self.gfns.iter().flat_map(|gfn| self.pages().into_iter().map(move |pfn| (*gfn, pfn)));
                let offer = |gfn: u64, pfn: u64, level| Offer { addr: gfn * PAGE_SIZE, pte: pfn * PAGE_SIZE, level };
                all.extend(offers.map(|(gfn, pfn)| run(Some(offer(gfn, pfn, 3)))));
                all.push(run(Some(offer(self.gfns[0], self.ram[0], 2))));
            }
            if self.encryption {
                all.push(call(hvc::SAVE_CRYPT_VCPU, &[vmid, vcpuid]));
                all.push(call(hvc::LOAD_CRYPT_VCPU, &[vmid, vcpuid]));
            }
        }
        all.push(call(hvc::VERIFY_VM_IMAGES, &[vmid]));
        if self.images {
            all.push(call(hvc::SET_BOOT_INFO, &[vmid, IMAGE, PAGE_SIZE]));
            all.push(call(hvc::REMAP_VM_IMAGE, &[vmid, self.block(vmid), 0]));
        }
        for &pfn in &self.ram {
            all.push(call(hvc::CLEAR_VM_S2_RANGE, &[vmid, pfn * PAGE_SIZE, PAGE_SIZE]));
            if self.images {
                all.push(call(hvc::REMAP_VM_IMAGE, &[vmid, pfn, 0]));
            }
            if self.encryption {
                for from in [pfn, self.block(vmid)] {
                    all.push(call(hvc::ENCRYPT_BUF, &[vmid, from * PAGE_SIZE, self.ram[0] * PAGE_SIZE]));
                }
                all.extend((0..2).map(|envelope| Action::Unseal { vmid, pfn, envelope }));
            }
        }
        for &pfn in &self.devices {
            all.push(call(hvc::PHYS_ADDR_IOREMAP, &[vmid, self.gfns[0] * PAGE_SIZE, pfn * PAGE_SIZE, PAGE_SIZE]));
        }
        if self.destroy {
            all.push(call(host_call::DESTROY_VM.into(), &[vmid]));
        }
    }

    /// What the host can do about SMMU banks, and devices behind them.
    fn smmu_calls(&self, all: &mut Vec<Action>) {
        for &bank in &self.banks {
            let (cbndx, index) = (bank.cbndx.into(), bank.index.into());
            all.push(call(hvc::SMMU_FREE_PGD, &[cbndx, index]));
            let owners = u64::from(HOSTVISOR)..=self.vms;
            all.extend(owners.map(|vmid| call(hvc::SMMU_ALLOC_PGD, &[cbndx, vmid, index])));
            for &gfn in &self.gfns {
                let iova = gfn * PAGE_SIZE;
                for pfn in self.pages() {
                    all.push(call(hvc::SMMU_LPAE_MAP, &[iova, pfn * PAGE_SIZE, 3, cbndx, index]));
                }
                all.push(call(hvc::SMMU_CLEAR, &[iova, cbndx, index]));
                all.push(call(hvc::SMMU_LPAE_IOVA_TO_PHYS, &[iova, cbndx, index]));
                all.push(Action::DevLoad { bank, gfn, reg: 1 });
                all.push(Action::DevStore { bank, gfn, reg: 1 });
            }
            all.extend(self.registers(bank));
        }
    }

    /// Accesses of the host to the SMMU's registers.
    fn registers(&self, bank: Bank) -> Vec<Action> {
        let b = u64::from(bank.cbndx);
        let access = |offset: u64, write: bool, double: bool, data: u64| Action::Fault {
            hpfar: (SMMU + offset) >> 12 << 4,
            far: (SMMU + offset) & 0xFFF,
            esr: class::DABT_LOW << 26
                | 1 << 25
                | TRANSLATION
                | 1 << 24
                | if double { 3 << 22 } else { 2 << 22 }
                | 1 << 16
                | u64::from(write) << 6,
            data,
        };
        let bank_base = 0x8000 + (b << 12);
        vec![
            access(0, false, false, 0),
            access(0, true, false, 1 << 21 | 1 << 10), // sCR0, well
            access(0, true, false, 1 << 21 | 1),       // all streams pass by
            access(0x800, true, false, 1 << 31),       // the first entry is stream 0's
            access(0xC00, true, false, b),             // a stream to this bank
            access(0xC00, true, false, 1 << 16),       // a stream past the SMMU
            access(0x1000 + 4 * b, true, false, 0),    // CBAR
            access(bank_base + 0x20, true, true, self.core[0] * PAGE_SIZE),
            access(bank_base + 0x30, true, false, 0),
            access(bank_base, true, false, 0), // SCTLR: translation off
            access(bank_base + 0x34, true, false, 0),
        ]
    }

    /// What a VM can do.
    fn vm_exits(&self, all: &mut Vec<Action>) {
        all.push(Action::Exit { ec: exit::IRQ, esr: 0, hpfar: 0, x: [0; 4] });
        all.push(trap(class::HVC64, 0, 0, [PSCI_SYSTEM_OFF, 0, 0, 0]));
        if self.all_exits {
            all.push(trap(class::HVC64, 0, 0, [1, 0, 0, 0]));
            all.push(trap(class::HVC64, 0, 0, [PSCI_CPU_ON, 1, IMAGE, 3]));
            all.push(trap(class::HVC64, 0, 0, [PSCI_AFFINITY_INFO, 1, 2, 3]));
            all.push(Action::Exit { ec: exit::SERROR, esr: 0, hpfar: 0, x: [0; 4] });
            all.push(trap(class::SYS64, 0, 0, [0; 4]));
            all.push(trap(class::WFX, 0, 0, [0; 4]));
            all.push(trap(class::DABT_LOW, DEVICE_ACCESS, 0x900_0000 >> 8, [0; 4]));
            all.push(trap(class::DABT_LOW, DEVICE_ACCESS | 1 << 6, 0x900_0000 >> 8, [7, 8, 9, 10]));
            all.push(trap(0x3F, 0, 0, [0; 4]));
        }
        for &gfn in &self.gfns {
            let addr = gfn * PAGE_SIZE;
            all.push(trap(class::DABT_LOW, TRANSLATION, gfn << 4, [0; 4]));
            all.extend(
                [vm_call::SET_DESC_PFN, vm_call::UNSET_DESC_PFN]
                    .map(|c| trap(class::HVC64, 0, 0, [c, 0, addr, PAGE_SIZE])),
            );
        }
    }

    /// The steps that save a page and the vCPUs of VM 1, which is [`Self::ready`], end it, and make a new one of it.
    pub fn saved_before(&self) -> Vec<Action> {
        let mut steps = self.ready();
        steps.push(call(hvc::ENCRYPT_BUF, &[1, self.block(1) * PAGE_SIZE, self.ram[0] * PAGE_SIZE]));
        steps.extend((0..self.vcpus).map(|c| call(hvc::SAVE_CRYPT_VCPU, &[1, c])));
        // A block is more than a call gives back.
        steps.extend([call(host_call::DESTROY_VM.into(), &[1]); 2]);
        steps.push(call(hvc::REGISTER_KVM, &[]));
        let vcpu = |c| call(hvc::REGISTER_VCPU, &[1, c, self.run_page(1, c) * PAGE_SIZE]);
        steps.extend((0..self.vcpus).map(vcpu));
        steps
    }

    /// A beginning, drawn at random: nothing, VMs that are ready to run, or a VM that can be loaded.
    pub fn beginning(&self, random: &mut Random) -> Vec<Action> {
        match random.below(8) {
            0 => vec![],
            1 | 2 if self.encryption => self.saved_before(),
            _ if self.images => self.ready(),
            _ => vec![],
        }
    }

    /// The steps that make all VMs VERIFIED, with vCPUs that are ready to run.
    pub fn ready(&self) -> Vec<Action> {
        let mut steps = vec![];
        for vmid in 1..=self.vms {
            steps.push(call(hvc::REGISTER_KVM, &[]));
            let vcpu = |c| call(hvc::REGISTER_VCPU, &[vmid, c, self.run_page(vmid, c) * PAGE_SIZE]);
            steps.extend((0..self.vcpus).map(vcpu));
            steps.push(call(hvc::SET_BOOT_INFO, &[vmid, IMAGE, PAGE_SIZE]));
            steps.push(call(hvc::REMAP_VM_IMAGE, &[vmid, self.block(vmid), 0]));
            steps.push(call(hvc::VERIFY_VM_IMAGES, &[vmid]));
        }
        steps
    }
}
