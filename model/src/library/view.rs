// SPDX-License-Identifier: GPL-2.0-only
//! The library's abstract state, and how it is kept up to date in less time than it takes to read it.

use super::contexts;
use super::world::RUN_PAGES;
use super::{Core, decode, s2page};
use crate::constants::TABLE;
use crate::constants::model_only::SMMU_HOST_OFFSET;
use crate::constants::{
    COREVISOR, HOSTVISOR, INVALID, INVALID64, PAGE_GUEST, PAGE_SIZE, PTRS_PER_S2_PGD, SMMU_NUM, SMMU_NUM_CTXT_BANKS,
    VCPU_PER_VM, ctxt_id, pgd_idx, pgd_start, phys_page, pmd_idx, pmd_start, pud_idx, pud_start, s2_pgd_idx, smmu_id,
    smmu_ttbr,
};
use crate::oracle;
use crate::page_table::{Npt, NptEntry, SptEntry};
use crate::rdata::{CoreData, Image, MemRegion, RData, S2Index, S2Page, VmInfo};
use crate::registers::RegisterFile;
use corevisor::addr::{self, VcpuId, Vmid};
use corevisor::lock::Held;
use corevisor::machine::Machine;
use corevisor::machine::sim::Leaf;
use corevisor::memory;
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::vcpu::ShadowContext;
use corevisor::vm::VmState;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Pages that follow each other in a table, and in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page of the principal.
    pub gfn: u64,
    /// How many.
    pub pages: u64,
    /// First physical page; 0, and not advancing, for pages that were given away.
    pub pfn: u64,
    /// The descriptor of each page without its address, as the specification has it: see [`decode`].
    pub attributes: u64,
}

impl Run {
    /// Entry of the page `gfn`, one of this run's.
    pub fn entry(&self, gfn: u64) -> NptEntry {
        let pfn = if self.attributes == PAGE_GUEST { 0 } else { self.pfn + (gfn - self.gfn) };
        NptEntry { pfn, level: 3, pte: (pfn * PAGE_SIZE) | self.attributes }
    }

    /// Whether a page is reached by it.
    pub fn is_mapping(&self) -> bool {
        self.attributes != PAGE_GUEST
    }
}

/// The library's abstract state, without the memory that no physical address of the specification can name.
#[derive(Clone, PartialEq)]
pub struct View {
    /// Memory regions.
    pub regions: Rc<Vec<MemRegion>>,
    /// Records that are not simply the host's, of tracked pages, by page number.
    pub s2page: Rc<BTreeMap<u64, S2Page>>,
    /// All tables, by principal, page by page whatever the sizes of their blocks, in the order of their addresses.
    pub npts: Vec<Rc<Vec<Run>>>,
    /// VM records that are not empty.
    pub vms: BTreeMap<u32, VmInfo>,
    /// Core data.
    pub core_data: CoreData,
    /// Owners of SMMU banks.
    pub smmu_vmid: BTreeMap<u32, u32>,
    /// Tables of SMMU banks, by number of the bank and io page.
    pub spts: Rc<BTreeMap<(u32, u64), u64>>,
    /// Shadow contexts that are not empty.
    pub ctxts: BTreeMap<u32, RegisterFile>,
}

/// Reads the abstract state of one library again and again, and only what has changed.
pub struct Observer {
    /// What the library's own records were.
    records: Vec<memory::S2Page>,
    /// Those that differ from the initial ones, by page.
    changed: Rc<BTreeMap<u64, S2Page>>,
    /// How many descriptors had been written.
    stores: u64,
    view: View,
}

/// Records compared at a time.
const CHUNK: usize = 4096;

impl Observer {
    /// For `core`.
    pub fn new(core: &Core) -> Self {
        let regions = core.regions().iter().map(|r| MemRegion {
            base: r.range.start,
            size: r.range.size(),
            flag: 0,
            index: r.index.unwrap_or(INVALID64),
        });
        let regions: Vec<MemRegion> = regions.collect();
        let mut records = core.records();
        for region in regions.iter().filter(|r| r.index != INVALID64) {
            let first = addr::Pfn::new(region.base / PAGE_SIZE).expect("a page");
            let (index, pages) = (region.index as usize, (region.size / PAGE_SIZE) as usize);
            memory::S2Page::fill_host(&mut records[index..index + pages], first);
        }
        let view = View {
            regions: Rc::new(regions),
            s2page: Rc::default(),
            npts: vec![Rc::default(); COREVISOR as usize + 1],
            vms: BTreeMap::new(),
            core_data: CoreData { next_vmid: 0, next_remap_ptr: 0 },
            smmu_vmid: BTreeMap::new(),
            spts: Rc::default(),
            ctxts: BTreeMap::new(),
        };
        let mut this = Self { records, changed: Rc::default(), stores: u64::MAX, view };
        this.look(core);
        this
    }

