// SPDX-License-Identifier: GPL-2.0-only
//! Layer: NPTWalk (`spec/layers/03-npt.md` §3.3).
//!
//! `mem_load_ref` and `mem_store_ref`, a principal's own accesses, are the hardware's, and the simulated machine's
//! ([`crate::machine::sim`]).

use super::pt_walk::slot;
use super::{Alloc, Desc, Level, PAGE_GUEST, PtSection, Walker};
use crate::abi::stat;
use crate::addr::{HOSTVISOR, Ipa, Pa};
use crate::machine::Machine;
use crate::refused::Refused;

/// What a stage-2 table says of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Level of the entry that decides.
    pub level: Level,
    /// That entry.
    pub desc: Desc,
}

impl Mapping {
    /// The physical address that `ipa` reaches, if it reaches one.
    pub fn translate(self, ipa: Ipa) -> Option<Pa> {
        let within = ipa.as_u64() & (self.level.size() - 1);
        self.desc.is_valid().then(|| self.desc.pp().checked_add(within))?
    }
}

/// What of 2 MiB was mapped, and is not any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CutOff {
    /// Nothing.
    Nothing,
    /// All, by a block.
    Block,
    /// Some or all pages.
    Pages,
}

impl<M: Machine> PtSection<'_, M> {
    /// Spec: NW-1. The level at which `ipa` is mapped, if it is.
    pub fn get_npt_level(&mut self, ipa: Ipa) -> Result<Option<Level>, Refused> {
        let mapping = self.mapping(ipa)?;
        Ok(mapping.desc.is_valid().then_some(mapping.level))
    }

    /// Spec: NW-2. The entry that decides about `ipa`: for a block, that of the block.
    pub fn walk_npt(&mut self, ipa: Ipa) -> Result<Desc, Refused> {
        Ok(self.mapping(ipa)?.desc)
    }

    /// NW-1 and NW-2 by one walk: the entry that decides about `ipa`, and its level: the deepest that exists.
    pub fn mapping(&mut self, ipa: Ipa) -> Result<Mapping, Refused> {
        if ipa.as_u64() >> self.npt.ipa_bits != 0 {
            return Err(Refused::OutOfReach);
        }
        let pgd = self.walk_pgd(ipa, Alloc::No)?;
        if !pgd.is_table() {
            return Ok(Mapping { level: Level::L0, desc: pgd });
        }
        let pud = self.walk_pud(pgd, ipa, Alloc::No)?;
        if !pud.is_table() {
            return Ok(Mapping { level: Level::L1, desc: pud });
        }
        let pmd = self.walk_pmd(pud, ipa, Alloc::No)?;
        if !pmd.is_table() {
            return Ok(Mapping { level: Level::L2, desc: pmd });
        }
        Ok(Mapping { level: Level::L3, desc: self.walk_pte(pmd, ipa) })
    }

    /// Spec: NW-3. `local_mmap`: maps `ipa` by a block (`Level::L2`) or page (`Level::L3`) entry.
    ///
    /// A block over an existing table is refused (D-07), a page under a block too, unless the table is the host's:
    /// its blocks are ours, and are split. A valid entry is replaced only by an invalid one; the caller then has
    /// [`Self::invalidate`] to do before the page changes hands. On error nothing has changed.
    pub fn set_npt(&mut self, ipa: Ipa, level: Level, leaf: Desc) -> Result<(), Refused> {
        let old = self.mapping(ipa)?;
        self.check_conflict(old, level, leaf)?;
        let table = self.table_for(ipa, level, old)?;
        if level == Level::L2 {
            self.set_pmd(table, ipa, leaf);
        } else {
            self.set_pte(table, ipa, leaf);
        }
        Ok(())
    }

    /// Does all of [`Self::set_npt`] that can fail: until the table is changed in another way, that will then succeed.
    pub fn prepare_npt(&mut self, ipa: Ipa, level: Level, leaf: Desc) -> Result<(), Refused> {
        let old = self.mapping(ipa)?;
        if !self.is_mapped(old, ipa, Mapping { level, desc: leaf }) {
            self.check_conflict(old, level, leaf)?;
            self.table_for(ipa, level, old)?;
        }
        Ok(())
    }

    /// Whether `ipa`, about which `old` decides, is mapped as `wanted` already. An entry of a deeper level maps only a
    /// part of what is wanted; the host's larger blocks map all of it.
    pub(super) fn is_mapped(&self, old: Mapping, ipa: Ipa, wanted: Mapping) -> bool {
        let level = old.level == wanted.level || self.npt.vmid == HOSTVISOR && old.level < wanted.level;
        level && old.desc.is_valid() && old.translate(ipa) == wanted.translate(ipa)
    }

    /// Whether `leaf` may be written at `level` where `old` decides.
    fn check_conflict(&self, old: Mapping, level: Level, leaf: Desc) -> Result<(), Refused> {
        let over_table = old.level > level;
        let over_leaf = old.desc.is_valid() && leaf.is_valid() && old != Mapping { level, desc: leaf };
        let under_block = old.desc.is_valid() && old.level < level && self.npt.vmid != HOSTVISOR;
        if over_table || over_leaf || under_block { Err(Refused::LevelConflict) } else { Ok(()) }
    }

    /// The entry that points to the table of `level` for `ipa`, about which `old` decides now. The tables that are
    /// missing are created, and the host's larger blocks split.
    pub(super) fn table_for(&mut self, ipa: Ipa, level: Level, old: Mapping) -> Result<Desc, Refused> {
        self.reserve((level as u64).saturating_sub(old.level as u64))?;
        let pgd = self.walk_pgd(ipa, Alloc::Yes)?;
        let mut pud = self.walk_pud(pgd, ipa, Alloc::Yes)?;
        if !pud.is_table() {
            pud = self.split_host_block(slot(pgd.pp(), ipa, Level::L1), pud, Level::L1, ipa)?;
        }
        if level == Level::L2 {
            return Ok(pud);
        }
        let mut pmd = self.walk_pmd(pud, ipa, Alloc::Yes)?;
        if !pmd.is_table() {
            pmd = self.split_host_block(slot(pud.pp(), ipa, Level::L2), pmd, Level::L2, ipa)?;
        }
        debug_assert!(self.spare.is_empty(), "a table was set aside, but not needed");
        Ok(pmd)
    }

    /// Replaces the entry `old` of the host's table, at `at`, by a table of the next level that says the same. A block
    /// is replaced with break-before-make (Arm ARM D8.17.1): the entry is invalid, and its translations are gone from
    /// every TLB, before the table takes its place. Another CPU of the host that faults in between waits for PT(0), and
    /// finds the table. A device would not wait: for SMMUs, the table takes the block's place at once ([`super::host_dma`]),
    /// and an invalidation by any address in it will end the block's translation, too.
    fn split_host_block(&mut self, at: Pa, old: Desc, level: Level, ipa: Ipa) -> Result<Desc, Refused> {
        let (table, next) = match level {
            Level::L1 => (self.alloc_pud_page()?, Level::L2),
            _ => (self.alloc_pmd_page()?, Level::L3),
        };
        for i in 0..512 {
            let entry = Pa::low_48(table.as_u64() + i * 8);
            let part = match old.is_valid() {
                true => Desc::leaf(Pa::low_48(old.pp().as_u64() + i * next.size()), next, old.attributes()),
                false => old, // given away
            };
            self.machine.pt_store(entry, part.as_u64());
        }
        if old.is_valid() && self.walker == Walker::Cpu {
            self.machine.pt_store(at, Desc::NONE.as_u64());
            self.invalidate(ipa.align_down(level.size()));
            self.stats.count(self.machine.cpu(), stat::BLOCK_SPLIT);
        } else {
            self.machine.publish_tables();
        }
        let new = Desc::table(table);
        self.machine.pt_store(at, new.as_u64());
        self.machine.publish_tables();
        Ok(new)
    }

    /// Takes the 2 MiB from `ipa` on, aligned, away from the host, and ends their cached translations at once.
    pub(super) fn clear_host_block(&mut self, ipa: Ipa) -> Result<(), Refused> {
        match self.cut_off_block(ipa)? {
            CutOff::Nothing => {}
            CutOff::Block => self.invalidate(ipa),
            CutOff::Pages => {
                self.machine.invalidate_vmid(self.npt.vmid, self.npt.hw_root);
                self.stats.count(self.machine.cpu(), stat::TLB_INVALIDATIONS);
            }
        }
        Ok(())
    }

    /// Takes the entries of the 2 MiB from `ipa` on, aligned, out of the host's table: a single one, or, where there is a
    /// table for pages, all of its. Their cached translations are still to be ended.
    pub(super) fn cut_off_block(&mut self, ipa: Ipa) -> Result<CutOff, Refused> {
        let old = self.mapping(ipa)?;
        if old.level == Level::L3 {
            let table = self.table_for(ipa, Level::L3, old)?;
            for i in 0..512 {
                let at = Pa::low_48(table.pp().as_u64() + i * 8);
                if Desc::from_u64(self.machine.pt_load(at)).is_valid() {
                    self.machine.pt_store(at, PAGE_GUEST);
                }
            }
            return Ok(CutOff::Pages);
        }
        if !old.desc.is_valid() {
            return Ok(CutOff::Nothing);
        }
        let pud = self.table_for(ipa, Level::L2, old)?;
        self.set_leaf(slot(pud.pp(), ipa, Level::L2), Desc::from_u64(PAGE_GUEST));
        Ok(CutOff::Block)
    }

    /// Takes away the entry by which `ipa` reaches `page`, if it does: of a block, all of it. Its cached translations
    /// are gone on return. Not for the host's table.
    pub fn unmap(&mut self, ipa: Ipa, page: Pa) -> Result<(), Refused> {
        let old = self.mapping(ipa)?;
        if old.translate(ipa) == Some(page) {
            let table = self.table_for(ipa, old.level, old)?;
            self.set_leaf(slot(table.pp(), ipa, old.level), Desc::NONE);
            self.invalidate(ipa);
        }
        Ok(())
    }

    /// Ends every cached translation of `ipa`; see [`Machine::invalidate_ipa`].
    pub(super) fn invalidate(&self, ipa: Ipa) {
        self.machine.invalidate_ipa(self.npt.vmid, self.npt.hw_root, ipa);
        self.stats.count(self.machine.cpu(), stat::TLB_INVALIDATIONS);
    }

    /// Lets tables created from here on count as device tables.
    pub(super) fn charge_device_quota(&mut self) {
        self.for_device = true;
    }
}
