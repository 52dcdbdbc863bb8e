// SPDX-License-Identifier: GPL-2.0-only
//! Layers MmioPTAlloc to MmioOps, with what of MemManager, BootOps and MemHandler is about SMMUs.

use super::args::Args;
use super::{Did, Library, Row, Value, done, number, ran};
use crate::constants::INVALID;
use crate::rdata::SMMU_COUNT;
use crate::registers::GP;
use corevisor::addr::{Ipa, Pa, Range};
use corevisor::lock::Held;
use corevisor::mmio::{ContextBank, SmmuIndex};
use corevisor::npt::Desc;
use corevisor::refused::Refused;
use corevisor::trap::{HostAbort, Registers, Syndrome, Verdict};

/// A leaf of an SMMU's table for one of the specification's, whose attributes can be anything: those of a valid page.
fn leaf(pte: u64) -> Option<Desc> {
    const PAGE: u64 = 0b11 | 1 << 10;
    let page = crate::constants::phys_page(pte);
    Some(if page == 0 { Desc::NONE } else { Desc::from_u64(Pa::new(page)?.as_u64() | PAGE) })
}

impl Library {
    /// The specification's tables of banks are there from the start, the library's come with the banks' owners.
    fn bank_table(&self, b: ContextBank, k: SmmuIndex) {
        let mut nothing = Held::nothing();
        let missing = self.core.acquire_lock_spt(&mut nothing).get_smmu_cfg_hw_ttbr(b, k).is_none();
        if missing {
            self.core.init_spt(b, k, &mut nothing).expect("few tables");
        }
    }

    /// The constants of SMMU `k`.
    fn smmu(&self, k: SmmuIndex) -> Option<(Range, u8)> {
        self.core.smmus().get(k.index()).map(|smmu| (smmu.window, smmu.context_banks))
    }

    /// The host's registers, and the abort that the specification's `hsr` tells of: one that the hardware describes in full.
    fn host_abort(&self, hpfar: u64, hsr: u64) -> (HostAbort, Registers) {
        const ACCESS: u64 = 0b11 << 22 | 0b1_1111 << 16 | 1 << 6;
        const TRANSLATION_FAULT: u64 = 0b00_0111;
        let syndrome = 0x24 << 26 | Syndrome::IL | Syndrome::ISV | hsr & ACCESS | TRANSLATION_FAULT;
        let d = &self.before;
        let empty = Default::default();
        let context = d.shadow_ctxts.get(&d.curid).unwrap_or(&empty);
        let regs = GP.map(|reg| context.get(reg));
        (HostAbort { syndrome: Syndrome(syndrome), far: d.regs.get("far_el2"), hpfar, pc: 0 }, regs)
    }
}