    /// The state when it was last looked at.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The state now.
    pub fn look(&mut self, core: &Core) -> &View {
        self.look_at_records(core);
        let stores = core.machine().stores();
        if stores != self.stores {
            self.stores = stores;
            for (v, table) in (0..).zip(&mut self.view.npts) {
                let v = Vmid::new(v).expect("a principal");
                let runs = runs(core.machine().raw_leaves(v));
                if **table != runs {
                    *table = Rc::new(runs);
                }
            }
        }
        // The table of a bank goes without a word written.
        let spts = spts(core);
        if *self.view.spts != spts {
            self.view.spts = Rc::new(spts);
        }
        let mut nothing = Held::nothing();
        let data = core.acquire_lock_core(&mut nothing).0;
        self.view.core_data = CoreData { next_vmid: data.next_vmid as u32, next_remap_ptr: data.next_remap_ptr };
        drop(data);
        let mut run_pages = BTreeMap::<u64, u32>::new();
        self.view.vms = (0..=COREVISOR).filter_map(|v| Some((v, vm(core, v, &mut run_pages)?))).collect();
        self.view.s2page = without_run_pages(&self.changed, &run_pages);
        self.view.smmu_vmid = banks(core);
        self.view.ctxts = ctxts(core);
        &self.view
    }

    /// Reads the records that are no longer what they were.
    fn look_at_records(&mut self, core: &Core) {
        let Self { records: old, changed, view, .. } = self;
        core.with_records(|new| {
            assert_eq!(old.len(), new.len());
            for start in (0..new.len()).step_by(CHUNK) {
                let chunk = start..new.len().min(start + CHUNK);
                if old[chunk.clone()] == new[chunk.clone()] {
                    continue;
                }
                let changed = Rc::make_mut(changed);
                for index in chunk {
                    if old[index] == new[index] {
                        continue;
                    }
                    old[index] = new[index];
                    let pfn = page_of(&view.regions, index as u64);
                    match s2page(new[index]) {
                        page if page == host_page(pfn) => changed.remove(&pfn),
                        page => changed.insert(pfn, page),
                    };
                }
            }
        });
    }
}

/// The page that a record is about.
fn page_of(regions: &[MemRegion], index: u64) -> u64 {
    let mut before = regions.iter().filter(|r| r.index != INVALID64 && r.index <= index);
    let region = before.next_back().expect("a region for each record");
    region.base / PAGE_SIZE + index - region.index
}

/// The records that are not simply the host's. A page that the host shares with Corevisor to run a vCPU has a count for
/// that, which the specification knows nothing of; and RAM of which it knows nothing is left out.
fn without_run_pages(changed: &Rc<BTreeMap<u64, S2Page>>, run_pages: &BTreeMap<u64, u32>) -> Rc<BTreeMap<u64, S2Page>> {
    let unknown = RUN_PAGES.start / PAGE_SIZE..RUN_PAGES.end / PAGE_SIZE;
    if run_pages.is_empty() && changed.range(unknown.clone()).next().is_none() {
        return changed.clone();
    }
    let known = changed.iter().filter(|(pfn, _)| !unknown.contains(pfn));
    let mut seen: BTreeMap<_, _> = known.map(|(&pfn, &page)| (pfn, page)).collect();
    for (pfn, times) in run_pages {
        if let Some(page) = seen.get_mut(pfn) {
            page.count -= times;
            if *page == host_page(*pfn) {
                seen.remove(pfn);
            }
        }
    }
    Rc::new(seen)
}

/// Leaves as runs, in their order.
fn runs(leaves: Vec<Leaf>) -> Vec<Run> {
    let mut runs = Vec::<Run>::new();
    for leaf in leaves {
        let (pfn, attributes) = decode(leaf.descriptor);
        let (gfn, pages) = (leaf.ipa / PAGE_SIZE, leaf.size / PAGE_SIZE);
        let run = Run { gfn, pages, pfn, attributes };
        if let Some(last) = runs.last_mut()
            && last.gfn + last.pages == gfn
            && last.attributes == attributes
            && (pfn == 0 && !last.is_mapping() || last.is_mapping() && last.pfn + last.pages == pfn)
        {
            last.pages += pages;
        } else {
            runs.push(run);
        }
    }
    runs
}

