// SPDX-License-Identifier: GPL-2.0-only
//! The frames of the carve-out that page tables are made of.

use crate::addr::{HOSTVISOR, PAGE_SIZE, Pa, Range, Vmid};
use crate::lock::{Lock, rank};
use arrayvec::ArrayVec;
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Largest block that the buddy allocator keeps, as a power of two.
const ORDER: usize = 48;

/// The tables that one mapping can need: one of each level below the root.
pub type Tables = ArrayVec<Pa, 3>;

/// The allocator under all page tables, with its lock.
pub type FramesLock = Lock<FramePool, { rank::FRAMES }>;

/// A buddy allocator over memory that Corevisor owns. Quotas are kept by the tables ([`super::Npt`]), so that what
/// was reserved for one is never taken by another.
pub struct FramePool {
    heap: Heap<ORDER>,
    /// Where Corevisor sees the pool, less its physical address. 0 on hardware, where EL2's map is the identity.
    offset: usize,
    /// Pages that may still go into tables of others than the host.
    vm_pages: u64,
}

impl FramePool {
    /// A pool of the page-aligned physical range `pool`, which Corevisor sees at virtual address `at`.
    ///
    /// # Safety
    /// The memory at `at` must be mapped, of `pool`'s size, and used by nobody else for as long as the pool lives.
    pub unsafe fn new(pool: Range, at: usize) -> Self {
        let mut heap = Heap::new();
        // SAFETY: the caller gives us this memory for good.
        unsafe { heap.init(at, pool.size() as usize) };
        Self { heap, offset: at.wrapping_sub(pool.start as usize), vm_pages: 0 }
    }

    /// Sets how many pages [`Self::allocate_for`] may give to others than the host: what is left is reserved for it.
    pub fn set_vm_pages(&mut self, pages: u64) {
        self.vm_pages = pages;
    }

    /// Pages left for others than the host.
    pub fn vm_pages(&self) -> u64 {
        self.vm_pages
    }

    /// As [`Self::allocate`], for a table of `v`.
    pub fn allocate_for(&mut self, v: Vmid, pages: u64) -> Option<Pa> {
        let pages = pages.checked_next_power_of_two()?;
        if v == HOSTVISOR {
            return self.allocate(pages);
        }
        let left = self.vm_pages.checked_sub(pages)?;
        let at = self.allocate(pages)?;
        self.vm_pages = left;
        Some(at)
    }

    /// `pages` single pages for tables of `v`: all of them, or none.
    pub fn allocate_tables(&mut self, v: Vmid, pages: u64) -> Option<Tables> {
        let mut tables = Tables::new();
        for _ in 0..pages {
            let page = self.allocate_for(v, 1).filter(|&page| tables.try_push(page).is_ok());
            if page.is_none() {
                for page in tables {
                    // SAFETY: just allocated, and known to nobody else.
                    unsafe { self.release_for(v, page, 1) };
                }
                return None;
            }
        }
        Some(tables)
    }

    /// Gives back what [`Self::allocate_for`] of the same principal and number of pages returned.
    ///
    /// # Safety
    /// As [`Self::release`].
    pub unsafe fn release_for(&mut self, v: Vmid, at: Pa, pages: u64) {
        // SAFETY: passed on to the caller.
        unsafe { self.release(at, pages) };
        if v != HOSTVISOR {
            self.vm_pages += pages.next_power_of_two();
        }
    }

    /// Takes `pages` contiguous pages, rounded up to a power of two and aligned to it. Their content is unknown.
    pub fn allocate(&mut self, pages: u64) -> Option<Pa> {
        let at = self.heap.alloc(Self::layout(pages)?).ok()?;
        Pa::new((at.as_ptr() as usize).wrapping_sub(self.offset) as u64)
    }

    /// Gives back what [`Self::allocate`] of the same number of pages returned.
    ///
    /// # Safety
    /// `at` must come from `allocate(pages)` of this pool, be given back once, and be out of every walker's reach.
    pub unsafe fn release(&mut self, at: Pa, pages: u64) {
        let address = (at.as_u64() as usize).wrapping_add(self.offset);
        if let (Some(layout), Some(ptr)) = (Self::layout(pages), NonNull::new(address as *mut u8)) {
            // SAFETY: passed on to the caller.
            unsafe { self.heap.dealloc(ptr, layout) };
        }
    }

    fn layout(pages: u64) -> Option<Layout> {
        let bytes = pages.checked_next_power_of_two()?.checked_mul(PAGE_SIZE)? as usize;
        Layout::from_size_align(bytes, bytes).ok()
    }
}
