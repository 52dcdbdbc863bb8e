// SPDX-License-Identifier: GPL-2.0-only
//! The host's DMA table: the memory that the host's own devices reach through an SMMUv3.
//!
//! It maps onto itself what the host may use: its own RAM, pages that VMs share with it, and the pages that a device writes
//! to send an interrupt. It is a table apart from the CPUs', which has less (a page that came back is mapped when a CPU
//! touches it; a device's access can't wait for that), and more (device registers). Besides, a block of the CPUs' table is
//! split by break-before-make, and a device's access in between would be lost: here the table takes the place of the block
//! by one store, as SMMUs with IDR3.BBML 2 allow (IHI 0070, 3.21.1.1). Where there is another SMMU, nothing is mapped by
//! blocks to begin with.

use super::npt_walk::CutOff;
use super::pt_walk::slot;
use super::{Desc, Level, Npt, PAGE_GUEST, PAGE_S2_DEVICE, PAGE_S2_KERNEL, PtSection, S2_RDWR, Walker};
use crate::addr::{HOSTVISOR, Ipa, PAGE_SIZE, Pa, Pfn, Range};
use crate::corevisor::{Corevisor, host_table_pages};
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use arrayvec::ArrayVec;

/// Most ranges of pages that interrupts are sent through.
pub const MAX_DOORBELLS: usize = 8;
/// The VMID of the host's DMA in SMMUv3s: no principal's, and no context bank's.
pub const HOST_DMA_VMID: u16 = 0x7F;

/// What boot decides about the host's DMA table.
#[derive(Clone, Debug)]
pub struct HostDma {
    /// log2 of the addresses that it translates, 32 to 48: no more than each SMMU can put out. RAM beyond is out of devices'
    /// reach.
    pub ipa_bits: u32,
    /// Whether blocks may be used: IDR3.BBML is 2 in each SMMU.
    pub blocks: bool,
    /// Pages of device memory that devices write to, to send an interrupt. What is RAM, or withheld, is left out.
    pub doorbells: ArrayVec<Range, MAX_DOORBELLS>,
}

impl<M: Machine> Corevisor<M> {
    /// Makes the host's DMA table, of `ranges` of RAM, before an SMMU or the host runs.
    pub(crate) fn fill_host_dma(&self, config: &HostDma, ranges: &[Range]) -> Result<(), Refused> {
        let mut nothing = Held::nothing();
        let bits = config.ipa_bits;
        let limit = host_table_pages(self.regions());
        let table = Npt::new(self.machine(), self.frames(), HOSTVISOR, bits, [limit, limit], &mut nothing)?;
        *self.host_dma().lock(&mut nothing).0 = Some(table);
        let reach = Range { start: 0, end: 1 << bits };
        if let Some(mut table) = self.acquire_lock_host_dma(&mut nothing) {
            let largest = if config.blocks { Level::L1 } else { Level::L3 };
            for range in ranges.iter().filter(|range| range.start < reach.end) {
                table.fill_host(Range { start: range.start, end: range.end.min(reach.end) }, largest)?;
            }
        }
        let pages = config.doorbells.iter().flat_map(|range| (range.start..range.end).step_by(PAGE_SIZE as usize));
        for page in pages.filter_map(|at| Range::new(at & !(PAGE_SIZE - 1), PAGE_SIZE)) {
            let known = self.regions().iter().any(|region| region.range.overlaps(page));
            if !known && !self.is_withheld(page) && reach.covers(page) {
                let leaf = Desc::leaf(Pa::low_48(page.start), Level::L3, PAGE_S2_DEVICE | S2_RDWR);
                self.map_for_devices(Ipa::low_48(page.start), leaf, &mut nothing)?;
            }
        }
        Ok(())
    }

    /// Where the hardware's walk of the host's DMA table starts, and log2 of the addresses that it translates: at level 0 if
    /// those are more than 42, else at concatenated tables of level 1. `None` if there is no SMMUv3.
    pub fn host_dma_root(&self) -> Option<(Pa, u32)> {
        self.host_dma().lock(&mut Held::nothing()).0.as_ref().map(|table| (table.hw_root(), table.ipa_bits))
    }

    /// `pfn` is the host's, or shared with it, from now on: its devices may reach it. Lock of the host's DMA table.
    ///
    /// # Errors
    /// If there is no page for a table; for RAM that can't be, [`host_table_pages`] are reserved.
    pub(crate) fn map_host_dma<const OUTER: u8>(&self, pfn: Pfn, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        self.map_for_devices(pfn.host_gfn().base(), Desc::leaf(pfn.base(), Level::L3, PAGE_S2_KERNEL), outer)
    }

    fn map_for_devices<const OUTER: u8>(
        &self,
        ipa: Ipa,
        leaf: Desc,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let Some(mut table) = self.acquire_lock_host_dma(outer) else { return Ok(()) };
        if ipa.as_u64() >> table.npt.ipa_bits != 0 || table.get_npt_level(ipa)?.is_some() {
            return Ok(());
        }
        table.set_npt(ipa, Level::L3, leaf)
    }

    /// `pfn`, or at `Level::L2` the 512 pages from `pfn` on, is about to leave the host, or to be shared with it no more:
    /// no device of the host's reaches it any more, and none of their accesses is under way. Locks: that of the host's DMA
    /// table, and the SMMUs' queues.
    ///
    /// # Errors
    /// [`Refused::SmmuStuck`] if an SMMU does not come to an end with it. Then nothing has changed.
    pub(crate) fn unmap_host_dma<const OUTER: u8>(
        &self,
        pfn: Pfn,
        level: Level,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let Some(mut table) = self.acquire_lock_host_dma(outer) else { return Ok(()) };
        let ipa = pfn.host_gfn().base();
        if ipa.as_u64() >> table.npt.ipa_bits != 0 {
            return Ok(());
        }
        if level == Level::L2 {
            if table.cut_off_block(ipa)? == CutOff::Nothing {
                return Ok(());
            }
        } else {
            if table.get_npt_level(ipa)?.is_none() {
                return Ok(());
            }
            table.set_npt(ipa, Level::L3, Desc::from_u64(PAGE_GUEST))?;
        }
        let ended = self.end_dma(HOST_DMA_VMID, Some((ipa, level.size())), &mut table.held);
        if ended.is_err() {
            table.put_back(ipa, level)?;
        }
        ended
    }

    /// Enters the critical section of the host's DMA table, if there is one.
    fn acquire_lock_host_dma<'s, const OUTER: u8>(
        &'s self,
        outer: &'s mut Held<'_, OUTER>,
    ) -> Option<PtSection<'s, M>> {
        let (table, held) = self.host_dma().lock(outer);
        self.section(table, held, Walker::Smmu)
    }
}

impl<M: Machine> PtSection<'_, M> {
    /// Undoes [`Corevisor::unmap_host_dma`]'s change: before it all that it took away was mapped.
    fn put_back(&mut self, ipa: Ipa, level: Level) -> Result<(), Refused> {
        let now = self.mapping(ipa)?;
        let table = self.table_for(ipa, now.level, now)?.pp();
        for part in (0..level.size()).step_by(now.level.size() as usize) {
            let ipa = Ipa::low_48(ipa.as_u64() + part);
            let leaf = Desc::leaf(ipa.host_pa(), now.level, PAGE_S2_KERNEL);
            self.machine.pt_store(slot(table, ipa, now.level), leaf.as_u64());
        }
        self.machine.publish_tables();
        Ok(())
    }
}