/// The record of VM `v`, if there is anything in it. Counts its run pages.
fn vm(core: &Core, v: u32, run_pages: &mut BTreeMap<u64, u32>) -> Option<VmInfo> {
    let mut nothing = Held::nothing();
    let (vm, _) = core.acquire_lock_vm(Vmid::new(v.into())?, &mut nothing);
    let mut info = VmInfo {
        vm_state: super::vm_state(vm.state),
        kvm: if vm.state == VmState::Unused { 0 } else { oracle::shared_kvm(v) },
        next_load_info: vm.images.len() as u32,
        inc_exe: vm.inc_exe.into(),
        ..VmInfo::default()
    };
    for (vcpuid, vcpu) in (0..).zip(&vm.vcpus) {
        if let Some(page) = vcpu.run_page {
            *run_pages.entry(page.as_u64()).or_default() += 1;
        }
        if vcpu.state != Default::default() {
            info.vcpu_state.insert(vcpuid, super::vcpu_state(vcpu.state));
            info.vcpu.insert(vcpuid, oracle::shared_vcpu(v, vcpuid));
        }
    }
    for (i, image) in (0..).zip(&vm.images) {
        let image = Image {
            load_addr: image.load_addr.as_u64(),
            load_size: image.load_size,
            remap_addr: image.remap_addr.as_u64(),
            mapped_pages: image.mapped_pages,
        };
        info.images.insert(i, image);
    }
    (info != VmInfo::default()).then_some(info)
}

/// Banks that are not free.
fn banks(core: &Core) -> BTreeMap<u32, u32> {
    let mut nothing = Held::nothing();
    let (banks, _) = core.acquire_lock_smmu(&mut nothing);
    let all = (0..SMMU_NUM).flat_map(|k| (0..SMMU_NUM_CTXT_BANKS).map(move |b| (k, b)));
    all.filter_map(|(k, b)| {
        let owner = banks.owner(SmmuIndex::new(k.into())?, ContextBank::new(b.into())?)?;
        Some((smmu_id(k, b), owner.index() as u32))
    })
    .collect()
}

/// The physical page behind each io page of each bank.
fn spts(core: &Core) -> BTreeMap<(u32, u64), u64> {
    let mut found = BTreeMap::new();
    let mut nothing = Held::nothing();
    let section = core.acquire_lock_spt(&mut nothing);
    for (k, b) in (0..SMMU_NUM).flat_map(|k| (0..SMMU_NUM_CTXT_BANKS).map(move |b| (k, b))) {
        if let (Some(smmu), Some(bank)) = (SmmuIndex::new(k.into()), ContextBank::new(b.into()))
            && let Some(root) = section.get_smmu_cfg_hw_ttbr(bank, smmu)
        {
            for leaf in core.machine().raw_leaves_of(root, PTRS_PER_S2_PGD) {
                found.insert((smmu_id(k, b), leaf.ipa / PAGE_SIZE), phys_page(leaf.descriptor) / PAGE_SIZE);
            }
        }
    }
    found
}

/// Shadow contexts that are not empty: of VMs, and of the host's vCPU that is this CPU.
fn ctxts(core: &Core) -> BTreeMap<u32, RegisterFile> {
    let mut found = BTreeMap::new();
    let mut add = |v, c, context: &ShadowContext| {
        if *context != ShadowContext::ZERO {
            found.insert(ctxt_id(v, c), contexts::of(context));
        }
    };
    let mut nothing = Held::nothing();
    add(HOSTVISOR, core.machine().cpu() as u32, &core.host_context(&mut nothing).0);
    for v in 1..COREVISOR {
        for c in 0..VCPU_PER_VM {
            let (vmid, vcpu) = (Vmid::new(v.into()), VcpuId::new(c.into()));
            if let (Some(vmid), Some(vcpu)) = (vmid, vcpu)
                && let Ok((context, _)) = core.context(vmid, vcpu, &mut nothing)
            {
                add(v, c, &context);
            }
        }
    }
    found
}

/// The record of a page that is simply the host's.
pub fn host_page(pfn: u64) -> S2Page {
    S2Page { owner: HOSTVISOR, count: 0, gfn: pfn + SMMU_HOST_OFFSET }
}

impl View {
    /// The abstract state of `core`.
    pub fn of(core: &Core) -> Self {
        Observer::new(core).view
    }

