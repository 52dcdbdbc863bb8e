// SPDX-License-Identifier: GPL-2.0-only
//! One step: what the model does, and what the library does.

use corevisor::addr::{Gfn, HOSTVISOR, Ipa, Pa, Pfn, Vmid};
use corevisor::lock::Held;
use corevisor::memory::Count;
use corevisor::npt::{self, Desc, Level, Mapping};
use corevisor::refused::Refused;
use corevisor::trap::{HostAbort, Syndrome, Verdict};
use model::constants::model_only::{PAGE_S2_KERNEL, SMMU_HOST_OFFSET};
use model::constants::{self, COREVISOR, INVALID, INVALID64, PAGE_S2_DEVICE, PAGE_SIZE, S2_RDWR};
use model::fault_handler::handle_host_stage2_fault;
use model::library::{self, Core};
use model::locks::{acquire_lock_pt, acquire_lock_s2page, release_lock_pt, release_lock_s2page};
use model::mem_manager::map_page_host;
use model::mem_region::mem_region_search;
use model::npt_ops::{clear_pfn_host, get_level_s2pt, map_s2pt, walk_s2pt};
use model::npt_walk::{get_npt_level, walk_npt};
use model::page_index::get_s2_page_index;
use model::page_manager::{get_pfn_count, get_pfn_map, get_pfn_owner, set_pfn_count, set_pfn_map, set_pfn_owner};
use model::page_table::NptEntry;
use model::{RData, Spec};

/// A data abort of the host's: translation fault at level 3.
const TRANSLATION_FAULT: u64 = (0x24 << 26) | Syndrome::IL | 0b00_0111;

/// A step. Addresses are below 2^48, page numbers below 2^36.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// MM-1.
    MapPageHost(u64),
    /// FH-1, with this HPFAR_EL2.
    Fault(u64),
    /// NO-4.
    ClearPfnHost(u64),
    /// NO-3, a page, with what MM-1 would map there.
    MapPage(u64),
    /// NO-3, a block, with what MM-1 would map there.
    MapBlock(u64),
    /// PM-1, PM-3, PM-5 in one section.
    Get(u64),
    /// NO-4 if `unmap`; PM-2, PM-4, PM-6; all in one section of S2PAGE.
    Set { pfn: u64, owner: u32, count: u32, gfn: u64, unmap: bool },
    /// PM-2 alone.
    SetOwner(u64, u32),
    /// PM-4 alone, after NO-4 if `unmap`.
    SetCount { pfn: u64, count: u32, unmap: bool },
    /// PM-6 alone.
    SetMap(u64, u64),
    /// MR-1.
    Search(u64),
    /// PI-1.
    Index(u64),
    /// NO-1 and NO-2; or NW-1 and NW-2 in one section of PT(0).
    Walk { address: u64, section: bool },
    /// The host's own access: none of the specification's steps, but the TLB will know the page.
    Access(u64),
}

/// What the library gives, and the model, too, if it gives anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Unit,
    /// A record.
    Record(u32, u32, u64),
    /// A number of a region or record.
    Number(u64),
    /// An entry of the host's table, with NW-1's view of its level.
    Entry(NptEntry),
}

/// A section of S2PAGE.
fn section<T>(d: &mut RData, body: impl FnOnce(&mut RData) -> Spec<T>) -> Spec<T> {
    acquire_lock_s2page(d)?;
    let value = body(d)?;
    release_lock_s2page(d)?;
    Some(value)
}

/// What MM-1 maps at `page`: attributes for the model, and for the library. Nothing for a page that the host may not have.
fn host_attributes(d: &RData, page: u64) -> Option<(u64, u64)> {
    let record = d.s2page.get(page);
    match record.owner {
        INVALID => Some((PAGE_S2_DEVICE | S2_RDWR, npt::PAGE_S2_DEVICE | npt::S2_RDWR)),
        0 => Some((PAGE_S2_KERNEL, npt::PAGE_S2_KERNEL)),
        _ if (1..=constants::MAX_SHARE_COUNT).contains(&record.count) => Some((PAGE_S2_KERNEL, npt::PAGE_S2_KERNEL)),
        _ => None,
    }
}

