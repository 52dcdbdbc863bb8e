// SPDX-License-Identifier: GPL-2.0-only
//! The machine under the core, on real hardware.

use super::{block_window, cache, console, entropy, fatal, fixmap, percpu, vgic};
use crate::addr::{Ipa, PAGE_SIZE, PGD_SIZE, PMD_SIZE, Pa, Pfn, Range, Vmid};
use crate::gic::GicLock;
use crate::machine::{Machine, PageBytes, Width};
use crate::memory::S2Page;
use crate::platform::image_keys::ImageKeys;
use crate::smmu3::MAX_SMMU3S;
use crate::trap::LogSource;
use crate::vcpu::ContextLock;
use crate::vcpu::vgic::Interface;
use crate::vm::Signature;
use crate::vm::measure::ImageMessage;
use crate::{read_sysreg, write_sysreg};
use aarch64_cpu::asm::barrier;
use arrayvec::ArrayVec;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

/// AArch64 at EL2, with an identity map of what Corevisor owns.
#[derive(Debug)]
pub struct Hardware {
    /// Where Corevisor itself lies.
    owned: [Range; 2],
    /// The interrupt interface for VMs.
    pub vgic: vgic::Hardware,
    /// What they can have of it.
    interface: Interface,
    /// What images of VMs can be signed with.
    keys: ImageKeys,
    /// Registers that EL2's map has.
    mapped: ArrayVec<Range, MAX_SMMU3S>,
}

impl Hardware {
    /// The hardware. `owned` is all memory that is Corevisor's, `mapped` registers of devices.
    ///
    /// # Safety
    /// Once; and the frame pool of the core built on it must be mapped, and used by nobody else. All of `mapped` must be
    /// mapped from now on, as registers.
    pub unsafe fn new(
        owned: [Range; 2],
        mapped: ArrayVec<Range, MAX_SMMU3S>,
        vgic: vgic::Hardware,
        keys: ImageKeys,
    ) -> Self {
        Self { owned, vgic, interface: vgic.interface(), keys, mapped }
    }

    /// Where the register at `at`, `width` wide, is in EL2's map, if it is there for good.
    fn register(&self, at: Pa, width: Width) -> Option<usize> {
        let size = match width {
            Width::Word => 4,
            Width::Double => 8,
        };
        let register = Range { start: at.as_u64(), end: at.as_u64() + size };
        let mapped = at.is_aligned(size) && self.mapped.iter().any(|window| window.covers(register));
        mapped.then_some(at.as_u64() as usize)
    }

    /// `pfn`, which is not Corevisor's: a principal's page, through which no Rust object can be reached. Ends Corevisor
    /// otherwise; the ownership table makes that impossible.
    #[inline(always)]
    fn principals(&self, pfn: Pfn) -> Pfn {
        let page = Range { start: pfn.base().as_u64(), end: pfn.base().as_u64() + PAGE_SIZE };
        assert!(!self.owned.iter().any(|owned| owned.overlaps(page)), "a page of Corevisor's among a principal's");
        pfn
    }

    /// Calls `invalidate` while VTTBR_EL2 names `v` and its table at `root`, after all changes to tables, and waits
    /// until what it started is complete on all CPUs (`spec/layers/12-wdrf.md` §12.6).
    fn with_table(v: Vmid, root: Pa, invalidate: impl FnOnce()) {
        const WALKS_OFF: u64 = (1 << 7) | (1 << 23); // TCR_EL1.EPD0, EPD1
        let theirs = root.as_u64() | ((v.index() as u64) << 48);
        let ours = read_sysreg!("vttbr_el2");
        let tcr = read_sysreg!("tcr_el1");
        barrier::dsb(barrier::ISHST);
        if theirs == ours {
            return invalidate();
        }
        // SAFETY: EL1 does not run here and now, so its VTTBR can be another for the while. Some CPUs walk for EL1 ahead
        // of time even then (Arm errata 1165522, 1319367, 1319537, 1530923): they must not walk the host's stage 1
        // with this stage 2.
        unsafe {
            write_sysreg!("tcr_el1", tcr | WALKS_OFF);
            barrier::isb(barrier::SY);
            write_sysreg!("vttbr_el2", theirs);
            barrier::isb(barrier::SY);
            invalidate();
            write_sysreg!("vttbr_el2", ours);
            barrier::isb(barrier::SY);
            write_sysreg!("tcr_el1", tcr);
            barrier::isb(barrier::SY);
        }
    }
}