    /// The host's table.
    pub fn host(&self) -> &[Run] {
        &self.npts[HOSTVISOR as usize]
    }

    /// The host's table, to be changed by a test of the comparison.
    pub fn host_mut(&mut self) -> &mut Vec<Run> {
        Rc::make_mut(&mut self.npts[HOSTVISOR as usize])
    }

    /// The records, to be changed by a test of the comparison.
    pub fn s2page_mut(&mut self) -> &mut BTreeMap<u64, S2Page> {
        Rc::make_mut(&mut self.s2page)
    }

    /// The ownership record of a page, whether tracked or not.
    pub fn page(&self, pfn: u64) -> S2Page {
        let address = pfn.saturating_mul(PAGE_SIZE);
        let region = self.regions.iter().rev().find(|r| r.base <= address && address - r.base < r.size);
        match region {
            Some(r) if r.index != INVALID64 => self.s2page.get(&pfn).copied().unwrap_or(host_page(pfn)),
            _ => S2Page { owner: INVALID, count: INVALID, gfn: INVALID64 },
        }
    }

    /// Entry of a page in the table of `vmid`.
    pub fn entry(&self, vmid: u32, gfn: u64) -> NptEntry {
        let table = &self.npts[vmid as usize];
        let after = table.partition_point(|run| run.gfn <= gfn);
        match table[..after].last() {
            Some(run) if gfn < run.gfn + run.pages => run.entry(gfn),
            _ => NptEntry::default(),
        }
    }

    /// Entry of a page in the host's table.
    pub fn host_entry(&self, gfn: u64) -> NptEntry {
        self.entry(HOSTVISOR, gfn)
    }

    /// The whole as a state of the specification, page by page. The tables that exist, and the bump pointers, are those
    /// that the mapped pages need (D-71).
    pub fn state(&self) -> RData {
        let mut d = RData::new(S2Index::Pfn);
        for (&pfn, &page) in &*self.s2page {
            d.s2page.set(pfn, page);
        }
        for (vmid, table) in (0..).zip(&self.npts) {
            let npt = d.npt(vmid);
            for run in &**table {
                npt.pt.extend((run.gfn..run.gfn + run.pages).map(|gfn| (gfn, run.entry(gfn))));
            }
            complete(npt, vmid);
        }
        for (&(id, gfn), &pfn) in &*self.spts {
            let (ttbr, address) = (smmu_ttbr(id / SMMU_NUM_CTXT_BANKS, id % SMMU_NUM_CTXT_BANKS), gfn * PAGE_SIZE);
            d.spts.pt.insert((ttbr, gfn), SptEntry { pfn, pte: address_bits(pfn) });
            d.spts.pgd_t.insert((ttbr, s2_pgd_idx(address)));
            d.spts.pmd_t.insert((ttbr, s2_pgd_idx(address), pmd_idx(address)));
        }
        d.spts.pgd_next += d.spts.pgd_t.len() as u64 * PAGE_SIZE;
        d.spts.pmd_next += d.spts.pmd_t.len() as u64 * PAGE_SIZE;
        d.vminfos = self.vms.clone();
        d.core_data = self.core_data;
        d.smmu_vmid = self.smmu_vmid.clone();
        d.shadow_ctxts = self.ctxts.clone();
        d
    }
}

/// A leaf of an SMMU's table, with attributes of no interest.
fn address_bits(pfn: u64) -> u64 {
    (pfn * PAGE_SIZE) | TABLE
}

/// Makes the tables of `vmid` that exist, and its bump pointers, those that its entries need.
pub fn complete(npt: &mut Npt, vmid: u32) {
    (npt.pgd_t, npt.pud_t, npt.pmd_t) = Default::default();
    for (&gfn, entry) in &npt.pt {
        let address = gfn * PAGE_SIZE;
        npt.pgd_t.insert(pgd_idx(address));
        npt.pud_t.insert((pgd_idx(address), pud_idx(address)));
        if entry.level == 3 {
            npt.pmd_t.insert((pgd_idx(address), pud_idx(address), pmd_idx(address)));
        }
    }
    npt.pgd_next = pgd_start(vmid) + npt.pgd_t.len() as u64 * PAGE_SIZE;
    npt.pud_next = pud_start(vmid) + npt.pud_t.len() as u64 * PAGE_SIZE;
    npt.pmd_next = pmd_start(vmid) + npt.pmd_t.len() as u64 * PAGE_SIZE;
}
