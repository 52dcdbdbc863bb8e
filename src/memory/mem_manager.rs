// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemManager (`spec/layers/05-memory.md` §5.4).

mod smmu;
mod vm;

pub use smmu::MAX_DMA_MAPS;
pub use vm::MAX_SHARE_COUNT;
pub(super) use vm::{Assignment, ram_leaf, vm_only};

use super::Count;
use crate::abi::stat;
use crate::addr::{HOSTVISOR, Ipa, PMD_SIZE, Range};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::npt::{Desc, Level, PAGE_S2_DEVICE, PAGE_S2_KERNEL, S2_RDWR};
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// Spec: MM-1. The host touched `ipa` and has no mapping for it. Locks S2PAGE, then PT(0).
    ///
    /// Device memory is mapped 2 MiB at a time where nothing in those 2 MiB is RAM or withheld, which is MM-1 for each of
    /// the 512 pages. Refused, where the specification halts (D-06), for pages of Corevisor and of VMs; a page that is
    /// only DMA-pending counts as not shared (D-01).
    pub fn map_page_host<const OUTER: u8>(&self, ipa: Ipa, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        let pfn = ipa.host_pa().frame();
        let (s2page, mut held) = self.acquire_lock_s2page(outer);
        let device = PAGE_S2_DEVICE | S2_RDWR;
        match (s2page.get_pfn_owner(pfn), s2page.get_pfn_count(pfn)) {
            (None, _) => {
                let block = ipa.align_down(PMD_SIZE);
                if self.only_devices(block) {
                    let leaf = Desc::leaf(block.host_pa(), Level::L2, device);
                    match self.map_s2pt(HOSTVISOR, ipa, Level::L2, leaf, &mut held) {
                        Err(Refused::LevelConflict) => {} // pages of it are mapped already
                        done => return done.map(|()| self.count(stat::HOST_FAULT_DEVICE)),
                    }
                }
                let leaf = Desc::leaf(pfn.base(), Level::L3, device);
                self.map_s2pt(HOSTVISOR, pfn.host_gfn().base(), Level::L3, leaf, &mut held)?;
                self.count(stat::HOST_FAULT_DEVICE);
                Ok(())
            }
            (Some(HOSTVISOR), _) | (Some(_), Count::Shares(1..)) => {
                let leaf = Desc::leaf(pfn.base(), Level::L3, PAGE_S2_KERNEL);
                self.map_s2pt(HOSTVISOR, pfn.host_gfn().base(), Level::L3, leaf, &mut held)?;
                self.count(stat::HOST_FAULT_RAM);
                Ok(())
            }
            _ => Err(Refused::NotHostPage(pfn)),
        }
    }

    /// Whether the 2 MiB from `block` on hold neither memory that the device tree names nor a withheld register.
    fn only_devices(&self, block: Ipa) -> bool {
        Range::new(block.as_u64(), PMD_SIZE)
            .is_some_and(|range| !self.regions().iter().any(|r| r.range.overlaps(range)) && !self.is_withheld(range))
    }
}
