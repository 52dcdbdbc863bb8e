// SPDX-License-Identifier: GPL-2.0-only
//! Layer: AbstractMachine (`spec/layers/01-machine.md`): what the layers above ask of the hardware.
//!
//! The firmware's machine is `arch::machine::Hardware`; tests run the same layers on [`sim::SimMachine`].

mod cpu_features;
#[cfg(feature = "sim")]
pub mod sim;
mod world_switch;

pub use cpu_features::CpuFeatures;
pub use world_switch::WorldSwitch;

use crate::addr::{Ipa, PAGE_SIZE, PMD_PAGES, Pa, Pfn, Vmid};
use crate::gic::GicLock;
use crate::memory::S2Page;
use crate::vcpu::ContextLock;
use crate::vcpu::vgic::Interface;
use crate::vm::Signature;
use crate::vm::measure::ImageMessage;
use core::ops::Deref;

/// Contents of a page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// Width of an access to a device register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Double,
}

/// A page of RAM that Corevisor shares with the host. Offsets are multiples of 8, below the size of a page.
pub trait SharedPage {
    /// Reads the word at `offset` by a single access, whose value is the host's choice (`spec/layers/12-wdrf.md` §12.3).
    fn load(&self, offset: u64) -> u64;

    /// Writes the word at `offset`.
    fn store(&self, offset: u64, value: u64);

    /// Stops its use on this CPU for a while: [`Machine::kept_page`] goes on with it.
    fn keep(self);
}

/// The primitives that touch hardware. All page-table addresses are of pages that the frame pool handed out, which
/// Corevisor owns and has mapped.
pub trait Machine {
    /// Storage of the ownership table.
    type Records: AsRef<[S2Page]> + AsMut<[S2Page]>;
    /// Storage of the shadow contexts.
    type Contexts: AsRef<[ContextLock]>;

    /// Where the state of the interrupt controllers is.
    type Gic: Deref<Target = GicLock>;

    /// A page shared with the host.
    type SharedPage<'m>: SharedPage
    where
        Self: 'm;

    /// Whether this machine holds VMs. Where it doesn't, the host's calls about VMs are not supported.
    const VMS: bool;

    /// The CPU that runs this, below [`crate::MAX_CPUS`].
    fn cpu(&self) -> usize;

    /// Reads one 8-byte aligned descriptor (AM-28 `pt_load`, AM-37 `smmu_pt_load`).
    fn pt_load(&self, at: Pa) -> u64;

    /// Writes one 8-byte aligned descriptor with a single store (AM-29 `pt_store`, AM-38 `smmu_pt_store`; `spec/layers/12-wdrf.md` §12.4 d).
    fn pt_store(&self, at: Pa, descriptor: u64);

    /// Zeroes `pages` table pages from `table` on, not yet reachable by a walker.
    fn zero_tables(&self, table: Pa, pages: u64);

    /// Orders all descriptor writes so far before any walk that starts later (DSB ISHST, ISB).
    fn publish_tables(&self);

    /// Ends every cached translation of `ipa` in the stage-2 table of `v` rooted at `root`, on all CPUs, with the
    /// sequence of `spec/layers/12-wdrf.md` §12.6 steps 2 to 7. Complete on return.
    fn invalidate_ipa(&self, v: Vmid, root: Pa, ipa: Ipa);

    /// Ends every cached translation of `v`, of both stages, on all CPUs (TLBI VMALLS12E1IS with `root` in VTTBR_EL2,
    /// between the barriers of `spec/layers/12-wdrf.md` §12.6). Complete on return.
    fn invalidate_vmid(&self, v: Vmid, root: Pa);

    /// AM-31. From now on a walker may be given `root`, of a table for `ipa_bits` bits, for `v`. Hardware is given it at
    /// each switch to `v`.
    fn set_pt_vttbr(&self, v: Vmid, root: Pa, ipa_bits: u32);

    /// The table of `v` is no more: [`Self::invalidate_vmid`] was called, and its pages go back to the pool.
    fn clear_pt_vttbr(&self, v: Vmid);

    /// AM-92. Zeroes a page of RAM that no CPU but this one can reach, to the point of coherency
    /// (`spec/layers/12-wdrf.md` §12.8).
    fn clear_phys_page(&self, pfn: Pfn);

