// SPDX-License-Identifier: GPL-2.0-only
//! Two pages of virtual addresses for each CPU, through which it works on pages that Corevisor does not keep mapped:
//! one for a page of the host's or of a VM's, or of an SMMU's registers, and one for the run page of a vCPU.
//!
//! A mapping of the first kind lives within one function of this file, and none of them calls anything outside. One of the
//! second is a [`RunPage`], of which there is one at a time. Interrupts are masked at EL2, so a CPU has at most these two
//! pages mapped, none when it returns to the host, and the run page of a vCPU while that runs.

use super::cache;
use super::el2_map::Access;
use super::percpu;
use crate::MAX_CPUS;
use crate::addr::{ADDR_SPACE, PAGE_SIZE, PMD_SIZE, Pa, Pfn, Range};
use crate::machine::{PageBytes, SharedPage, Width};
use core::arch::asm;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};
use core::sync::atomic::{AtomicU64, Ordering};

/// Where the pages of all CPUs lie: the last 2 MiB that EL2's map can translate. Boot stops if something of
/// ours lies there ([`super::el2_map::El2Map::set_table`]).
pub const WINDOW: Range = Range { start: ADDR_SPACE - PMD_SIZE, end: ADDR_SPACE };

/// What a CPU's pages are for.
#[derive(Clone, Copy)]
enum Slot {
    Work = 0,
    RunPage = 1,
}

/// Pages of one CPU.
const SLOTS: usize = 2;
/// From one page to the next: a page lies between them that is never mapped.
const STRIDE: usize = 2;
const _: () = assert!(STRIDE * SLOTS * MAX_CPUS <= 512);

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);

/// The level-3 table of [`WINDOW`]. Every entry is written by its own CPU only.
static TABLE: Table = Table([const { AtomicU64::new(0) }; 512]);

/// The table's address, for [`super::el2_map::El2Map::set_table`].
pub fn table() -> u64 {
    (&raw const TABLE) as u64
}

/// Where in its page `at` lies.
fn offset(at: Pa) -> u64 {
    at.as_u64() % PAGE_SIZE
}

/// A page that this CPU has mapped; unmapped by the drop.
struct Mapped {
    entry: &'static AtomicU64,
    at: u64,
}

impl Mapped {
    /// Maps the page at `page`, to work on it.
    ///
    /// # Safety
    /// This CPU has no other page mapped so. The page is memory (or, with [`Access::Device`], registers) that the machine
    /// has, and no Rust object lies in it.
    unsafe fn new(page: Pa, access: Access) -> Self {
        // SAFETY: passed on.
        unsafe { Self::at(Slot::Work, page, access) }
    }

    /// # Safety
    /// As for [`Self::new`], of `slot`.
    #[inline(always)]
    unsafe fn at(slot: Slot, page: Pa, access: Access) -> Self {
        let index = STRIDE * (SLOTS * percpu::index() + slot as usize);
        let entry = &TABLE.0[index];
        entry.store(access.page(page.as_u64()), Ordering::Relaxed);
        // The entry was invalid, so no TLB holds it; the walker sees it, and nothing was fetched ahead.
        // SAFETY: barriers.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
        Self { entry, at: WINDOW.start + index as u64 * PAGE_SIZE }
    }

    /// Cleans and invalidates the page's lines in all data caches, to the point of coherency.
    fn flush(&self) {
        cache::flush(self.at, PAGE_SIZE);
    }
}

impl Drop for Mapped {
    #[inline(always)]
    fn drop(&mut self) {
        self.entry.store(0, Ordering::Relaxed);
        // On all CPUs, although no other one ever uses this address: they walk the same table, and may have done so
        // ahead of any use. What they would keep could contradict the entry's next value.
        // SAFETY: ends the translation of a page that nothing refers to any more.
        unsafe {
            asm!("dsb ishst", "tlbi vale2is, {}", "dsb ish", "isb", in(reg) self.at >> 12,
                options(nostack, preserves_flags));
        }
    }
}

