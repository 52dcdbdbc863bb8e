// SPDX-License-Identifier: GPL-2.0-only
//! Layers MemRegion to MemManager, MemoryOps and MemHandler.

use super::args::Args;
use super::{Did, Library, Row, Value, done, number};
use crate::constants::{INVALID, INVALID64, PAGE_SIZE};
use crate::library;
use crate::rdata::{REGIONS, S2Index};
use corevisor::addr::{Gfn, Pa, Pfn};
use corevisor::lock::Held;
use corevisor::memory::{Count, sg_pages};
use corevisor::npt::{Desc, Level};

/// A count in the library's type.
fn count(count: u64) -> Option<Count> {
    if count == u64::from(INVALID) { Some(Count::DmaPending) } else { Some(Count::Shares(count.try_into().ok()?)) }
}

/// The owner's page number: none, or one that the library's type can hold.
fn gfn(gfn: u64) -> Option<Option<Gfn>> {
    if gfn == INVALID64 { Some(None) } else { Some(Some(Gfn::new(gfn)?)) }
}

/// The page whose record has this number, if it has one. In the view from PageManager upward the number is the page's.
fn record(s: &Library, index: u64) -> Option<Pfn> {
    let tracked = REGIONS.iter().filter(|r| r.index != INVALID64);
    let pfn = match s.before.s2page.index() {
        S2Index::Pfn => tracked
            .clone()
            .any(|r| r.base / PAGE_SIZE <= index && index < (r.base + r.size) / PAGE_SIZE)
            .then_some(index)?,
        S2Index::Record => tracked
            .clone()
            .find(|r| r.index <= index && index - r.index < r.size / PAGE_SIZE)
            .map(|r| r.base / PAGE_SIZE + index - r.index)?,
    };
    Pfn::new(pfn)
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    let mut nothing = Held::nothing();
    let core = &s.core;
    match name {
        // Constants of the platform.
        "get_mem_region_cnt" => number(REGIONS.len() as u64),
        "get_mem_region_base" => region(s, args, |r| r.range.start),
        "get_mem_region_size" => region(s, args, |r| r.range.size()),
        "get_mem_region_index" => region(s, args, |r| r.index.unwrap_or(INVALID64)),
        "get_mem_region_flag" => Some(Did::Nothing),
        "mem_region_search" => {
            let found = core.regions().mem_region_search(args.pa(0)?);
            let index = found.and_then(|found| core.regions().iter().position(|r| r == found));
            number(index.map_or(INVALID.into(), |index| index as u64))
        }
        "get_s2_page_index" => {
            let index = core.regions().get_s2_page_index(args.pa(0)?.frame());
            number(index.map_or(INVALID64, |index| index as u64))
        }
        "get_pfn_owner" => number(library::owner(core.acquire_lock_s2page(&mut nothing).0.get_pfn_owner(args.pfn(0)?))),
        "get_pfn_count" => number(library::count(core.acquire_lock_s2page(&mut nothing).0.get_pfn_count(args.pfn(0)?))),
        "get_pfn_map" => {
            let map = core.acquire_lock_s2page(&mut nothing).0.get_pfn_map(args.pfn(0)?);
            number(map.unwrap_or(INVALID64))
        }
        "set_pfn_owner" => {
            let (pfn, owner) = (args.pfn(0)?, args.v(1)?);
            s.settle(pfn);
            core.acquire_lock_s2page(&mut nothing).0.set_pfn_owner(pfn, owner);
            done(Ok(()))
        }
        "set_pfn_count" => {
            let (pfn, count) = (args.pfn(0)?, count(args.number(1)?)?);
            s.settle(pfn);
            core.acquire_lock_s2page(&mut nothing).0.set_pfn_count(pfn, count);
            done(Ok(()))
        }
        "set_pfn_map" => {
            core.acquire_lock_s2page(&mut nothing).0.set_pfn_map(args.pfn(0)?, gfn(args.number(1)?)?);
            done(Ok(()))
        }
        "get_s2_page_vmid" => {
            let pfn = record(s, args.number(0)?)?;
            number(library::owner(s.core.acquire_lock_s2page(&mut nothing).0.get_pfn_owner(pfn)))
        }
        "get_s2_page_count" => {
            let pfn = record(s, args.number(0)?)?;
            number(library::count(s.core.acquire_lock_s2page(&mut nothing).0.get_pfn_count(pfn)))
        }
        "get_s2_page_gfn" => {
            let pfn = record(s, args.number(0)?)?;
            number(s.core.acquire_lock_s2page(&mut nothing).0.get_pfn_map(pfn).unwrap_or(INVALID64))
        }
        "set_s2_page_vmid" => {
            let (pfn, owner) = (record(s, args.number(0)?)?, args.v(1)?);
            s.settle(pfn);
            s.core.acquire_lock_s2page(&mut nothing).0.set_pfn_owner(pfn, owner);
            done(Ok(()))
        }
        "set_s2_page_count" => {
            let (pfn, count) = (record(s, args.number(0)?)?, count(args.number(1)?)?);
            s.settle(pfn);
            s.core.acquire_lock_s2page(&mut nothing).0.set_pfn_count(pfn, count);
            done(Ok(()))
        }
        "set_s2_page_gfn" => {
            let (pfn, gfn) = (record(s, args.number(0)?)?, gfn(args.number(1)?)?);
            s.core.acquire_lock_s2page(&mut nothing).0.set_pfn_map(pfn, gfn);
            done(Ok(()))
        }
        // Contents of pages: the simulated machine has real ones.
        "fetch_from_doracle" | "clear_phys_page" | "encrypt_mem_buf" | "decrypt_mem_buf" => Some(Did::Nothing),
        "map_page_host" => done(core.map_page_host(args.ipa(0)?, &mut nothing)),
        "clear_vm_page" => {
            let (v, pfn) = (args.v(0)?, args.pfn(1)?);
            s.table(v);
            done(s.core.clear_vm_page(v, pfn, &mut nothing))
        }
        "assign_pfn_to_vm" => done(core.assign_pfn_to_vm(args.v(0)?, args.gfn(1)?, args.pfn(2)?, &mut nothing)),
        "map_pfn_vm" => {
            let (v, ipa, pa) = (args.v(0)?, args.ipa(1)?, page_in(args.number(2)?));
            s.table(v);
            done(s.core.map_pfn_vm(v, ipa, pa, leaf_level(args, 3)?, &mut nothing))
        }
        "map_vm_io" => {
            let (v, gpa, pa) = (args.v(0)?, args.ipa(1)?, args.pa(2)?);
            s.table(v);
            done(s.core.map_vm_io(v, gpa, pa, &mut nothing))
        }
        "grant_vm_page" => {
            core.grant_vm_page(args.v(0)?, args.pfn(1)?, &mut nothing);
            done(Ok(()))
        }
        "revoke_vm_page" => done(core.revoke_vm_page(args.v(0)?, args.pfn(1)?, &mut nothing)),
        "clear_vm_range" => {
            let (v, pfn) = (args.v(0)?, args.pfn(1)?);
            s.table(v);
            done(s.core.clear_vm_range(v, pfn, not_for_ever(args.number(2)?)?, &mut nothing))
        }
        "prot_and_map_vm_s2pt" => {
            let (v, ipa, pa) = (args.v(0)?, args.ipa(1)?, page_in(args.number(2)?));
            s.table(v);
            done(s.core.prot_and_map_vm_s2pt(v, ipa, pa, leaf_level(args, 3)?, &mut nothing))
        }
        "grant_stage2_sg_gpa" | "revoke_stage2_sg_gpa" => {
            let (v, ipa, size) = (args.v(0)?, args.ipa(1)?, args.number(2)?);
            not_for_ever(size / PAGE_SIZE)?;
            s.table(v);
            // What is left of a long range is the next call's.
            let mut pages = 0;
            done(loop {
                let next = if name == "grant_stage2_sg_gpa" {
                    s.core.grant_stage2_sg_gpa(v, ipa, size, pages, &mut nothing)
                } else {
                    s.core.revoke_stage2_sg_gpa(v, ipa, size, pages, &mut nothing)
                };
                match next {
                    Ok(next) if next < sg_pages(size) && next > pages => pages = next,
                    Ok(_) => break Ok(()),
                    Err(why) => break Err(why),
                }
            })
        }
        "clear_vm_stage2_range" => {
            let (v, start, size) = (args.v(0)?, args.pa(1)?, args.number(2)?);
            s.table(v);
            let (mut at, mut left) = (start, size);
            done(loop {
                match s.core.clear_vm_stage2_range(v, at, left, &mut nothing) {
                    Ok(0) => break Ok(()),
                    Ok(next) => {
                        at = at.checked_add(left - next)?;
                        left = next;
                    }
                    Err(why) => break Err(why),
                }
            })
        }
        "kvm_phys_addr_ioremap" => {
            let (v, gpa, pa, size) = (args.v(0)?, args.ipa(1)?, args.pa(2)?, args.number(3)?);
            not_for_ever(size / PAGE_SIZE)?;
            s.table(v);
            let (mut gpa, mut pa, mut left) = (gpa, pa, size);
            Some(loop {
                match s.core.kvm_phys_addr_ioremap(v, gpa, pa, left, &mut nothing) {
                    Ok(0) => break Did::Ran(Ok(Value::None)),
                    Ok(next) => {
                        (gpa, pa) = (gpa.checked_add(left - next)?, pa.checked_add(left - next)?);
                        left = next;
                    }
                    Err(why) if left < size => break Did::Partly(why),
                    Err(why) => break Did::Ran(Err(why)),
                }
            })
        }
        "map_io" => {
            let (v, gpa, pa) = (args.v(0)?, args.ipa(1)?, args.pa(2)?);
            s.table(v);
            done(s.core.map_io(v, gpa, pa, &mut nothing))
        }
        _ => Some(Did::Unknown),
    }
}

/// Pages that a step may be about.
const MANY_PAGES: u64 = 1 << 16;

/// A number of pages. None where the library would call for minutes, page by page, as the host would.
fn not_for_ever(pages: u64) -> Option<u64> {
    (pages <= MANY_PAGES).then_some(pages)
}

/// The page address in a descriptor.
fn page_in(pte: u64) -> Pa {
    Desc::from_u64(pte).pp()
}

/// The level of a leaf: 2, or else 3.
fn leaf_level(args: &Args, i: usize) -> Option<Level> {
    Some(if args.number(i)? == 2 { Level::L2 } else { Level::L3 })
}

/// A field of a memory region. The last one is the world's, of which the specification knows nothing.
fn region(s: &Library, args: &Args, field: impl FnOnce(&corevisor::memory::MemRegion) -> u64) -> Row {
    let index = args.number(0)? as usize;
    let region = s.core.regions().iter().take(REGIONS.len()).nth(index);
    Some(Did::Ran(Ok(Value::Number(region.map_or(0, field)))))
}