unsafe extern "C" {
    /// boot/entry.S.
    fn secondary_entry();
}

impl Machine for Hardware {
    type Records = &'static mut [S2Page];
    type Contexts = &'static [ContextLock];
    type Gic = &'static GicLock;
    type SharedPage<'m> = fixmap::RunPage;
    const VMS: bool = true;

    #[inline(always)]
    fn cpu(&self) -> usize {
        percpu::index()
    }

    fn pt_load(&self, at: Pa) -> u64 {
        debug_assert!(at.is_aligned(8));
        // SAFETY: within a page of the frame pool, mapped by identity (`Hardware::new`).
        unsafe { (at.as_u64() as *const u64).read_volatile() }
    }

    fn pt_store(&self, at: Pa, descriptor: u64) {
        debug_assert!(at.is_aligned(8));
        // SAFETY: as above; one aligned 64-bit store is one single-copy atomic write.
        unsafe { (at.as_u64() as *mut u64).write_volatile(descriptor) };
    }

    fn zero_tables(&self, table: Pa, pages: u64) {
        // SAFETY: as above: pages of the pool, which no walker reaches yet.
        unsafe { core::ptr::write_bytes(table.as_u64() as *mut u8, 0, pages as usize * 4096) };
    }

    fn publish_tables(&self) {
        barrier::dsb(barrier::ISHST);
        barrier::isb(barrier::SY);
    }

    fn invalidate_ipa(&self, v: Vmid, root: Pa, ipa: Ipa) {
        Self::with_table(v, root, || {
            // SAFETY: TLBI touches no memory.
            unsafe {
                core::arch::asm!(
                    "tlbi ipas2e1is, {page}",
                    "dsb ish",
                    "tlbi vmalle1is", // entries that combine both stages
                    "dsb ish",
                    "isb",
                    page = in(reg) ipa.as_u64() >> 12,
                    options(nostack, preserves_flags)
                );
            }
        });
    }

    fn invalidate_vmid(&self, v: Vmid, root: Pa) {
        Self::with_table(v, root, || {
            // SAFETY: TLBI touches no memory.
            unsafe {
                core::arch::asm!("tlbi vmalls12e1is", "dsb ish", "isb", options(nostack, preserves_flags));
            }
        });
    }

    fn set_pt_vttbr(&self, v: Vmid, root: Pa, ipa_bits: u32) {
        // The walk starts at level 0, or at concatenated tables of level 1.
        let pages = if ipa_bits > 42 { 1 } else { (1u64 << ipa_bits).div_ceil(PGD_SIZE) };
        fatal::know_root(v, root, pages as usize);
    }

    fn clear_pt_vttbr(&self, v: Vmid) {
        fatal::forget_root(v);
    }

    fn clear_phys_page(&self, pfn: Pfn) {
        // SAFETY: RAM by the trait's contract, and a principal's.
        unsafe { fixmap::zero(self.principals(pfn)) };
    }

    fn fetch_from_doracle(&self, pfn: Pfn) {
        // SAFETY: as above.
        unsafe { fixmap::flush(self.principals(pfn)) };
    }

    fn fetch_block_from_doracle(&self, first: Pfn) {
        let block = Range { start: first.base().as_u64(), end: first.base().as_u64() + PMD_SIZE };
        assert!(!self.owned.iter().any(|owned| owned.overlaps(block)), "memory of Corevisor's in a principal's block");
        // SAFETY: as above, all of it.
        unsafe { block_window::flush(first) };
    }

    fn sync_code(&self) {
        cache::invalidate_instructions();
    }

    fn read_page(&self, pfn: Pfn, to: &mut PageBytes) {
        // SAFETY: as above.
        unsafe { fixmap::read(self.principals(pfn), to) };
    }