/// Zeroes a page of memory, to the point of coherency.
///
/// # Safety
/// `pfn` is a page of memory in which no Rust object lies.
pub unsafe fn zero(pfn: Pfn) {
    // SAFETY: the caller's word, and this file's: one page at a time.
    let page = unsafe { Mapped::new(pfn.base(), Access::ReadWrite) };
    match zeroing_block() {
        Some(block) => {
            for at in (page.at..page.at + PAGE_SIZE).step_by(block) {
                // SAFETY: normal memory, mapped for writing, and `block` divides a page.
                unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
            }
        }
        // SAFETY: mapped for writing, this one page.
        None => unsafe { with_exposed_provenance_mut::<PageBytes>(page.at as usize).write_bytes(0, 1) },
    }
    page.flush();
}

/// How many bytes DC ZVA zeroes at once, if it may be used (DCZID_EL0).
fn zeroing_block() -> Option<usize> {
    const DZP: u64 = 1 << 4;
    let dczid = crate::read_sysreg!("dczid_el0");
    (dczid & DZP == 0).then_some(4 << (dczid & 0xF))
}

/// Cleans and invalidates what the data caches hold of a page of memory, to the point of coherency.
///
/// # Safety
/// As for [`zero`].
pub unsafe fn flush(pfn: Pfn) {
    // SAFETY: as in `zero`.
    unsafe { Mapped::new(pfn.base(), Access::ReadWrite) }.flush();
}

/// Copies a page of memory, which others may write meanwhile.
///
/// # Safety
/// As for [`zero`].
pub unsafe fn read(pfn: Pfn, to: &mut PageBytes) {
    // SAFETY: as in `zero`.
    let page = unsafe { Mapped::new(pfn.base(), Access::ReadOnly) };
    let (words, _) = to.as_chunks_mut::<8>();
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: mapped, in the page, and aligned. Volatile, because it may change under us.
        *word = unsafe { with_exposed_provenance::<[u8; 8]>(page.at as usize).add(i).read_volatile() };
    }
}

/// Overwrites a page of memory, to the point of coherency.
///
/// # Safety
/// As for [`zero`].
pub unsafe fn write(pfn: Pfn, from: &PageBytes) {
    // SAFETY: as in `zero`.
    let page = unsafe { Mapped::new(pfn.base(), Access::ReadWrite) };
    let (words, _) = from.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // SAFETY: mapped for writing, in the page, and aligned. Volatile, because others may look at it.
        unsafe { with_exposed_provenance_mut::<[u8; 8]>(page.at as usize).add(i).write_volatile(*word) };
    }
    page.flush();
}

/// That words from `at` on can be accessed one by one, all in one page.
fn assert_in_page(at: Pa, words: usize) {
    assert!(at.is_aligned(8) && offset(at) + 8 * words as u64 <= PAGE_SIZE);
}

/// Reads aligned words from `at` on, all in one page, each by a single access.
///
/// # Safety
/// As for [`zero`], of the page of `at`.
pub unsafe fn load(at: Pa, words: &mut [u64]) {
    assert_in_page(at, words.len());
    // SAFETY: as in `zero`.
    let page = unsafe { Mapped::new(at.frame().base(), Access::ReadOnly) };
    let first = with_exposed_provenance::<u64>((page.at + offset(at)) as usize);
    for (i, word) in words.iter_mut().enumerate() {
        // SAFETY: mapped, in the page, and aligned.
        *word = unsafe { first.add(i).read_volatile() };
    }
}

/// Writes aligned words from `at` on, all in one page, each by a single access.
///
/// # Safety
/// As for [`zero`], of the page of `at`.
pub unsafe fn store(at: Pa, words: &[u64]) {
    assert_in_page(at, words.len());
    // SAFETY: as in `zero`.
    let page = unsafe { Mapped::new(at.frame().base(), Access::ReadWrite) };
    let first = with_exposed_provenance_mut::<u64>((page.at + offset(at)) as usize);
    for (i, word) in words.iter().enumerate() {
        // SAFETY: mapped for writing, in the page, and aligned.
        unsafe { first.add(i).write_volatile(*word) };
    }
}

/// The run page of a vCPU, for as long as this lives. The host may write it at any time.
pub struct RunPage(Mapped);

