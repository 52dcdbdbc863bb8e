// SPDX-License-Identifier: GPL-2.0-only
//! Who owns which page: layers MemRegion, PageIndex, PageManager, MemManager, MemoryOps (`spec/layers/05-memory.md`),
//! and MemHandler (`spec/layers/09-traps.md` §9.1).

mod mem_handler;
mod mem_manager;
mod mem_region;
mod memory_ops;
mod page_index;
mod page_manager;
#[cfg(test)]
mod property;
mod stretch;
#[cfg(test)]
mod tests;

pub use mem_manager::{MAX_DMA_MAPS, MAX_SHARE_COUNT};
pub use mem_region::{MAX_REGIONS, MemRegion, MemRegions};
pub use memory_ops::{SG_PAGES_PER_CALL, sg_pages};
pub use page_manager::{Count, HOST_GFN_OFFSET, Owner, Owners, S2Page, S2PageSection};
pub use stretch::{RECORDS_PER_CALL, Stretch};
