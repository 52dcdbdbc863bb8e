// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioRaw (`spec/layers/07-mmio.md` §7.1).

use super::ContextBank;
use super::registers::{BANK_SHIFT, BANKS};
use crate::addr::{PAGE_SIZE, Pa};
use crate::npt::{Desc, DescBits};
use crate::refused::Refused;
use crate::spt::IOVA_BITS;
use crate::trap::Registers;

/// Spec: IR-1. The value of the host's register `rd`, as a store reads it: register 31 is zero.
pub(super) fn host_get_mmio_data(rd: usize, regs: &Registers) -> u64 {
    regs.get(rd).copied().unwrap_or(0)
}

/// Spec: IR-2. The leaf that maps the page `addr` with the host's `prot`: access permissions, memory attributes,
/// execute-never. The type, the access flag and shareability are Corevisor's (D-61).
///
/// # Errors
/// If `prot` has any other bit (the contiguous hint would let the IOTLB map what the table does not), or attributes that
/// the architecture reserves; or if `addr` is no page's, or wider than the SMMU puts out.
pub fn smmu_init_pte(prot: u64, addr: Pa) -> Result<Desc, Refused> {
    if !addr.is_aligned(PAGE_SIZE) || addr.as_u64() >> IOVA_BITS != 0 {
        return Err(Refused::Argument(2));
    }
    let ours = DescBits::VALID | DescBits::TABLE_OR_PAGE | DescBits::INNER_SHAREABLE | DescBits::AF;
    let hosts = DescBits::READ | DescBits::WRITE | DescBits::XN | DescBits::NORMAL_WB;
    let prot = DescBits::from_bits_retain(prot);
    // MemAttr (Arm ARM D8.6.3): outer in its upper half, 0 for device memory; inner in its lower, 0 only there.
    let mem_attr = (prot & DescBits::NORMAL_WB).bits() >> 2;
    let reserved = mem_attr >> 2 != 0 && mem_attr & 3 == 0;
    if reserved || !(ours | hosts).contains(prot) {
        return Err(Refused::Argument(3));
    }
    Ok(Desc::from_u64(addr.as_u64() | (prot | ours).bits()))
}

/// Spec: IR-3. The context bank whose registers lie at `offset` of the window, in its upper half.
pub(super) fn smmu_get_cbndx(offset: u64) -> Option<ContextBank> {
    ContextBank::new(offset.checked_sub(BANKS)? >> BANK_SHIFT)
}
