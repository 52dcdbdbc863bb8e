// SPDX-License-Identifier: GPL-2.0-only
//! Small worlds: what there is, what can be done, and where it ends.

use super::action::{Action, Bank, Offer, call};
use super::world::World;
use crate::constants::model_only::{ARM_EXCEPTION_INTERRUPT, EC_SYS64};
use crate::constants::{
    ARM_EXCEPTION_TRAP, COREVISOR, EC_DABT_LOW, EC_HVC64, EC_WFX, ESR_EC_SHIFT, HOSTVISOR, PAGE_SIZE, PMD_PAGE_NUM,
    PSCI_SYSTEM_OFF, hvc, smmu_id, smmu_ttbr,
};
use crate::rdata::{RData, S2Index, S2Page};
use std::collections::BTreeMap;

/// Where images are loaded.
pub const IMAGE: u64 = 0x4020_0000;

/// A small world.
#[derive(Clone, Debug)]
pub struct Arena {
    /// CPUs: 1 or 2.
    pub cpus: u32,
    /// VMs 1 to this.
    pub vms: u32,
    /// vCPUs of each VM.
    pub vcpus: u32,
    /// Pages of RAM.
    pub ram: Vec<u64>,
    /// Pages of devices.
    pub devices: Vec<u64>,
    /// Pages of KCore.
    pub core: Vec<u64>,
    /// Guest pages, and io pages.
    pub gfns: Vec<u64>,
    /// SMMU banks.
    pub banks: Vec<Bank>,
    /// Whether images get pages, and VMs blocks.
    pub blocks: bool,
    /// Whether pages and vCPUs are encrypted and decrypted.
    pub encryption: bool,
    /// Most grants of a page.
    pub grants: u32,
    /// Most images of a VM.
    pub images: u32,
}

impl Arena {
    /// The host, `vms` VMs with a vCPU each, four pages (two of RAM, a device, KCore's), a bank, two guest pages.
    pub fn small(vms: u32) -> Self {
        Self {
            cpus: 1,
            vms,
            vcpus: 1,
            ram: vec![0x4_0010, 0x4_0011],
            devices: vec![0x9000],
            core: vec![0x8_8010],
            gfns: vec![0x4_0410, 0x4_0411],
            banks: vec![Bank { cbndx: 0, index: 0 }],
            blocks: false,
            encryption: false,
            grants: 2,
            images: 1,
        }
    }

    /// One VM, one page of RAM, one guest page, no SMMU: small enough to be explored to the end in a test.
    pub fn tiny() -> Self {
        Self { ram: vec![0x4_0010], gfns: vec![0x4_0410], banks: vec![], grants: 1, ..Self::small(1) }
    }

    /// All of it, for random walks.
    pub fn full(cpus: u32) -> Self {
        Self {
            cpus,
            vcpus: 2,
            ram: vec![0x4_0010, 0x4_0011, 0x4_0200, 0x4_0410],
            devices: vec![0x9000, 0],
            banks: vec![Bank { cbndx: 0, index: 0 }, Bank { cbndx: 1, index: 0 }],
            blocks: true,
            encryption: true,
            grants: 3,
            images: 5,
            ..Self::small(2)
        }
    }

    /// The worlds that a walk goes through by turns.
    pub fn all() -> Vec<Self> {
        let crowded = Self { cpus: 2, vcpus: 2, ..Self::small(2) };
        vec![Self::small(2), crowded, Self::full(1), Self::full(2)]
    }

    /// The world at first.
    pub fn start(&self) -> World {
        let mut d = RData::new(S2Index::Pfn);
        for &pfn in &self.core {
            d.s2page.set(pfn, S2Page { owner: COREVISOR, count: 0, gfn: 0 });
        }
        let world = World::new(d);
        if self.cpus > 1 { world.with_second_cpu() } else { world }
    }

    /// The steps that make all VMs VERIFIED and all vCPUs ready to run.
    pub fn boot(&self) -> Vec<Action> {
        let mut steps = vec![];
        for vmid in 1..=self.vms {
            let vmid = u64::from(vmid);
            steps.push(call(hvc::REGISTER_KVM, &[]));
            steps.extend((0..self.vcpus).map(|vcpuid| call(hvc::REGISTER_VCPU, &[vmid, vcpuid.into()])));
            steps.push(call(hvc::SET_BOOT_INFO, &[vmid, IMAGE, PAGE_SIZE]));
            steps.push(call(hvc::VERIFY_VM_IMAGES, &[vmid]));
        }
        steps
    }

