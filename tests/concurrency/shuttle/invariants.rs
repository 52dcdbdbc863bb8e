// SPDX-License-Identifier: GPL-2.0-only
//! What must hold when no CPU is inside Corevisor, from the records, and from tables and TLBs as hardware reads them.

use super::vms::{self, VMS};
use super::world::Core;
use corevisor::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE, Pa, Pfn, VMID_COUNT, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::memory::{Count, S2Page};
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::npt::Level;
use corevisor::vm::VcpuState;

/// Panics if something does not.
pub fn check(core: &Core) {
    core.machine().check();
    let records = core.records();
    sums_agree(core, &records);
    for v in (0..VMID_COUNT as u64).filter_map(Vmid::new) {
        if core.root(v).is_none() {
            continue;
        }
        for leaf in core.machine().leaves(v).into_iter().filter(|leaf| leaf.descriptor & 1 != 0) {
            for offset in (0..leaf.size).step_by(PAGE_SIZE as usize) {
                may_reach(
                    core,
                    &records,
                    v,
                    Ipa::new(leaf.ipa + offset).unwrap(),
                    leaf.pa(Ipa::new(leaf.ipa + offset).unwrap()),
                );
            }
        }
        for cached in core.machine().cached(v) {
            let walked = core.machine().walk(v, Ipa::new(cached.ipa).unwrap());
            assert_eq!(walked.map(|leaf| leaf.descriptor), Ok(cached.descriptor), "{v}'s TLB, at {:#x}", cached.ipa);
        }
    }
    devices_reach_their_owners(core, &records);
    for ram in core.regions().tracked() {
        assert_eq!(core.host_dma_wrong_about(ram), [], "the host's DMA table and the records");
    }
    for v in VMS {
        let mut nothing = Held::nothing();
        let (vm, _) = core.acquire_lock_vm(v, &mut nothing);
        assert!(vm.vcpus.iter().all(|vcpu| vcpu.state != VcpuState::Active), "{v} runs nowhere");
    }
    // All locks are free: each was just taken.
    core.acquire_lock_core(&mut Held::nothing());
    core.acquire_lock_smmu(&mut Held::nothing());
}

/// Each page is one principal's, and the numbers of pages are those of the records.
fn sums_agree(core: &Core, records: &[S2Page]) {
    assert_eq!(records.len() as u64, core.regions().pages());
    let mut nothing = Held::nothing();
    let (s2page, _) = core.acquire_lock_s2page(&mut nothing);
    for v in (0..VMID_COUNT as u64).filter_map(Vmid::new) {
        let owned = records.iter().filter(|record| record.owner() == Some(v)).count() as u64;
        assert_eq!(s2page.pages_of(v), owned, "pages of {v}");
    }
    assert!(records.iter().all(|record| record.owner().is_some()), "a page is nobody's");
}

/// `v` reaches `pa` at `ipa`: it must be its own, or shared with it.
fn may_reach(core: &Core, records: &[S2Page], v: Vmid, ipa: Ipa, pa: u64) {
    let pfn = Pa::new(pa).unwrap().frame();
    let Some(record) = core.regions().get_s2_page_index(pfn).map(|index| records[index]) else { return };
    let owner = record.owner();
    let shared = owner.is_some_and(Vmid::is_vm) && record.count() != Count::Shares(0);
    let allowed = match v {
        HOSTVISOR => owner == Some(HOSTVISOR) || shared,
        // The image window: the host's pages until they are taken for a VM, which may have gone since. No walker uses it.
        COREVISOR => owner != Some(COREVISOR),
        v => owner == Some(v) && record.gfn().is_none_or(|gfn| gfn == ipa.frame().as_u64()),
    };
    assert!(allowed, "{v} reaches {pa:#x} at {ipa}, which is {owner:?}'s, {:?}", record.count());
}

/// Through a context bank a device reaches pages of the bank's owner only.
fn devices_reach_their_owners(core: &Core, records: &[S2Page]) {
    let k = SmmuIndex::new(0).unwrap();
    let mut nothing = Held::nothing();
    let (banks, _) = core.acquire_lock_smmu(&mut nothing);
    for b in (0..8).filter_map(ContextBank::new) {
        for iova in (0..super::actions::PAGES).filter_map(|n| Ipa::new(n * PAGE_SIZE)) {
            let Ok(leaf) = core.machine().dma_access(k, b, iova) else { continue };
            let pfn = Pa::new(leaf.pa(iova)).unwrap().frame();
            let Some(index) = core.regions().get_s2_page_index(pfn) else { continue };
            let (owner, bank) = (records[index].owner(), banks.owner(k, b));
            assert!(bank.is_some() && owner == bank, "bank {b:?} of {bank:?} reaches a page of {owner:?} at {iova}");
        }
    }
}

/// A fault, and what [`check`] says of it.
type Sabotage = (fn(&Core), &'static str);

/// Faults that [`check`] must find.
pub const SABOTAGES: [Sabotage; 4] = [
    // A page changes hands in the records only.
    (|core| set_owner(core, vms::FREE, VMS[0]), "host reaches"),
    (|core| set_owner(core, vms::FREE, COREVISOR), "host reaches"),
    // A VM reaches a page of the host's.
    (
        |core| {
            let (ipa, pa) = (Ipa::new(0).unwrap(), Pa::new(vms::FREE).unwrap());
            core.map_pfn_vm(VMS[0], ipa, pa, Level::L3, &mut Held::nothing()).unwrap();
        },
        "vm14 reaches",
    ),
    // A table changes behind the TLB's back.
    (
        |core| {
            let ipa = Ipa::new(vms::FREE).unwrap();
            core.machine().access(HOSTVISOR, ipa).unwrap();
            let (root, _) = core.root(HOSTVISOR).unwrap();
            let level_1 = Pa::new(root.as_u64() + (vms::FREE >> 30) * 8).unwrap();
            core.machine().pt_store(level_1, 0);
            core.machine().publish_tables();
        },
        "never invalidated",
    ),
];

fn set_owner(core: &Core, address: u64, owner: Vmid) {
    let mut nothing = Held::nothing();
    let (mut s2page, _) = core.acquire_lock_s2page(&mut nothing);
    s2page.set_pfn_owner(Pfn::new(address / PAGE_SIZE).unwrap(), owner);
}
