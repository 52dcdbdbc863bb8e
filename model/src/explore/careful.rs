// SPDX-License-Identifier: GPL-2.0-only
//! What an action does where the rulings on the differences are followed: the model's functions, and in their place,
//! where they break a strict invariant, the ruling.
//!
//! It shows that the strict invariants can be kept, and it is what wrong variants are made from: each part of
//! [`Parts`] can be replaced by itself.

use super::action::{Action, Bank, Offer};
use super::rules::{Literal, Rules, never_run, prepare_exit, prepare_run, rely_host};
use crate::abstract_machine::{core_to_host, exit_populate_fault, host_to_core, vm_to_core};
use crate::boot_ops::{low::assign_smmu, remap_vm_image, verify_and_load_images};
use crate::constants::model_only::{ARM_EXCEPTION_INTERRUPT, EC_SYS64, SMMU_HOST_OFFSET};
use crate::constants::state::{ACTIVE, POWEROFF, READY, VERIFIED};
use crate::constants::{
    ARM_EXCEPTION_TRAP, EC_HVC64, EL2_SMMU_CFG_SIZE, ESR_EC_SHIFT, HOSTVISOR, INVALID, INVALID64, KVM_PFN_SPACE,
    KVM_PHYS_SIZE, MAX_SHARE_COUNT, PAGE_SIZE, PMD_PAGE_NUM, PMD_SIZE, VCPU_PER_VM, hvc, is_addr, is_smmu,
    is_smmu_addr, is_smmu_cfg, is_vm, pgd_idx, phys_page, pmd_idx, pud_idx, smmu_id, smmu_ttbr,
};
use crate::ctxt_switch::{restore_host, restore_vm, save_host, save_vm};
use crate::mem_manager;
use crate::mmio_ops::{el2_alloc_smmu_pgd, el2_arm_lpae_clear, smmu_map_page};
use crate::mmio_spt_ops::{init_spt, map_spt};
use crate::npt_ops::{clear_pfn_host, get_level_s2pt, walk_s2pt};
use crate::rdata::{RData, S2Page};
use crate::registers::GP;
use crate::{Spec, rely};

/// Refuses.
fn refuse(d: &mut RData) -> Spec {
    d.halt = true;
    Some(())
}

/// State of a VM.
fn vm_state(d: &RData, vmid: u32) -> u32 {
    d.vminfos.get(&vmid).map_or(0, |info| info.vm_state)
}

/// The careful machine, part by part. A part that refuses sets `halt`.
pub trait Parts {
    /// MM-1. D-01: a page that came through the SMMU is not shared.
    fn touch(&self, d: &mut RData, addr: u64) -> Spec {
        let page = d.s2page.get(addr / PAGE_SIZE);
        if is_vm(page.owner) && page.count > MAX_SHARE_COUNT { refuse(d) } else { mem_manager::map_page_host(d, addr) }
    }

    /// Whether a VM's pages may be reclaimed. D-68, D-75: not while a vCPU runs or a bank is the VM's.
    fn may_clear(&self, d: &RData, vmid: u32) -> bool {
        let active = |info: &crate::rdata::VmInfo| (0..VCPU_PER_VM).any(|c| info.vcpu_state(c) == ACTIVE);
        let info = d.vminfos.get(&vmid);
        info.is_some_and(|info| info.vm_state == POWEROFF && !active(info)) && !d.smmu_vmid.values().any(|v| *v == vmid)
    }

    /// MM-2, as its low form has it (D-03), and out of the VM's own table.
    fn clear(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
        let page = d.s2page.get(pfn);
        if page.owner != vmid {
            return Some(());
        }
        mem_manager::low::clear_vm_page(d, vmid, pfn)?;
        if d.npt(vmid).get(page.gfn).pfn == pfn {
            d.npt(vmid).pt.remove(&page.gfn);
        }
        Some(())
    }

