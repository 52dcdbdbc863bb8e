// SPDX-License-Identifier: GPL-2.0-only
//! The machine under the core, on real hardware.

use super::{console, percpu};
use crate::addr::{Ipa, Pa, Pfn, Vmid};
use crate::machine::{Machine, PageBytes, Width};
use crate::memory::S2Page;
use crate::trap::LogSource;
use crate::vcpu::ContextLock;
use crate::{read_sysreg, write_sysreg};
use aarch64_cpu::asm::barrier;

/// AArch64 at EL2, with an identity map of what Corevisor owns.
#[derive(Debug)]
pub struct Hardware(());

impl Hardware {
    /// The hardware.
    ///
    /// # Safety
    /// Once; and the frame pool of the core built on it must be mapped, and used by nobody else.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

unsafe extern "C" {
    /// boot/entry.S.
    fn secondary_entry();
}

impl Machine for Hardware {
    type Records = &'static mut [S2Page];
    type Contexts = &'static [ContextLock];

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
        let theirs = root.as_u64() | ((v.index() as u64) << 48);
        let ours = read_sysreg!("vttbr_el2");
        barrier::dsb(barrier::ISHST);
        // SAFETY: EL1 does not run here and now, so its VTTBR can be another for the while. TLBI touches no memory.
        unsafe {
            if theirs != ours {
                write_sysreg!("vttbr_el2", theirs);
                core::arch::asm!("isb", options(nostack, preserves_flags));
            }
            core::arch::asm!(
                "tlbi ipas2e1is, {page}",
                "dsb ish",
                "tlbi vmalle1is", // entries that combine both stages
                "dsb ish",
                "isb",
                page = in(reg) ipa.as_u64() >> 12,
                options(nostack, preserves_flags)
            );
            if theirs != ours {
                write_sysreg!("vttbr_el2", ours);
                core::arch::asm!("isb", options(nostack, preserves_flags));
            }
        }
    }

    fn invalidate_vmid(&self, _v: Vmid, _root: Pa) {
        todo!()
    }

    fn set_pt_vttbr(&self, _v: Vmid, _root: Pa, _ipa_bits: u32) {}

    fn clear_pt_vttbr(&self, _v: Vmid) {}

    fn clear_phys_page(&self, _pfn: Pfn) {
        todo!()
    }

    fn fetch_from_doracle(&self, _pfn: Pfn) {
        todo!()
    }

    fn sync_code(&self) {
        todo!()
    }

    fn read_page(&self, _pfn: Pfn, _to: &mut PageBytes) {
        todo!()
    }

    fn write_page(&self, _pfn: Pfn, _from: &PageBytes) {
        todo!()
    }

    fn shared_load(&self, _at: Pa) -> u64 {
        todo!()
    }

    fn shared_store(&self, _at: Pa, _value: u64) {
        todo!()
    }

    fn mmio_read(&self, _at: Pa, _width: Width) -> u64 {
        todo!()
    }

    fn mmio_write(&self, _at: Pa, _width: Width, _value: u64) {
        todo!()
    }

    fn verify_image(&self, _v: Vmid, _remap_addr: Ipa) -> bool {
        false
    }

    fn entropy(&self) -> Option<[u8; 32]> {
        None
    }

    fn timer_set_cntvoff(&self, _offset: u64) {
        todo!()
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