/// The same for the block of `page`, if it is the same for all pages of it.
fn block_attributes(d: &RData, page: u64) -> Option<(u64, u64)> {
    let first = page & !511;
    let attributes = host_attributes(d, first)?;
    (first..first + 512).all(|page| host_attributes(d, page) == Some(attributes)).then_some(attributes)
}

impl Step {
    /// A page that the step is about.
    pub fn page(&self) -> u64 {
        match *self {
            Self::MapPageHost(a) | Self::MapPage(a) | Self::MapBlock(a) | Self::Search(a) | Self::Access(a) => {
                a / PAGE_SIZE
            }
            Self::Index(a) | Self::Walk { address: a, .. } => a / PAGE_SIZE,
            Self::Fault(hpfar) => fault_address(hpfar) / PAGE_SIZE,
            Self::ClearPfnHost(p) | Self::Get(p) | Self::SetOwner(p, _) | Self::SetMap(p, _) => p,
            Self::Set { pfn, .. } | Self::SetCount { pfn, .. } => pfn,
        }
    }

    /// Its name, for counting.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MapPageHost(_) => "MM-1",
            Self::Fault(_) => "FH-1",
            Self::ClearPfnHost(_) => "NO-4",
            Self::MapPage(_) => "NO-3 page",
            Self::MapBlock(_) => "NO-3 block",
            Self::Get(_) => "PM-1 PM-3 PM-5",
            Self::Set { .. } => "PM-2 PM-4 PM-6",
            Self::SetOwner(..) => "PM-2",
            Self::SetCount { .. } => "PM-4",
            Self::SetMap(..) => "PM-6",
            Self::Search(_) => "MR-1",
            Self::Index(_) => "PI-1",
            Self::Walk { section: false, .. } => "NO-1 NO-2",
            Self::Walk { section: true, .. } => "NW-1 NW-2",
            Self::Access(_) => "access",
        }
    }

    /// Whether it can be taken in the state `d`: setters keep to records that the specification calls legal, and NO-3 maps
    /// only what MM-1 would, because both leave these tests to their callers. `is_boot` tells Corevisor's pages of boot,
    /// which nobody ever sets.
    pub fn is_legal(&self, d: &RData, is_boot: impl Fn(u64) -> bool) -> bool {
        let pfn = self.page();
        let record = d.s2page.get(pfn);
        let tracked = record.owner != INVALID;
        let private = |count: u32| !(1..=constants::MAX_SHARE_COUNT).contains(&count);
        match *self {
            Self::MapPage(_) => host_attributes(d, pfn).is_some(),
            Self::MapBlock(_) => block_attributes(d, pfn).is_some(),
            Self::Set { .. } | Self::SetOwner(..) | Self::SetCount { .. } | Self::SetMap(..) if !tracked => true,
            Self::Set { .. } | Self::SetOwner(..) | Self::SetCount { .. } | Self::SetMap(..) if is_boot(pfn) => false,
            Self::Set { owner: 0, count, gfn, .. } => count <= 16 && gfn == pfn + SMMU_HOST_OFFSET,
            Self::Set { owner: COREVISOR, count, unmap, .. } => private(count) && unmap,
            Self::Set { count, unmap, .. } => (count == INVALID || count <= 100) && (unmap || !private(count)),
            Self::SetOwner(_, owner) => record.owner != 0 && owner != 0 && owner != COREVISOR,
            Self::SetCount { count, .. } if record.owner == 0 => count <= 16,
            Self::SetCount { count, unmap, .. } if private(count) => (count == 0 || count == INVALID) && unmap,
            Self::SetCount { .. } => record.owner != COREVISOR,
            Self::SetMap(_, gfn) => record.owner != 0 || gfn == pfn + SMMU_HOST_OFFSET,
            _ => true,
        }
    }

    /// Takes the step in the model.
    pub fn in_model(&self, d: &mut RData) -> Spec<Value> {
        let unit = |()| Value::Unit;
        match *self {
            Self::MapPageHost(address) => map_page_host(d, address).map(unit),
            Self::Fault(hpfar) => {
                d.regs.set("hpfar_el2", hpfar);
                d.regs.set("esr_el2", TRANSLATION_FAULT);
                handle_host_stage2_fault(d).map(unit)
            }
            Self::ClearPfnHost(pfn) => clear_pfn_host(d, pfn).map(unit),
            Self::MapPage(address) => {
                let page = address & !(PAGE_SIZE - 1);
                let pte = page | host_attributes(d, address / PAGE_SIZE)?.0;
                map_s2pt(d, 0, address, 3, pte).map(unit)
            }
            Self::MapBlock(address) => {
                let block = address & !(512 * PAGE_SIZE - 1);
                let pte = block | block_attributes(d, address / PAGE_SIZE)?.0 & !constants::PMD_TABLE_BIT;
                map_s2pt(d, 0, address, 2, pte).map(unit)
            }
            Self::Get(pfn) => section(d, |d| {
                Some(Value::Record(get_pfn_owner(d, pfn)?, get_pfn_count(d, pfn)?, get_pfn_map(d, pfn)?))
            }),
            Self::Set { pfn, owner, count, gfn, unmap } => section(d, |d| {
                if unmap {
                    clear_pfn_host(d, pfn)?;
                }
                set_pfn_owner(d, pfn, owner)?;
                set_pfn_count(d, pfn, count)?;
                set_pfn_map(d, pfn, gfn).map(unit)
            }),
            Self::SetOwner(pfn, owner) => section(d, |d| set_pfn_owner(d, pfn, owner).map(unit)),
            Self::SetCount { pfn, count, unmap } => section(d, |d| {
                if unmap {
                    clear_pfn_host(d, pfn)?;
                }
                set_pfn_count(d, pfn, count).map(unit)
            }),
            Self::SetMap(pfn, gfn) => section(d, |d| set_pfn_map(d, pfn, gfn).map(unit)),
            Self::Search(address) => Some(Value::Number(match mem_region_search(d, address)? {
                INVALID => INVALID64,
                index => index.into(),
            })),
            Self::Index(address) => get_s2_page_index(d, address).map(Value::Number),
            Self::Walk { address, section } => {
                let (level, pte) = if section {
                    acquire_lock_pt(d, 0)?;
                    let entry = (get_npt_level(d, 0, address)?, walk_npt(d, 0, address)?);
                    release_lock_pt(d, 0)?;
                    entry
                } else {
                    (get_level_s2pt(d, 0, address)?, walk_s2pt(d, 0, address)?)
                };
                Some(Value::Entry(NptEntry { pfn: constants::phys_page(pte) / PAGE_SIZE, level, pte }))
            }
            Self::Access(_) => Some(Value::Unit),
        }
    }

    /// Takes the step in the library; `d` is the model's state before it.
    pub fn in_library(&self, core: &Core, d: &RData) -> Result<Value, Refused> {
        let mut nothing = Held::nothing();
        let unit = |()| Value::Unit;
        match *self {
            Self::MapPageHost(address) => core.map_page_host(ipa(address), &mut nothing).map(unit),
            Self::Fault(hpfar) => {
                let abort = HostAbort { syndrome: Syndrome(TRANSLATION_FAULT), far: 0, hpfar, pc: 0 };
                match core.handle_host_stage2_fault(&abort, &mut [0; 31], &mut nothing) {
                    Verdict::Retry | Verdict::Skip => Ok(Value::Unit),
                    Verdict::ExternalAbort => Err(Refused::NotHostPage(pfn(fault_address(hpfar) / PAGE_SIZE))),
                }
            }
            Self::ClearPfnHost(page) => core.clear_pfn_host(pfn(page), &mut nothing).map(unit),
            Self::MapPage(address) => {
                let (page, attributes) = (pfn(address / PAGE_SIZE), host_attributes(d, address / PAGE_SIZE));
                let leaf = Desc::leaf(page.base(), Level::L3, attributes.expect("a legal step").1);
                core.map_s2pt(HOSTVISOR, ipa(address), Level::L3, leaf, &mut nothing).map(unit)
            }
            Self::MapBlock(address) => {
                let (block, attributes) = (pfn((address / PAGE_SIZE) & !511), block_attributes(d, address / PAGE_SIZE));
                let leaf = Desc::leaf(block.base(), Level::L2, attributes.expect("a legal step").1);
                core.map_s2pt(HOSTVISOR, ipa(address), Level::L2, leaf, &mut nothing).map(unit)
            }
            Self::Get(page) => {
                let (s2page, _held) = core.acquire_lock_s2page(&mut nothing);
                let owner = library::owner(s2page.get_pfn_owner(pfn(page)));
                let count = library::count(s2page.get_pfn_count(pfn(page)));
                Ok(Value::Record(owner, count, s2page.get_pfn_map(pfn(page)).unwrap_or(INVALID64)))
            }
            Self::Set { pfn: page, owner, count, gfn, unmap } => {
                let (mut s2page, mut held) = core.acquire_lock_s2page(&mut nothing);
                if unmap {
                    core.clear_pfn_host(pfn(page), &mut held)?;
                }
                s2page.set_pfn_owner(pfn(page), vmid(owner));
                s2page.set_pfn_count(pfn(page), library_count(count));
                s2page.set_pfn_map(pfn(page), library_gfn(gfn));
                Ok(Value::Unit)
            }
            Self::SetOwner(page, owner) => {
                core.acquire_lock_s2page(&mut nothing).0.set_pfn_owner(pfn(page), vmid(owner));
                Ok(Value::Unit)
            }
            Self::SetCount { pfn: page, count, unmap } => {
                let (mut s2page, mut held) = core.acquire_lock_s2page(&mut nothing);
                if unmap {
                    core.clear_pfn_host(pfn(page), &mut held)?;
                }
                s2page.set_pfn_count(pfn(page), library_count(count));
                Ok(Value::Unit)
            }
            Self::SetMap(page, gfn) => {
                core.acquire_lock_s2page(&mut nothing).0.set_pfn_map(pfn(page), library_gfn(gfn));
                Ok(Value::Unit)
            }
            Self::Search(address) => {
                let found = core.regions().mem_region_search(pa(address));
                let index = found.and_then(|found| core.regions().iter().position(|r| r == found));
                Ok(Value::Number(index.map_or(INVALID64, |index| index as u64)))
            }
            Self::Index(address) => {
                let index = core.regions().get_s2_page_index(pa(address).frame());
                Ok(Value::Number(index.map_or(INVALID64, |index| index as u64)))
            }
            Self::Walk { address, section } => {
                let (level, desc) = if section {
                    let mut pt = core.acquire_lock_pt(HOSTVISOR, &mut nothing)?;
                    let found = (pt.get_npt_level(ipa(address))?, pt.walk_npt(ipa(address))?);
                    pt.release_lock_pt();
                    found
                } else {
                    let level = core.get_level_s2pt(HOSTVISOR, ipa(address), &mut nothing)?;
                    (level, core.walk_s2pt(HOSTVISOR, ipa(address), &mut nothing)?)
                };
                let mapping = Mapping { level: level.unwrap_or(Level::L3), desc };
                Ok(Value::Entry(entry(mapping, ipa(address))))
            }
            Self::Access(address) => {
                let _ = core.machine().access(HOSTVISOR, ipa(address));
                Ok(Value::Unit)
            }
        }
    }
}