    /// MM-3. D-01: a page that was not faulted in leaves the host's table.
    fn assign(&self, d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
        let page = d.s2page.get(pfn);
        mem_manager::assign_pfn_to_vm(d, vmid, gfn, pfn)?;
        if page.owner == vmid && page.count == INVALID { clear_pfn_host(d, pfn) } else { Some(()) }
    }

    /// MM-4. D-07, D-20: a block is aligned, and replaces no table.
    fn map(&self, d: &mut RData, vmid: u32, addr: u64, pte: u64, level: u32) -> Spec {
        if level == 2 && (!phys_page(pte).is_multiple_of(PMD_SIZE) || has_table(d, vmid, addr)) {
            return refuse(d);
        }
        mem_manager::map_pfn_vm(d, vmid, addr, pte, level)
    }

    /// MM-6.
    fn grant(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
        mem_manager::grant_vm_page(d, vmid, pfn)
    }

    /// MM-7. D-11: what was not granted can't be revoked.
    fn revoke(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
        if d.s2page.get(pfn).count == INVALID { Some(()) } else { mem_manager::revoke_vm_page(d, vmid, pfn) }
    }

    /// BO-7. D-21: only a page that the host may give away.
    fn remap(&self, d: &mut RData, vmid: u32, pfn: u64, load_idx: u32) -> Spec {
        let page = d.s2page.get(pfn);
        let free = page.owner == HOSTVISOR && page.count == 0;
        if free { remap_vm_image(d, vmid, pfn, load_idx) } else { refuse(d) }
    }

    /// BO-8. D-07: no block replaces a table.
    fn verify(&self, d: &mut RData, vmid: u32) -> Spec {
        let images = d.vminfos.get(&vmid).map_or(0, |info| info.next_load_info);
        for i in 0..images {
            let image = d.vm(vmid).image(i);
            let mut addr = image.load_addr / PMD_SIZE * PMD_SIZE;
            while addr < image.load_addr + image.mapped_pages * PAGE_SIZE {
                if has_table(d, vmid, addr) {
                    return refuse(d);
                }
                addr += PMD_SIZE;
            }
        }
        verify_and_load_images(d, vmid)
    }

    /// IO-3, as its low form has it (D-13); a VM that is off gets none, either.
    fn smmu_alloc(&self, d: &mut RData, bank: Bank, vmid: u32) -> Spec {
        if vm_state(d, vmid) >= VERIFIED { refuse(d) } else { el2_alloc_smmu_pgd(d, bank.cbndx, vmid, bank.index) }
    }

    /// IO-2. D-15: the host's, when it is empty. D-68: the table goes.
    fn smmu_free(&self, d: &mut RData, bank: Bank) -> Spec {
        let id = smmu_id(bank.index, bank.cbndx);
        let root = smmu_ttbr(bank.index, bank.cbndx);
        let owner = d.smmu_owner(id);
        let empty = !d.spts.pt.iter().any(|((ttbr, _), entry)| *ttbr == root && entry.pfn != 0);
        if owner == INVALID {
            return Some(());
        }
        if owner == HOSTVISOR && !empty || is_vm(owner) && vm_state(d, owner) != POWEROFF {
            return refuse(d);
        }
        d.smmu_vmid.insert(id, INVALID);
        init_spt(d, bank.cbndx, bank.index)
    }

    /// IO-4, as its low form has it (D-12).
    fn smmu_assign(&self, d: &mut RData, bank: Bank, pfn: u64, gfn: u64) -> Spec {
        let owner = d.smmu_owner(smmu_id(bank.index, bank.cbndx));
        if owner == INVALID { Some(()) } else { assign_smmu(d, owner, pfn, gfn) }
    }

