// SPDX-License-Identifier: GPL-2.0-only
//! The frames of the carve-out that page tables are made of.

use crate::addr::{PAGE_SIZE, Pa, Range};
use crate::lock::{Lock, rank};
use buddy_system_allocator::Heap;
use core::alloc::Layout;
use core::ptr::NonNull;

/// Largest block that the buddy allocator keeps, as a power of two.
const ORDER: usize = 48;

/// The allocator under all page tables, with its lock.
pub type FramesLock = Lock<FramePool, { rank::FRAMES }>;

/// A buddy allocator over memory that Corevisor owns. Quotas are kept by the tables ([`super::Npt`]), so that what
/// was reserved for one is never taken by another.
pub struct FramePool {
    heap: Heap<ORDER>,
    /// Where Corevisor sees the pool, less its physical address. 0 on hardware, where EL2's map is the identity.
    offset: usize,
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
        Self { heap, offset: at.wrapping_sub(pool.start as usize) }
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