/// What the library's walk says of `ipa`, as the specification's entry of that page, and the level as NW-1 gives it.
pub fn entry(mapping: Mapping, ipa: Ipa) -> NptEntry {
    let page = mapping.translate(ipa).map_or(0, |pa| pa.frame().as_u64());
    let (_, attributes) = match mapping.desc {
        desc if desc.is_none() => (0, 0),
        desc => library::decode(desc.as_u64()),
    };
    NptEntry { pfn: page, level: if page == 0 { 0 } else { 3 }, pte: (page * PAGE_SIZE) | attributes }
}

/// The page that FH-1 is about, all of HPFAR_EL2.FIPA used (D-54), below 2^48.
pub fn fault_address(hpfar: u64) -> u64 {
    (hpfar >> 4 << 12) & ((1 << 48) - 1)
}

fn ipa(address: u64) -> Ipa {
    Ipa::new(address).expect("below 2^48")
}

fn pa(address: u64) -> Pa {
    Pa::new(address).expect("below 2^48")
}

fn pfn(number: u64) -> Pfn {
    Pfn::new(number).expect("below 2^36")
}

fn vmid(owner: u32) -> Vmid {
    Vmid::new(owner.into()).expect("a principal")
}

fn library_count(count: u32) -> Count {
    if count == INVALID { Count::DmaPending } else { Count::Shares(count.try_into().expect("at most 254")) }
}

fn library_gfn(gfn: u64) -> Option<Gfn> {
    (gfn != INVALID64).then(|| Gfn::new(gfn).expect("below 2^36"))
}