    /// IO-5. D-09, D-10: the host maps its pages anywhere, each mapping is counted, none replaces another.
    fn smmu_map(&self, d: &mut RData, bank: Bank, iova: u64, pte: u64) -> Spec {
        if d.smmu_owner(smmu_id(bank.index, bank.cbndx)) != HOSTVISOR {
            return smmu_map_page(d, bank.cbndx, bank.index, iova, pte);
        }
        let pfn = phys_page(pte) / PAGE_SIZE;
        let page = d.s2page.get(pfn);
        let old = d.spts.get(smmu_ttbr(bank.index, bank.cbndx), iova / PAGE_SIZE);
        if page.owner != HOSTVISOR || page.count >= EL2_SMMU_CFG_SIZE || old.pfn != 0 {
            return refuse(d);
        }
        map_spt(d, bank.cbndx, bank.index, iova, pte)?;
        d.s2page.set(pfn, S2Page { count: page.count + 1, ..page });
        Some(())
    }

    /// IO-7.
    fn smmu_clear(&self, d: &mut RData, bank: Bank, iova: u64) -> Spec {
        el2_arm_lpae_clear(d, iova, bank.cbndx, bank.index)
    }

    /// BO-17. D-25: page numbers are page numbers. Only to a page that no device sees.
    fn encrypt(&self, d: &mut RData, vmid: u32, inbuf: u64, outbuf: u64) -> Spec {
        let out = d.s2page.get(outbuf / PAGE_SIZE);
        if d.s2page.get(inbuf / PAGE_SIZE).owner != vmid || out.owner != HOSTVISOR || out.count != 0 {
            return refuse(d);
        }
        let value = d.draw(HOSTVISOR);
        d.set_page(outbuf / PAGE_SIZE, value);
        Some(())
    }

    /// BO-18. D-24, D-25.
    fn decrypt(&self, d: &mut RData, vmid: u32, inbuf: u64) -> Spec {
        let pfn = inbuf / PAGE_SIZE;
        let page = d.s2page.get(pfn);
        if vm_state(d, vmid) != READY || page.owner != HOSTVISOR || page.count != 0 {
            return refuse(d);
        }
        d.s2page.set(pfn, S2Page { owner: vmid, count: 0, gfn: INVALID64 });
        clear_pfn_host(d, pfn)?;
        let value = d.draw(HOSTVISOR);
        d.set_page(pfn, value);
        Some(())
    }

    /// CS-4, and the VM's registers (D-40).
    fn enter(&self, d: &mut RData) -> Spec {
        restore_vm(d)?;
        if !d.halt {
            let ctxt = d.ctxt(d.cur_vmid, d.cur_vcpuid).clone();
            d.regs.copy(&ctxt, &GP);
        }
        Some(())
    }

    /// CS-3, CS-2, and the host's registers.
    fn leave(&self, d: &mut RData) -> Spec {
        save_vm(d)?;
        restore_host(d)?;
        core_to_host(d)
    }
}

/// Whether there is a table for pages where a block at `addr` would be.
fn has_table(d: &RData, vmid: u32, addr: u64) -> bool {
    let table = (pgd_idx(addr), pud_idx(addr), pmd_idx(addr));
    d.npts.get(vmid as usize).is_some_and(|npt| npt.pmd_t.contains(&table))
}

/// All parts as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Careful;

impl Parts for Careful {}

/// The rules that parts make.
#[derive(Clone, Copy, Debug)]
pub struct Assembled<P>(pub P);

impl<P: Parts> Assembled<P> {
    /// MO-2.
    fn prot_and_map(&self, d: &mut RData, vmid: u32, offer: Offer) -> Spec {
        let Offer { addr, pte, level } = offer;
        rely(is_addr(addr))?;
        let (gfn, pfn) = (addr / PAGE_SIZE, phys_page(pte) / PAGE_SIZE);
        let (first, pages, level) =
            if level == 2 { (gfn / PMD_PAGE_NUM * PMD_PAGE_NUM, PMD_PAGE_NUM, 2) } else { (gfn, 1, 3) };
        for i in 0..pages {
            self.0.assign(d, vmid, first + i, pfn + i)?;
            if d.halt {
                return Some(());
            }
        }
        self.0.map(d, vmid, addr, pte, level)
    }