    /// All pages.
    fn pages(&self) -> Vec<u64> {
        [&self.ram[..], &self.devices, &self.core].concat()
    }

    /// Every step with every small argument, by transition.
    pub fn actions(&self) -> BTreeMap<&'static str, Vec<Action>> {
        let mut all = vec![call(hvc::REGISTER_KVM, &[]), call(hvc::TIMER_SET_CNTVOFF, &[])];
        (1..=u64::from(self.vms)).for_each(|vmid| self.vm_calls(vmid, &mut all));
        self.smmu_calls(&mut all);
        for pfn in self.pages() {
            all.push(Action::Touch { addr: pfn * PAGE_SIZE });
            all.push(Action::Load { gfn: pfn, reg: 1 });
            all.push(Action::Store { gfn: pfn, reg: 1 });
        }
        // A device of the low 16 MiB, and the SMMU's first register: read, and written well and badly.
        all.push(Action::Fault { hpfar: 0x90 << 4, far: 0, esr: 0, data: 0 });
        for (esr, data) in [(0x81_0000, 0), (0x81_0040, 1 << 21), (0x81_0040, 0)] {
            all.push(Action::Fault { hpfar: 0xA00 << 4, far: 0, esr, data });
        }
        self.vm_exits(&mut all);
        if self.cpus > 1 {
            all.push(Action::Switch);
        }
        let mut kinds = BTreeMap::<_, Vec<_>>::new();
        all.into_iter().for_each(|action| kinds.entry(action.name()).or_default().push(action));
        kinds
    }

    /// What the host can do about a VM.
    fn vm_calls(&self, vmid: u64, all: &mut Vec<Action>) {
        for vcpuid in 0..u64::from(self.vcpus) {
            all.push(call(hvc::REGISTER_VCPU, &[vmid, vcpuid]));
            let run = |offer| Action::Run { vmid, vcpuid, pc: IMAGE, offer };
            all.push(run(None));
            let offers = self.gfns.iter().flat_map(|gfn| self.pages().into_iter().map(move |pfn| (*gfn, pfn)));
            let offer = |gfn: u64, pfn: u64, level| Offer { addr: gfn * PAGE_SIZE, pte: pfn * PAGE_SIZE, level };
            all.extend(offers.map(|(gfn, pfn)| run(Some(offer(gfn, pfn, 3)))));
            if self.blocks {
                let block = self.ram[0] / PMD_PAGE_NUM * PMD_PAGE_NUM;
                all.push(run(Some(offer(self.gfns[0], block, 2))));
                all.push(run(Some(offer(self.gfns[0], block + PMD_PAGE_NUM, 2))));
                all.push(run(Some(offer(self.gfns[0], self.ram[0], 2))));
            }
            if self.encryption {
                all.push(call(hvc::SAVE_CRYPT_VCPU, &[vmid, vcpuid]));
                all.push(call(hvc::LOAD_CRYPT_VCPU, &[vmid, vcpuid]));
            }
        }
        all.push(call(hvc::SET_BOOT_INFO, &[vmid, IMAGE, PAGE_SIZE]));
        all.push(call(hvc::VERIFY_VM_IMAGES, &[vmid]));
        for &pfn in &self.ram {
            all.push(call(hvc::CLEAR_VM_S2_RANGE, &[vmid, pfn * PAGE_SIZE, PAGE_SIZE]));
            if self.blocks {
                all.push(call(hvc::REMAP_VM_IMAGE, &[vmid, pfn, 0]));
                all.push(call(hvc::CLEAR_VM_S2_RANGE, &[vmid, pfn / 512 * 512 * PAGE_SIZE, 512 * PAGE_SIZE]));
            }
            if self.encryption {
                all.push(call(hvc::DECRYPT_BUF, &[vmid, pfn * PAGE_SIZE]));
                all.push(call(hvc::ENCRYPT_BUF, &[vmid, pfn * PAGE_SIZE, self.ram[0] * PAGE_SIZE]));
            }
        }
        for pfn in [self.devices[0], self.ram[0]] {
            all.push(call(hvc::PHYS_ADDR_IOREMAP, &[vmid, self.gfns[0] * PAGE_SIZE, pfn * PAGE_SIZE, PAGE_SIZE]));
        }
    }

    /// What the host can do about SMMU banks, and devices behind them.
    fn smmu_calls(&self, all: &mut Vec<Action>) {
        for &bank in &self.banks {
            let (cbndx, index) = (bank.cbndx.into(), bank.index.into());
            all.push(call(hvc::SMMU_FREE_PGD, &[cbndx, index]));
            let owners = u64::from(HOSTVISOR)..=self.vms.into();
            all.extend(owners.map(|vmid| call(hvc::SMMU_ALLOC_PGD, &[cbndx, vmid, index])));
            for &gfn in &self.gfns {
                let iova = gfn * PAGE_SIZE;
                for pfn in self.pages() {
                    all.push(call(hvc::SMMU_LPAE_MAP, &[iova, pfn * PAGE_SIZE, 3, cbndx, index]));
                    all.push(Action::Assign { bank, pfn, gfn });
                    all.push(Action::Map { bank, iova, pte: (pfn * PAGE_SIZE) | 3 });
                }
                all.push(call(hvc::SMMU_CLEAR, &[iova, cbndx, index]));
                all.push(call(hvc::SMMU_LPAE_IOVA_TO_PHYS, &[iova, cbndx, index]));
                all.push(Action::DevLoad { bank, gfn, reg: 1 });
                all.push(Action::DevStore { bank, gfn, reg: 1 });
            }
        }
    }

    /// What a VM can do.
    fn vm_exits(&self, all: &mut Vec<Action>) {
        let trap = |class: u64, x: [u64; 4]| Action::Exit {
            ec: ARM_EXCEPTION_TRAP,
            esr: class << ESR_EC_SHIFT,
            hpfar: self.gfns[0] << 4,
            x,
        };
        all.push(Action::Exit { ec: ARM_EXCEPTION_INTERRUPT, esr: 0, hpfar: 0, x: [0; 4] });
        all.push(trap(EC_HVC64, [1, 0, 0, 0]));
        all.push(trap(EC_HVC64, [PSCI_SYSTEM_OFF, 0, 0, 0]));
        all.extend([EC_SYS64, EC_WFX, EC_DABT_LOW].map(|class| trap(class, [0; 4])));
        for &gfn in &self.gfns {
            let addr = gfn * PAGE_SIZE;
            all.extend([hvc::SET_DESC_PFN, hvc::UNSET_DESC_PFN].map(|c| trap(EC_HVC64, [c, 0, addr, PAGE_SIZE])));
            all.push(Action::Load { gfn, reg: 1 });
            all.push(Action::Store { gfn, reg: 1 });
        }
    }

    /// Whether a step is one of this world: what would only make the world larger is not, nor what the one who runs
    /// can't do; an access that faults is no step.
    pub fn allows(&self, world: &World, action: &Action) -> bool {
        let d = &world.d;
        match *action {
            Action::Call { x } => {
                let images = |vmid: u64| d.vminfos.get(&(vmid as u32)).map_or(0, |info| info.next_load_info);
                d.ihost
                    && (x[0] != hvc::REGISTER_KVM || d.core_data.next_vmid <= self.vms)
                    && (x[0] != hvc::SET_BOOT_INFO || images(x[1]) < self.images)
            }
            Action::Exit { ec: ARM_EXCEPTION_TRAP, x: [hvc::SET_DESC_PFN, _, addr, _], .. } => {
                let pfn = d.npts[d.cur_vmid as usize].get(addr / PAGE_SIZE).pfn;
                !d.ihost && d.s2page.get(pfn).count.wrapping_add(1) <= self.grants
            }
            Action::Exit { .. } => !d.ihost,
            Action::Fault { .. }
            | Action::Touch { .. }
            | Action::Assign { .. }
            | Action::Map { .. }
            | Action::Run { .. } => d.ihost,
            Action::Load { gfn, .. } | Action::Store { gfn, .. } => d.npts[d.cur_vmid as usize].get(gfn).pfn != 0,
            Action::DevLoad { bank: Bank { cbndx, index }, gfn, .. }
            | Action::DevStore { bank: Bank { cbndx, index }, gfn, .. } => {
                d.smmu_owner(smmu_id(index, cbndx)) == d.cur_vmid && d.spts.get(smmu_ttbr(index, cbndx), gfn).pfn != 0
            }
            Action::Unseal { .. } => false,
            Action::Switch => world.parked.is_some(),
        }
    }
}
