// SPDX-License-Identifier: GPL-2.0-only
//! Layers LockOps to NPTOps.

use super::args::Args;
use super::{Did, Library, Row, Value, done, ran};
use crate::library::encode;
use corevisor::addr::{HOSTVISOR, PAGE_SIZE, Vmid};
use corevisor::lock::Held;
use corevisor::npt::{Desc, Level};
use corevisor::refused::Refused;

/// A level as the specification has it: 0, 2 or 3. The library's level 1 is a bigger block.
fn level(level: Option<Level>) -> u64 {
    match level {
        None => 0,
        Some(Level::L3) => 3,
        Some(_) => 2,
    }
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    let mut nothing = Held::nothing();
    let page = |i| Some(args.number(i)? / PAGE_SIZE);
    let table = |s: &Library, v: Vmid| s.table(v);
    match name {
        // Locks are guards, and words of tables and bump pointers the library's own.
        "acquire_shared" | "release_shared_pt" | "release_shared_spt" | "release_shared_s2page" | "release_shared_core"
        | "release_shared_vm" | "release_shared_smmu" | "get_now" | "incr_now" | "barrier" | "log_hold" | "incr_ticket"
        | "wait_lock" | "pass_lock" | "wait_qlock" | "pass_qlock" | "wait_hlock" | "pass_hlock" | "acquire_lock"
        | "acquire_lock_pt" | "acquire_lock_spt" | "acquire_lock_s2page" | "acquire_lock_core" | "acquire_lock_vm"
        | "acquire_lock_smmu" | "release_lock_pt" | "release_lock_spt" | "release_lock_s2page" | "release_lock_core"
        | "release_lock_vm" | "release_lock_smmu" | "get_pgd_next" | "set_pgd_next" | "get_pud_next" | "set_pud_next"
        | "get_pmd_next" | "set_pmd_next" | "pt_load" | "pt_store" | "get_pt_vttbr" | "set_pt_vttbr"
        | "mem_load_ref" | "mem_store_ref" | "mem_load_raw" | "mem_store_raw"
        // Control and environment.
        | "check" | "check64" | "panic" => Some(Did::Nothing),
        "get_npt_level" | "get_level_s2pt" => {
            let (v, ipa) = (args.v(0)?, args.ipa(1)?);
            table(s, v);
            let found = if name == "get_npt_level" {
                s.core.acquire_lock_pt(v, &mut nothing).and_then(|mut pt| pt.get_npt_level(ipa))
            } else {
                s.core.get_level_s2pt(v, ipa, &mut nothing)
            };
            ran(found, |found| Value::Level(v, ipa.as_u64() / PAGE_SIZE, level(found)))
        }
        "walk_npt" | "walk_s2pt" => {
            let (v, ipa) = (args.v(0)?, args.ipa(1)?);
            table(s, v);
            let found = if name == "walk_npt" {
                s.core.acquire_lock_pt(v, &mut nothing).and_then(|mut pt| pt.walk_npt(ipa))
            } else {
                s.core.walk_s2pt(v, ipa, &mut nothing)
            };
            let gfn = page(1)?;
            ran(found, |desc: Desc| Value::Desc(v, gfn, desc))
        }
        "set_npt" | "map_s2pt" => {
            let (v, ipa, level) = (args.v(0)?, args.ipa(1)?, args.level(2)?);
            let leaf = encode(args.number(3)?, level)?;
            table(s, v);
            if v == HOSTVISOR && level == Level::L3 {
                s.settle(ipa.host_pa().frame());
            }
            if name == "map_s2pt" {
                return done(s.core.map_s2pt(v, ipa, level, leaf, &mut nothing));
            }
            let section: Result<(), Refused> =
                s.core.acquire_lock_pt(v, &mut nothing).and_then(|mut pt| pt.set_npt(ipa, level, leaf));
            done(section)
        }
        "clear_pfn_host" => done(s.core.clear_pfn_host(args.pfn(0)?, &mut nothing)),
        _ => Some(Did::Unknown),
    }
}
