// SPDX-License-Identifier: GPL-2.0-only
//! Who owns which page: layers MemRegion, PageIndex, PageManager, MemManager (`spec/layers/05-memory.md`).

mod mem_manager;
mod mem_region;
mod page_index;
mod page_manager;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use mem_region::{MAX_REGIONS, MemRegion, MemRegions};
pub use page_manager::{Count, HOST_GFN_OFFSET, Owner, Owners, S2Page, S2PageSection};
