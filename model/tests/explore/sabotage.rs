// SPDX-License-Identifier: GPL-2.0-only
//! Wrong variants of the careful machine, each with one test, count, scrub or unmapping left out, and what finds it.

use model::Spec;
use model::abstract_machine::core_to_host;
use model::boot_ops::{low::assign_smmu, remap_vm_image};
use model::constants::model_only::PAGE_HYP;
use model::constants::state::{POWEROFF, READY, VERIFIED};
use model::constants::{COREVISOR, HOSTVISOR, INVALID, MAX_SHARE_COUNT, PAGE_SIZE, phys_page, smmu_id, smmu_ttbr};
use model::ctxt_switch::{restore_host, save_vm};
use model::explore::action::Bank;
use model::explore::careful::{Assembled, Careful, Parts, host_record};
use model::explore::rules::Rules;
use model::locks::acquire_lock_s2page;
use model::mem_manager::{low::clear_vm_page, map_page_host};
use model::mmio_ops::{el2_alloc_smmu_pgd, smmu_map_page};
use model::mmio_spt_ops::{map_spt, unmap_spt};
use model::npt_ops::{clear_pfn_host, map_s2pt};
use model::rdata::{RData, S2Page};
use model::registers::FP;

/// Where a fault is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Exploration of the small world.
    Exploration,
    /// Exploration of two VMs that are ready to run, one page of RAM and a bank.
    Booted,
    /// The same without the bank.
    Tiny,
    /// Exploration of a world of one VM, one page of RAM and a bank.
    Bank,
    /// Exploration of one VM of two vCPUs, ready to run, and one page of RAM, on two CPUs.
    TwoCpus,
    /// A random walk.
    Walk,
    /// Pairs of runs: a leak by a transition to the host (true) or a VM.
    Pairs,
}

/// A wrong variant.
pub struct Sabotage {
    /// What is left out.
    pub what: &'static str,
    /// The rules without it.
    pub rules: Box<dyn Rules>,
    /// Where it is found.
    pub by: By,
    /// The invariant that it breaks, or the transition that leaks.
    pub expected: &'static str,
}