/// The rows.
pub fn call(s: &mut Library, name: &str, args: &Args) -> Row {
    let mut nothing = Held::nothing();
    match name {
        // The words of the tables are the library's own.
        "alloc_smmu_pgd_page"
        | "alloc_smmu_pmd_page"
        | "get_smmu_pgd_next"
        | "set_smmu_pgd_next"
        | "get_smmu_pmd_next"
        | "set_smmu_pmd_next"
        | "get_smmu_cfg_hw_ttbr"
        | "smmu_pt_load"
        | "smmu_pt_store"
        | "smmu_pt_clear"
        | "dev_load_ref"
        | "dev_store_ref"
        | "dev_load_raw"
        | "dev_store_raw"
        | "get_smmu_pgshift" => Some(Did::Nothing),
        // Parts of IO-1, which is where the library takes them, with the access whole and before it does anything.
        "host_get_mmio_data"
        | "smmu_init_pte"
        | "smmu_get_cbndx"
        | "handle_smmu_global_access"
        | "handle_smmu_cb_access"
        | "__handle_smmu_write"
        | "__handle_smmu_read"
        | "handle_smmu_write"
        | "handle_smmu_read"
        | "handle_host_mmio"
        | "host_dabt_get_rd"
        | "host_dabt_is_write"
        | "host_dabt_get_as"
        | "writel_relaxed"
        | "writeq_relaxed"
        | "readq_relaxed"
        | "readl_relaxed"
        | "host_skip_instr"
        | "host_get_fault_ipa"
        | "read_hpfar_el2"
        | "read_esr_el2" => Some(Did::Nothing),
        "get_smmu_num" => number(SMMU_COUNT),
        "get_smmu_num_context_banks" => number(s.smmu(args.smmu(0)?)?.1),
        "get_smmu_size" => number(s.smmu(args.smmu(0)?)?.0.size()),
        "get_smmu_base" => number(s.smmu(args.smmu(0)?)?.0.start),
        "get_smmu_cfg_vmid" => {
            let (b, k) = (args.bank(0)?, args.smmu(1)?);
            number(s.core.acquire_lock_smmu(&mut nothing).0.owner(k, b).map_or(INVALID, |v| v.index() as u32))
        }
        "set_smmu_cfg_vmid" => {
            let (b, k) = (args.bank(0)?, args.smmu(1)?);
            let owner = match args.number(2)? {
                none if none == u64::from(INVALID) => None,
                _ => Some(args.v(2)?),
            };
            s.core.acquire_lock_smmu(&mut nothing).0.set_owner(k, b, owner);
            done(Ok(()))
        }
        "init_spt" | "clear_smmu_pt" => done(s.core.init_spt(args.bank(0)?, args.smmu(1)?, &mut nothing)),
        "walk_spt" | "walk_smmu_pt" => {
            let (b, k, iova) = (args.bank(0)?, args.smmu(1)?, args.ipa(2)?);
            s.bank_table(b, k);
            ran(s.core.walk_spt(b, k, iova, &mut nothing), Value::SmmuDesc)
        }
        "map_spt" | "set_smmu_pt" => {
            let (b, k, iova, pte) = (args.bank(0)?, args.smmu(1)?, args.ipa(2)?, leaf(args.number(3)?)?);
            s.bank_table(b, k);
            if pte.is_none() {
                return ran(s.core.unmap_spt(b, k, iova, &mut nothing), |_| Value::None);
            }
            ran(s.core.map_spt(b, k, iova, pte, &mut nothing), |_| Value::None)
        }
        "unmap_spt" => {
            let (b, k, iova) = (args.bank(0)?, args.smmu(1)?, args.ipa(2)?);
            s.bank_table(b, k);
            ran(s.core.unmap_spt(b, k, iova, &mut nothing), Value::SmmuDesc)
        }
        "assign_pfn_to_smmu" => done(s.core.assign_pfn_to_smmu(args.v(0)?, args.gfn(1)?, args.pfn(2)?, &mut nothing)),
        "update_smmu_page" | "map_smmu" => {
            let (v, b, k, iova) = (args.v(0)?, args.bank(1)?, args.smmu(2)?, args.ipa(3)?);
            let pte = leaf(args.number(4)?)?;
            s.bank_table(b, k);
            done(if name == "map_smmu" {
                s.core.map_smmu(v, b, k, iova, pte, &mut nothing)
            } else {
                s.core.update_smmu_page(v, b, k, iova, pte, &mut nothing)
            })
        }
        "unmap_smmu_page" => {
            let (b, k, iova) = (args.bank(0)?, args.smmu(1)?, args.ipa(2)?);
            s.bank_table(b, k);
            done(s.core.unmap_smmu_page(b, k, iova, &mut nothing))
        }
        "alloc_smmu" => done(s.core.alloc_smmu(args.v(0)?, args.bank(1)?, args.smmu(2)?, &mut nothing)),
        "assign_smmu" => done(s.core.assign_smmu(args.v(0)?, args.pfn(1)?, args.gfn(2)?, &mut nothing)),
        "clear_smmu" => {
            let (v, b, k, iova) = (args.v(0)?, args.bank(1)?, args.smmu(2)?, args.ipa(3)?);
            s.bank_table(b, k);
            done(s.core.clear_smmu(v, b, k, iova, &mut nothing))
        }
        "is_smmu_range" => {
            let found = s.core.is_smmu_range(args.ipa(0)?);
            number(found.map_or(INVALID, |k| k.index() as u32))
        }
        "emulate_mmio" => {
            let (ipa, hsr) = (args.ipa(0)?, args.number(1)?);
            let (abort, mut regs) = s.host_abort(ipa.as_u64() >> 8, hsr);
            let done = s.core.emulate_mmio(ipa, &abort, &mut regs, &mut nothing);
            ran(done, |k| Value::Number(k.map_or(INVALID, |k| k.index() as u32).into()))
        }
        "handle_host_stage2_fault" => {
            let (abort, mut regs) = s.host_abort(s.before.regs.get("hpfar_el2"), s.before.regs.get("esr_el2"));
            let page = Ipa::low_48(abort.hpfar << 8).frame().base().host_pa().frame();
            done(match s.core.handle_host_stage2_fault(&abort, &mut regs, &mut nothing) {
                Verdict::Retry | Verdict::Skip => Ok(()),
                Verdict::ExternalAbort => Err(Refused::NotHostPage(page)),
            })
        }
        "el2_free_smmu_pgd" => done(s.core.el2_free_smmu_pgd(args.bank(0)?, args.smmu(1)?, &mut nothing)),
        "el2_alloc_smmu_pgd" => {
            let (b, v, k) = (args.bank(0)?, args.v(1)?, args.smmu(2)?);
            done(s.core.el2_alloc_smmu_pgd(b, v, k, &mut nothing))
        }
        "smmu_assign_page" => {
            let (b, k, pfn, gfn) = (args.bank(0)?, args.smmu(1)?, args.pfn(2)?, args.gfn(3)?);
            done(s.core.smmu_assign_page(b, k, pfn, gfn, &mut nothing))
        }
        "smmu_map_page" => {
            let (b, k, iova, pte) = (args.bank(0)?, args.smmu(1)?, args.ipa(2)?, leaf(args.number(3)?)?);
            done(s.core.smmu_map_page(b, k, iova, pte, &mut nothing))
        }
        "el2_arm_lpae_map" => {
            let (iova, paddr, prot) = (args.ipa(0)?, args.pa(1)?, args.number(2)?);
            done(s.core.el2_arm_lpae_map(iova, paddr, prot, args.bank(3)?, args.smmu(4)?, &mut nothing))
        }
        "el2_arm_lpae_iova_to_phys" => {
            let (iova, b, k) = (args.ipa(0)?, args.bank(1)?, args.smmu(2)?);
            s.bank_table(b, k);
            ran(s.core.el2_arm_lpae_iova_to_phys(iova, b, k, &mut nothing), Value::Number)
        }
        "el2_arm_lpae_clear" => {
            let (iova, b, k) = (args.ipa(0)?, args.bank(1)?, args.smmu(2)?);
            done(s.core.el2_arm_lpae_clear(iova, b, k, &mut nothing))
        }
        _ => Some(Did::Unknown),
    }
}