    /// MO-3 and MO-4.
    fn each_page(&self, d: &mut RData, vmid: u32, [call, _, addr, size]: [u64; 4]) -> Spec {
        rely(is_addr(addr) && is_addr(size) && is_addr(addr + size))?;
        for i in 0..size.div_ceil(PAGE_SIZE) {
            let addr = addr + i * PAGE_SIZE;
            let mut pfn = phys_page(walk_s2pt(d, vmid, addr)?) / PAGE_SIZE;
            if pfn == 0 {
                continue;
            }
            if get_level_s2pt(d, vmid, addr)? == 2 {
                pfn += addr / PAGE_SIZE % PMD_PAGE_NUM;
            }
            if call == hvc::SET_DESC_PFN { self.0.grant(d, vmid, pfn)? } else { self.0.revoke(d, vmid, pfn)? }
        }
        Some(())
    }

    /// TH-1: the calls that have a part, with the strict side of the range tests; nothing for the others.
    fn call(&self, d: &mut RData, x: [u64; 6]) -> Option<Spec> {
        let vm = |n: usize| u32::try_from(x[n]).ok().filter(|v| is_vm(*v));
        let below = |n: usize, limit: u64| Some(x[n]).filter(|x| *x < limit);
        let bank = |cbndx: u64, index: u64| {
            let bank = Bank { cbndx: u32::try_from(cbndx).ok()?, index: u32::try_from(index).ok()? };
            (is_smmu_cfg(bank.cbndx) && is_smmu(bank.index)).then_some(bank)
        };
        let part = |d: &mut RData| -> Option<Spec> {
            Some(match x[0] {
                hvc::CLEAR_VM_S2_RANGE => {
                    let (vmid, start, size) = (vm(1)?, below(2, KVM_PHYS_SIZE)?, below(3, KVM_PHYS_SIZE)?);
                    let (first, number) = (start / PAGE_SIZE, size / PAGE_SIZE);
                    if !self.0.may_clear(d, vmid) {
                        return Some(Some(()));
                    }
                    let mut pages = first..(first + number).min(KVM_PFN_SPACE);
                    pages.try_for_each(|pfn| self.0.clear(d, vmid, pfn))
                }
                hvc::REMAP_VM_IMAGE => {
                    let (vmid, pfn, i) = (vm(1)?, below(2, KVM_PFN_SPACE)?, below(3, 5)?);
                    self.0.remap(d, vmid, pfn, i as u32)
                }
                hvc::VERIFY_VM_IMAGES => self.0.verify(d, vm(1)?),
                hvc::SMMU_FREE_PGD => self.0.smmu_free(d, bank(x[1], x[2])?),
                hvc::SMMU_ALLOC_PGD => self.0.smmu_alloc(d, bank(x[1], x[3])?, below(2, 16)? as u32),
                hvc::SMMU_LPAE_MAP => {
                    let (iova, paddr) = (below(1, KVM_PHYS_SIZE)?, below(2, KVM_PHYS_SIZE)?);
                    let prot = below(3, 1 << 12)?;
                    let bank = bank(x[4], x[5])?;
                    self.0.smmu_assign(d, bank, paddr / PAGE_SIZE, iova / PAGE_SIZE)?;
                    if d.halt { Some(()) } else { self.0.smmu_map(d, bank, iova, phys_page(paddr) | prot) }
                }
                hvc::SMMU_CLEAR => {
                    self.0.smmu_clear(d, bank(x[2], x[3])?, Some(x[1]).filter(|iova| is_smmu_addr(*iova))?)
                }
                hvc::ENCRYPT_BUF => self.0.encrypt(d, vm(1)?, below(2, KVM_PHYS_SIZE)?, below(3, KVM_PHYS_SIZE)?),
                hvc::DECRYPT_BUF => self.0.decrypt(d, vm(1)?, below(2, KVM_PHYS_SIZE)?),
                _ => return None,
            })
        };
        let parted = [
            hvc::CLEAR_VM_S2_RANGE,
            hvc::REMAP_VM_IMAGE,
            hvc::VERIFY_VM_IMAGES,
            hvc::SMMU_FREE_PGD,
            hvc::SMMU_ALLOC_PGD,
            hvc::SMMU_LPAE_MAP,
            hvc::SMMU_CLEAR,
            hvc::ENCRYPT_BUF,
            hvc::DECRYPT_BUF,
        ];
        if !parted.contains(&x[0]) {
            return None;
        }
        Some(part(d).unwrap_or_else(|| refuse(d)))
    }