/// A machine in which one part is replaced.
macro_rules! sabotage {
    ($what:literal, $by:ident, $expected:literal, fn $part:ident(&self, $($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {{
        struct Wrong;
        impl Parts for Wrong {
            fn $part(&self, $($arg: $ty),*) -> $ret $body
        }
        Sabotage { what: $what, rules: Box::new(Assembled(Wrong)), by: By::$by, expected: $expected }
    }};
}

/// State of a VM.
fn vm_state(d: &RData, vmid: u32) -> u32 {
    d.vminfos.get(&vmid).map_or(0, |info| info.vm_state)
}

/// Refuses.
fn refuse(d: &mut RData) -> Spec {
    d.halt = true;
    Some(())
}

/// Variants of what the host's faults and a VM's pages go through.
pub fn of_memory() -> Vec<Sabotage> {
    vec![
        sabotage!(
            "host fault: whose page it is",
            Exploration,
            "E1",
            fn touch(&self, d: &mut RData, addr: u64) -> Spec {
                map_s2pt(d, HOSTVISOR, addr, 3, addr | 0xFFF)
            }
        ),
        sabotage!(
            "host fault: that INVALID is no count",
            Exploration,
            "I6",
            fn touch(&self, d: &mut RData, addr: u64) -> Spec {
                map_page_host(d, addr)
            }
        ),
        sabotage!(
            "page to VM: whose page it is",
            Booted,
            "E5",
            fn assign(&self, d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
                if d.s2page.get(pfn).owner == HOSTVISOR || d.s2page.get(pfn).owner == vmid {
                    return Careful.assign(d, vmid, gfn, pfn);
                }
                d.s2page.set(pfn, S2Page { owner: vmid, count: 0, gfn });
                clear_pfn_host(d, pfn)
            }
        ),
        sabotage!(
            "page to VM: that no device of the host has it",
            Booted,
            "I9",
            fn assign(&self, d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
                d.s2page.update(pfn, |page| {
                    if page.owner == HOSTVISOR {
                        page.count = 0
                    }
                });
                Careful.assign(d, vmid, gfn, pfn)
            }
        ),
        sabotage!(
            "page to VM: out of the host's table",
            Booted,
            "I6",
            fn assign(&self, d: &mut RData, vmid: u32, gfn: u64, pfn: u64) -> Spec {
                let mapping = d.npt(HOSTVISOR).pt.get(&pfn).copied();
                Careful.assign(d, vmid, gfn, pfn)?;
                mapping.map(|entry| d.npt(HOSTVISOR).pt.insert(pfn, entry));
                Some(())
            }
        ),
        sabotage!(
            "page to VM: the same page in record and table",
            Booted,
            "I7",
            fn map(&self, d: &mut RData, vmid: u32, addr: u64, pte: u64, level: u32) -> Spec {
                Careful.map(d, vmid, addr, pte ^ PAGE_SIZE, level)
            }
        ),
        sabotage!(
            "last revoke: out of the host's table",
            Tiny,
            "I6",
            fn revoke(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                d.s2page
                    .update(pfn, |page| page.count -= u32::from(page.owner == vmid && (1..=100).contains(&page.count)));
                Some(())
            }
        ),
        sabotage!(
            "grant: once, not twice",
            Booted,
            "E7",
            fn grant(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                Careful.grant(d, vmid, pfn)?;
                Careful.grant(d, vmid, pfn)
            }
        ),
        sabotage!(
            "grant: counts at all",
            Booted,
            "E7",
            fn grant(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                d.s2page.update(pfn, |page| {
                    page.count = page.count.max(u32::from(page.owner == vmid)).min(MAX_SHARE_COUNT)
                });
                Some(())
            }
        ),
        sabotage!(
            "reclaim: scrubbed",
            Pairs,
            "call 14 CLEAR_VM_S2_RANGE",
            fn clear(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                let value = d.flatmem.get(&pfn).copied().unwrap_or(0);
                let mine = d.s2page.get(pfn).owner == vmid;
                Careful.clear(d, vmid, pfn)?;
                if mine {
                    d.set_page(pfn, value);
                }
                Some(())
            }
        ),
        sabotage!(
            "reclaim: out of the VM's table",
            Tiny,
            "E5",
            fn clear(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                clear_vm_page(d, vmid, pfn)
            }
        ),
        sabotage!(
            "reclaim: whose page it is",
            Tiny,
            "I7",
            fn clear(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                let page = d.s2page.get(pfn);
                if ![INVALID, COREVISOR, HOSTVISOR, vmid].contains(&page.owner) {
                    d.s2page.set(pfn, host_record(pfn));
                }
                Careful.clear(d, vmid, pfn)
            }
        ),
        sabotage!(
            "reclaim: the gfn of the host's pages",
            Booted,
            "I4",
            fn clear(&self, d: &mut RData, vmid: u32, pfn: u64) -> Spec {
                let page = d.s2page.get(pfn);
                Careful.clear(d, vmid, pfn)?;
                if page.owner == vmid {
                    d.s2page.update(pfn, |now| now.gfn = page.gfn);
                }
                Some(())
            }
        ),
        sabotage!(
            "reclaim: that the VM is off",
            Booted,
            "E2",
            fn may_clear(&self, d: &RData, vmid: u32) -> bool {
                vm_state(d, vmid) >= VERIFIED
            }
        ),
        sabotage!(
            "reclaim: that no vCPU runs",
            TwoCpus,
            "E2",
            fn may_clear(&self, d: &RData, vmid: u32) -> bool {
                vm_state(d, vmid) == POWEROFF && !d.smmu_vmid.values().any(|owner| *owner == vmid)
            }
        ),
        sabotage!(
            "reclaim: that no bank is the VM's",
            Bank,
            "E2",
            fn may_clear(&self, d: &RData, vmid: u32) -> bool {
                vm_state(d, vmid) == POWEROFF
            }
        ),
    ]
}

/// Variants of what happens to SMMU banks.
pub fn of_smmu() -> Vec<Sabotage> {
    vec![
        sabotage!(
            "bank freed: its table emptied",
            Exploration,
            "E2",
            fn smmu_free(&self, d: &mut RData, bank: Bank) -> Spec {
                let id = smmu_id(bank.index, bank.cbndx);
                let owner = d.smmu_owner(id);
                if owner != INVALID && vm_state(d, owner) != POWEROFF && owner != HOSTVISOR {
                    return refuse(d);
                }
                d.smmu_vmid.insert(id, INVALID);
                Some(())
            }
        ),
        sabotage!(
            "bank taken: that it is free",
            Exploration,
            "I9",
            fn smmu_alloc(&self, d: &mut RData, bank: Bank, vmid: u32) -> Spec {
                if d.smmu_owner(smmu_id(bank.index, bank.cbndx)) == INVALID {
                    return el2_alloc_smmu_pgd(d, bank.cbndx, vmid, bank.index);
                }
                d.smmu_vmid.insert(smmu_id(bank.index, bank.cbndx), vmid);
                Some(())
            }
        ),
        sabotage!(
            "bank taken: the range of owners",
            Exploration,
            "I8",
            fn smmu_alloc(&self, d: &mut RData, bank: Bank, vmid: u32) -> Spec {
                Careful.smmu_alloc(d, bank, if vmid == 0 { COREVISOR } else { vmid })
            }
        ),
        sabotage!(
            "device mapping: whose page it is",
            Exploration,
            "I9",
            fn smmu_map(&self, d: &mut RData, bank: Bank, iova: u64, pte: u64) -> Spec {
                if d.smmu_owner(smmu_id(bank.index, bank.cbndx)) != HOSTVISOR {
                    return smmu_map_page(d, bank.cbndx, bank.index, iova, pte);
                }
                let pfn = phys_page(pte) / PAGE_SIZE;
                d.s2page.update(pfn, |page| page.count += u32::from(page.owner == HOSTVISOR));
                map_spt(d, bank.cbndx, bank.index, iova, pte)
            }
        ),
        sabotage!(
            "device mapping: at the page's gfn",
            Exploration,
            "I9",
            fn smmu_map(&self, d: &mut RData, bank: Bank, iova: u64, pte: u64) -> Spec {
                let owner = d.smmu_owner(smmu_id(bank.index, bank.cbndx));
                let page = d.s2page.get(phys_page(pte) / PAGE_SIZE);
                if [HOSTVISOR, INVALID].contains(&owner) || owner != page.owner {
                    return Careful.smmu_map(d, bank, iova, pte);
                }
                map_spt(d, bank.cbndx, bank.index, iova, pte)
            }
        ),
        sabotage!(
            "device mapping: counted",
            Exploration,
            "I11",
            fn smmu_map(&self, d: &mut RData, bank: Bank, iova: u64, pte: u64) -> Spec {
                let before = d.s2page.get(phys_page(pte) / PAGE_SIZE);
                Careful.smmu_map(d, bank, iova, pte)?;
                d.s2page.set(phys_page(pte) / PAGE_SIZE, before);
                Some(())
            }
        ),
        sabotage!(
            "device unmapping: counted",
            Exploration,
            "I10",
            fn smmu_clear(&self, d: &mut RData, bank: Bank, iova: u64) -> Spec {
                unmap_spt(d, bank.cbndx, bank.index, iova).map(|_| ())
            }
        ),
        sabotage!(
            "page to device: out of the host's table",
            Exploration,
            "E3",
            fn smmu_assign(&self, d: &mut RData, bank: Bank, pfn: u64, gfn: u64) -> Spec {
                let owner = d.smmu_owner(smmu_id(bank.index, bank.cbndx));
                let mapping = d.npt(HOSTVISOR).pt.get(&pfn).copied();
                if owner == INVALID {
                    return Some(());
                }
                assign_smmu(d, owner, pfn, gfn)?;
                mapping.map(|entry| d.npt(HOSTVISOR).pt.insert(pfn, entry));
                Some(())
            }
        ),
        sabotage!(
            "descriptor and page agree",
            Exploration,
            "I1",
            fn smmu_map(&self, d: &mut RData, bank: Bank, iova: u64, pte: u64) -> Spec {
                Careful.smmu_map(d, bank, iova, pte)?;
                let key = (smmu_ttbr(bank.index, bank.cbndx), iova / PAGE_SIZE);
                d.spts.pt.entry(key).and_modify(|entry| entry.pte ^= PAGE_SIZE);
                Some(())
            }
        ),
    ]
}

/// Variants of images and vCPUs.
pub fn of_vms() -> Vec<Sabotage> {
    vec![
        sabotage!(
            "image: that not more pages come than it has",
            Walk,
            "I12",
            fn remap(&self, d: &mut RData, vmid: u32, pfn: u64, i: u32) -> Spec {
                let image = d.vm(vmid).image(i);
                let remap = image.remap_addr + image.mapped_pages * PAGE_SIZE;
                if vm_state(d, vmid) != READY || i >= d.vm(vmid).next_load_info {
                    return remap_vm_image(d, vmid, pfn, i);
                }
                d.vm(vmid).image_mut(i).mapped_pages += 1;
                map_s2pt(d, COREVISOR, remap, 3, (pfn * PAGE_SIZE) | PAGE_HYP)
            }
        ),
        sabotage!(
            "run: that the vCPU is not running",
            TwoCpus,
            "E6",
            fn enter(&self, d: &mut RData) -> Spec {
                let vmid = d.ctxt(d.cur_vmid, d.cur_vcpuid).get("x0") as u32;
                d.vm(vmid).vcpu_state.entry(0).and_modify(|state| *state = READY);
                Careful.enter(d)
            }
        ),
        sabotage!(
            "run: that the vCPU was prepared",
            Booted,
            "I14",
            fn enter(&self, d: &mut RData) -> Spec {
                Careful.enter(d)?;
                let (vmid, vcpuid) = (d.cur_vmid, d.cur_vcpuid);
                d.ctxt(vmid, vcpuid).set("dirty", u64::MAX);
                Some(())
            }
        ),
        sabotage!(
            "exit: that the vCPU is no longer ACTIVE",
            Booted,
            "E6",
            fn leave(&self, d: &mut RData) -> Spec {
                let (vmid, vcpuid) = (d.cur_vmid, d.cur_vcpuid);
                Careful.leave(d)?;
                d.vm(vmid).vcpu_state.insert(vcpuid, model::constants::state::ACTIVE);
                Some(())
            }
        ),
        sabotage!(
            "exit: the host's floating-point registers",
            Pairs,
            "TH-4 vm_exit_handler",
            fn leave(&self, d: &mut RData) -> Spec {
                save_vm(d)?;
                let regs = d.regs.clone();
                restore_host(d)?;
                d.regs.copy(&regs, &FP);
                core_to_host(d)
            }
        ),
        sabotage!(
            "run: the VM's registers",
            Pairs,
            "TH-3 host_vcpu_run_handler",
            fn enter(&self, d: &mut RData) -> Spec {
                model::ctxt_switch::restore_vm(d)
            }
        ),
        sabotage!(
            "exit: all locks released",
            Booted,
            "locks",
            fn leave(&self, d: &mut RData) -> Spec {
                Careful.leave(d)?;
                acquire_lock_s2page(d)
            }
        ),
    ]
}
