// SPDX-License-Identifier: GPL-2.0-only
//! Corevisor's library on its simulated machine, in the specification's terms: the abstraction function of
//! `DESIGN.md` §5. What corresponds to what is in [`correspondence`].

pub mod contexts;
pub mod correspondence;
mod view;
pub mod world;

pub use correspondence::{corresponds, mm1};
pub use view::{Observer, Run, View, complete};

use crate::constants::model_only::{PAGE_HYP, PAGE_S2_KERNEL};
use crate::constants::{INVALID, INVALID64, PAGE_GUEST, PAGE_S2_DEVICE, PAGE_SIZE, S2_RDWR, TABLE, phys_page};
use crate::page_table::NptEntry;
use crate::rdata::S2Page;
use corevisor::addr::{self, Range};
use corevisor::corevisor::Corevisor;
use corevisor::machine::sim::SimMachine;
use corevisor::memory::{self, Count, MemRegions};
use corevisor::npt::{self, Desc, Level};
use corevisor::vm::{VcpuState, VmState};

/// The library on the simulated machine.
pub type Core = Corevisor<SimMachine>;

/// In [`Run::attributes`]: the descriptor's attributes have no name in the specification.
pub const NAMELESS: u64 = 1 << 63;

/// The vectors' memory regions ([`crate::rdata::REGIONS`]), for the library.
pub fn regions() -> MemRegions {
    let mut regions = MemRegions::default();
    for region in crate::rdata::REGIONS {
        let range = Range::new(region.base, region.size).expect("a range");
        regions.push(range, region.index != INVALID64).expect("few regions");
    }
    regions
}

/// A record of the library's.
pub fn s2page(record: memory::S2Page) -> S2Page {
    S2Page { owner: owner(record.owner()), count: count(record.count()), gfn: record.gfn().unwrap_or(INVALID64) }
}

/// A principal, or nobody.
pub fn owner(owner: memory::Owner) -> u32 {
    owner.map_or(INVALID, |v| v.index() as u32)
}

/// A count.
pub fn count(count: Count) -> u32 {
    match count {
        Count::Shares(n) => n.into(),
        Count::DmaPending => INVALID,
    }
}

/// The state of a VM, as the specification numbers it.
pub fn vm_state(state: VmState) -> u32 {
    use crate::constants::state::{POWEROFF, READY, UNUSED, VERIFIED};
    match state {
        VmState::Unused => UNUSED,
        VmState::Ready => READY,
        VmState::Verified => VERIFIED,
        VmState::Poweroff => POWEROFF,
    }
}

/// The state of a vCPU, as the specification numbers it.
pub fn vcpu_state(state: VcpuState) -> u32 {
    use crate::constants::state::{ACTIVE, READY, UNUSED};
    match state {
        VcpuState::Unused => UNUSED,
        VcpuState::Ready => READY,
        VcpuState::Active => ACTIVE,
    }
}

/// The library's attributes and the specification's of the same name: `PAGE_S2_KERNEL` is another number on hardware
/// (0x7FF; the specification's 0xFFF has a reserved bit).
const NAMES: [(u64, u64); 3] = [
    (npt::PAGE_S2_KERNEL, PAGE_S2_KERNEL),
    (npt::PAGE_HYP, PAGE_HYP),
    (npt::PAGE_S2_DEVICE | npt::S2_RDWR, PAGE_S2_DEVICE | S2_RDWR),
];

/// Page and attributes of a descriptor of the library's: a leaf, at whatever level, or an invalid one. Attributes are
/// translated by name; those without one are marked [`NAMELESS`].
pub fn decode(descriptor: u64) -> (u64, u64) {
    let pfn = phys_page(descriptor) / PAGE_SIZE;
    if descriptor == npt::PAGE_GUEST {
        return (0, PAGE_GUEST);
    }
    let desc = Desc::from_u64(descriptor);
    let bits = desc.attributes();
    match NAMES.into_iter().find(|(library, _)| *library == bits) {
        Some((_, name)) if desc.is_valid() => (pfn, name),
        _ => (pfn, bits | NAMELESS),
    }
}

/// The library's descriptor for one of the specification's, which its types allow to be anything: `None` for a block
/// with a table's bits. Attributes without a name are kept, and made those of a valid leaf.
pub fn encode(pte: u64, level: Level) -> Option<Desc> {
    if pte == PAGE_GUEST {
        return Some(Desc::from_u64(npt::PAGE_GUEST));
    }
    let page = addr::Pa::new(phys_page(pte))?;
    let bits = (pte & !phys_page(pte)) | TABLE;
    let bits = NAMES.into_iter().find(|(_, name)| *name == bits).map_or(bits, |(library, _)| library);
    Some(Desc::leaf(page, level, bits))
}

/// Attributes of an entry of the specification's, as those of a page whatever its level, and as [`decode`] gives them.
fn attributes(entry: &NptEntry) -> u64 {
    let bits = entry.pte & !phys_page(entry.pte);
    if bits == PAGE_GUEST && entry.pfn == 0 {
        return PAGE_GUEST;
    }
    let bits = bits | TABLE;
    match bits {
        _ if NAMES.iter().any(|(_, name)| *name == bits) => bits,
        _ => bits | NAMELESS,
    }
}