    /// AM-15 `fetch_from_doracle`: a page of RAM was taken from the host, which can't reach it any more. Its stale cache
    /// lines are cleaned and invalidated, so that all views of it agree.
    fn fetch_from_doracle(&self, pfn: Pfn);

    /// [`Self::fetch_from_doracle`] for the 512 pages from `first` on, a block.
    fn fetch_block_from_doracle(&self, first: Pfn) {
        let pages = first.as_u64()..first.as_u64() + PMD_PAGES;
        pages.filter_map(Pfn::new).for_each(|pfn| self.fetch_from_doracle(pfn));
    }

    /// New code may lie in pages that a VM can execute: ends stale instructions in all instruction caches.
    fn sync_code(&self);

    /// Copies a page of RAM. Where another principal can write it at the same time, any mixture may come out.
    fn read_page(&self, pfn: Pfn, to: &mut PageBytes);

    /// Overwrites a page of RAM, to the point of coherency.
    fn write_page(&self, pfn: Pfn, from: &PageBytes);

    /// A page of RAM that the host may write at any time, for as long as the result lives. One at a time on a CPU.
    fn shared_page(&self, pfn: Pfn) -> Self::SharedPage<'_>;

    /// That page, which this CPU has kept ([`SharedPage::keep`]).
    fn kept_page(&self, pfn: Pfn) -> Self::SharedPage<'_>;

    /// Reads words of RAM from `at` on, 8-byte aligned and all in one page, that the host may write at any time: each by a
    /// single access, whose value is the host's choice (`spec/layers/12-wdrf.md` §12.3).
    fn shared_load_words(&self, at: Pa, words: &mut [u64]);

    /// Writes words of RAM from `at` on, 8-byte aligned and all in one page, that the host can read.
    fn shared_store_words(&self, at: Pa, words: &[u64]);

    /// Reads one such word.
    fn shared_load(&self, at: Pa) -> u64 {
        let mut word = [0];
        self.shared_load_words(at, &mut word);
        word[0]
    }

    /// Writes one such word.
    fn shared_store(&self, at: Pa, value: u64) {
        self.shared_store_words(at, &[value]);
    }

    /// Devices that read memory see, from now on, what was written to these bytes of table pages, and all that was written
    /// before.
    fn sync_with_devices(&self, at: Pa, bytes: u64);

    /// AM-131 `readq_relaxed`, AM-132 `readl_relaxed`: reads a register in a window of [`crate::corevisor::Config::smmus`],
    /// [`crate::corevisor::Config::smmu3s`], or [`crate::corevisor::Config::gic`].
    fn mmio_read(&self, at: Pa, width: Width) -> u64;

    /// AM-129 `writel_relaxed`, AM-130 `writeq_relaxed`: writes one; of a 4-byte access the low half of `value`.
    fn mmio_write(&self, at: Pa, width: Width, value: u64);

    /// AM-19 `verify_image`: whether `signature` is one of `message` by a key that this machine has
    /// ([`Self::has_image_keys`]). The message is about the image of `v` in the window from `remap_addr` on, all pages of
    /// which are `v`'s.
    fn verify_image(&self, v: Vmid, remap_addr: Ipa, message: &ImageMessage, signature: &Signature) -> bool;

    /// Whether there is a key that an image could be signed with.
    fn has_image_keys(&self) -> bool;

    /// Whether VMs may be unsigned ([`crate::vm::VmFlags::UNSIGNED`]).
    fn allows_unsigned(&self) -> bool;

    /// 32 bytes that nobody can guess; `None` if the platform has no source of entropy.
    fn entropy(&self) -> Option<[u8; 32]>;

    /// The interrupt interface that VMs have, the same on all CPUs.
    fn virtual_interface(&self) -> Interface;

    /// Calls the platform's firmware below us (SMCCC): function id and arguments in, x0 to x3 out.
    fn firmware_call(&self, args: [u64; 4]) -> [u64; 4];

    /// Where a CPU that the firmware starts for us must begin, and the context that leads it to CPU `index`.
    fn cpu_entry(&self, index: usize) -> (Pa, u64);

    /// Says one line about a refusal; the machine limits the rate.
    fn log_refusal(&self, line: core::fmt::Arguments<'_>);

    /// Provokes a fault of Corevisor's own ([`crate::abi::test_call::CRASH`]).
    #[cfg(feature = "semihosting")]
    fn crash(&self, kind: u64);
}