    fn write_page(&self, pfn: Pfn, from: &PageBytes) {
        // SAFETY: as above.
        unsafe { fixmap::write(self.principals(pfn), from) };
    }

    #[inline(always)]
    fn shared_page(&self, pfn: Pfn) -> fixmap::RunPage {
        // SAFETY: as above.
        unsafe { fixmap::RunPage::new(self.principals(pfn)) }
    }

    #[inline(always)]
    fn kept_page(&self, _pfn: Pfn) -> fixmap::RunPage {
        fixmap::RunPage::kept()
    }

    fn shared_load_words(&self, at: Pa, words: &mut [u64]) {
        self.principals(at.frame());
        // SAFETY: as above.
        unsafe { fixmap::load(at, words) };
    }

    fn shared_store_words(&self, at: Pa, words: &[u64]) {
        self.principals(at.frame());
        // SAFETY: as above.
        unsafe { fixmap::store(at, words) };
    }

    fn sync_with_devices(&self, at: Pa, bytes: u64) {
        cache::clean_to_memory(at.as_u64(), bytes);
        barrier::dsb(barrier::SY);
    }

    fn mmio_read(&self, at: Pa, width: Width) -> u64 {
        if let Some(register) = self.register(at, width) {
            // SAFETY: mapped (`new`), aligned, and a register of an SMMU, which no Rust object is.
            return unsafe {
                match width {
                    Width::Word => with_exposed_provenance::<u32>(register).read_volatile().into(),
                    Width::Double => with_exposed_provenance::<u64>(register).read_volatile(),
                }
            };
        }
        self.principals(at.frame());
        // SAFETY: a register of a device that Corevisor drives, by the trait's contract.
        unsafe { fixmap::read_register(at, width) }
    }

    fn mmio_write(&self, at: Pa, width: Width, value: u64) {
        if let Some(register) = self.register(at, width) {
            // SAFETY: as in `mmio_read`. What an SMMU does by it is never to memory that Rust knows of, but for its queues'
            // and tables', which are read and written as registers are.
            return unsafe {
                match width {
                    Width::Word => with_exposed_provenance_mut::<u32>(register).write_volatile(value as u32),
                    Width::Double => with_exposed_provenance_mut::<u64>(register).write_volatile(value),
                }
            };
        }
        self.principals(at.frame());
        // SAFETY: as above; what it does by that is never to memory that Rust knows of.
        unsafe { fixmap::write_register(at, width, value) };
    }

    fn verify_image(&self, _v: Vmid, _remap_addr: Ipa, message: &ImageMessage, signature: &Signature) -> bool {
        self.keys.verify(message, signature)
    }

    fn has_image_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    fn allows_unsigned(&self) -> bool {
        cfg!(feature = "unsigned-vms")
    }

    fn entropy(&self) -> Option<[u8; 32]> {
        entropy::fresh()
    }

    fn virtual_interface(&self) -> Interface {
        self.interface
    }

    fn firmware_call(&self, args: [u64; 4]) -> [u64; 4] {
        firmware_call(args)
    }

    fn cpu_entry(&self, index: usize) -> (Pa, u64) {
        (Pa::low_48(secondary_entry as *const () as u64), percpu::context(index))
    }

    fn log_refusal(&self, line: core::fmt::Arguments<'_>) {
        console::log_refusal(line);
    }

    #[cfg(feature = "semihosting")]
    fn crash(&self, kind: u64) {
        super::fatal::crash(kind);
    }
}

impl LogSource for Hardware {
    fn read(&self, position: u64, buffer: &mut [u8]) -> (u64, usize) {
        console::log_ring().read(position, buffer)
    }
}

/// An SMC to the firmware below us: x0 to x3 in and out, nothing else of ours in registers.
pub fn firmware_call([id, x1, x2, x3]: [u64; 4]) -> [u64; 4] {
    let mut args = [0; 17];
    args[..3].copy_from_slice(&[x1, x2, x3]);
    let results = smccc::smc64(id as u32, args);
    [results[0], results[1], results[2], results[3]]
}