impl RunPage {
    /// Maps `pfn`.
    ///
    /// # Safety
    /// As for [`zero`].
    #[inline(always)]
    pub unsafe fn new(pfn: Pfn) -> Self {
        let index = STRIDE * (SLOTS * percpu::index() + Slot::RunPage as usize);
        assert!(TABLE.0[index].load(Ordering::Relaxed) == 0, "a second run page");
        // SAFETY: the caller's word, and none is mapped there.
        Self(unsafe { Mapped::at(Slot::RunPage, pfn.base(), Access::ReadWrite) })
    }

    /// That which this CPU has kept ([`SharedPage::keep`]).
    #[inline(always)]
    pub fn kept() -> Self {
        let index = STRIDE * (SLOTS * percpu::index() + Slot::RunPage as usize);
        let entry = &TABLE.0[index];
        assert!(entry.load(Ordering::Relaxed) != 0, "no run page");
        Self(Mapped { entry, at: WINDOW.start + index as u64 * PAGE_SIZE })
    }

    #[inline(always)]
    fn word(&self, offset: u64) -> *mut u64 {
        assert!(offset.is_multiple_of(8) && offset < PAGE_SIZE);
        with_exposed_provenance_mut((self.0.at + offset) as usize)
    }
}

impl SharedPage for RunPage {
    #[inline(always)]
    fn load(&self, offset: u64) -> u64 {
        // SAFETY: mapped, in the page, and aligned. Volatile: one access.
        unsafe { self.word(offset).read_volatile() }
    }

    #[inline(always)]
    fn store(&self, offset: u64, value: u64) {
        // SAFETY: mapped for writing, in the page, and aligned.
        unsafe { self.word(offset).write_volatile(value) };
    }

    #[inline(always)]
    fn keep(self) {
        core::mem::forget(self);
    }
}

/// Reads a register.
///
/// # Safety
/// `at` is a register of a device that Corevisor drives, and reading it so is harmless.
pub unsafe fn read_register(at: Pa, width: Width) -> u64 {
    // SAFETY: registers, of which none is a Rust object; one page at a time.
    let page = unsafe { Mapped::new(at.frame().base(), Access::Device) };
    let register = (page.at + offset(at)) as usize;
    match width {
        Width::Word => {
            assert!(at.is_aligned(4));
            // SAFETY: mapped, and aligned; the effect is the caller's business.
            unsafe { with_exposed_provenance::<u32>(register).read_volatile() }.into()
        }
        Width::Double => {
            assert!(at.is_aligned(8));
            // SAFETY: as above.
            unsafe { with_exposed_provenance::<u64>(register).read_volatile() }
        }
    }
}

/// Writes a register; of a 4-byte one the low half of `value`.
///
/// # Safety
/// `at` is a register of a device that Corevisor drives, and writing this to it takes no memory from Rust.
pub unsafe fn write_register(at: Pa, width: Width, value: u64) {
    // SAFETY: as in `read_register`.
    let page = unsafe { Mapped::new(at.frame().base(), Access::Device) };
    let register = (page.at + offset(at)) as usize;
    match width {
        Width::Word => {
            assert!(at.is_aligned(4));
            // SAFETY: mapped, and aligned; the effect is the caller's business.
            unsafe { with_exposed_provenance_mut::<u32>(register).write_volatile(value as u32) };
        }
        Width::Double => {
            assert!(at.is_aligned(8));
            // SAFETY: as above.
            unsafe { with_exposed_provenance_mut::<u64>(register).write_volatile(value) };
        }
    }
}

/// Maps a page of the host's, reads it, and reads it once more after that: for the test that the window is closed then
/// (`abi::test_call::CRASH`).
#[cfg(feature = "semihosting")]
pub fn read_after_use() {
    let page = Pa::low_48(crate::read_sysreg!("elr_el2"));
    // SAFETY: the host's code, and so the host's memory.
    let mapped = unsafe { Mapped::new(page.frame().base(), Access::ReadOnly) };
    let at = with_exposed_provenance::<u64>(mapped.at as usize);
    // SAFETY: mapped. The second read is meant to end us.
    unsafe {
        at.read_volatile();
        drop(mapped);
        at.read_volatile();
    }
}