    /// TH-3.
    fn run(&self, d: &mut RData, (vmid, vcpuid): (u64, u64), pc: u64, offer: Option<Offer>) -> Spec {
        let first = never_run(d, vmid, vcpuid);
        prepare_run(d, vmid, vcpuid, pc, None);
        d.icore = true;
        host_to_core(d)?;
        save_host(d)?;
        self.0.enter(d)?;
        if let Some(offer) = offer.filter(|_| !first && !d.halt) {
            self.prot_and_map(d, d.cur_vmid, offer)?;
        }
        d.icore = false;
        d.ihost = false;
        Some(())
    }

    /// TH-4. D-46: all exits that the host has to deal with go to it.
    fn exit(&self, d: &mut RData, ec: u64, esr: u64, x: [u64; 4]) -> Spec {
        d.icore = true;
        vm_to_core(d)?;
        exit_populate_fault(d)?;
        let class = esr >> ESR_EC_SHIFT & 63;
        let vmid = d.cur_vmid;
        match (ec, class) {
            (ARM_EXCEPTION_TRAP, EC_SYS64) => {}
            (ARM_EXCEPTION_TRAP, EC_HVC64) if [hvc::SET_DESC_PFN, hvc::UNSET_DESC_PFN].contains(&x[0]) => {
                self.each_page(d, vmid, x)?;
            }
            (ARM_EXCEPTION_TRAP | ARM_EXCEPTION_INTERRUPT, _) => self.0.leave(d)?,
            _ => return refuse(d),
        }
        d.icore = false;
        d.ihost = d.cur_vmid == HOSTVISOR;
        Some(())
    }
}

impl<P: Parts> Rules for Assembled<P> {
    fn step(&self, d: &mut RData, action: &Action) -> Spec {
        match *action {
            Action::Call { x } => {
                rely_host(d)?;
                super::rules::set_gp(d, &x);
                match self.call(d, x) {
                    Some(result) => result,
                    None => Literal.step(d, action),
                }
            }
            Action::Touch { addr } => {
                rely_host(d)?;
                self.0.touch(d, addr)
            }
            Action::Assign { bank, pfn, gfn } => {
                rely_host(d)?;
                self.0.smmu_assign(d, bank, pfn, gfn)
            }
            Action::Map { bank, iova, pte } => {
                rely_host(d)?;
                self.0.smmu_map(d, bank, iova, pte)
            }
            Action::Run { vmid, vcpuid, pc, offer } => {
                rely_host(d)?;
                self.run(d, (vmid, vcpuid), pc, offer)
            }
            Action::Exit { ec, esr, hpfar, x } => {
                rely(!d.ihost && !d.icore)?;
                prepare_exit(d, ec, esr, hpfar, &x);
                self.exit(d, ec, esr, x)
            }
            _ => Literal.step(d, action),
        }
    }
}

/// Where the host's pages are, for a part that gives one back.
pub fn host_record(pfn: u64) -> S2Page {
    S2Page { owner: HOSTVISOR, count: 0, gfn: pfn + SMMU_HOST_OFFSET }
}
