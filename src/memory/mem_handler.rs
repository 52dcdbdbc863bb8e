// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MemHandler (`spec/layers/09-traps.md` §9.1), except MH-2. Each call does a bounded part (G9) and tells how
//! much of its range is left.

use super::mem_manager::vm_only;
use super::sg_pages;
use crate::addr::{ADDR_SPACE, Ipa, PAGE_SIZE, Pa, Pfn, Range, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vm::VmState;

/// Pages that one call of MH-1 clears, or one of MH-3 maps.
pub const PAGES_PER_CALL: u64 = 512;
/// Ownership records that one call of MH-1 looks at.
pub const RECORDS_PER_CALL: u64 = 65536;
/// Those that it looks at in one section of S2PAGE.
const RECORDS_PER_SECTION: u64 = 4096;

impl<M: Machine> Corevisor<M> {
    /// Spec: MH-1. MO-1 for those pages of a range of physical memory that are the VM `v`'s, if `v` is powered off;
    /// otherwise nothing. Returns how many bytes at the end of the range are left for the next call. Locks SMMU, VM(v), and
    /// what MM-2 locks.
    ///
    /// # Errors
    /// While one of `v`'s vCPUs runs (D-75), or a context bank is `v`'s: its devices could still write (D-68).
    pub fn clear_vm_stage2_range<const OUTER: u8>(
        &self,
        v: Vmid,
        start: Pa,
        size: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        let (vm, mut held) = self.acquire_lock_vm(v, &mut held);
        if !v.is_vm() || vm.state != VmState::Poweroff {
            return Ok(0);
        }
        if vm.is_active() {
            return Err(Refused::State(v));
        }
        if banks.has(v) {
            return Err(Refused::Bank);
        }
        let first = start.frame().as_u64();
        let end = first.saturating_add(size / PAGE_SIZE).min(ADDR_SPACE / PAGE_SIZE);
        match self.clear_vm_pages(v, first, end, &mut held)? {
            next if next < end => Ok(size - (next - first) * PAGE_SIZE),
            _ => Ok(0),
        }
    }

    /// Clears pages of `v` among those from number `from` to `end`, as many as one call may. Returns where to go on.
    pub(crate) fn clear_vm_pages(
        &self,
        v: Vmid,
        from: u64,
        end: u64,
        held: &mut Held<'_, { rank::VM }>,
    ) -> Result<u64, Refused> {
        let (mut next, mut pages, mut records) = (from, PAGES_PER_CALL, RECORDS_PER_CALL);
        while next < end && pages > 0 && records > 0 {
            let mut section = records.min(RECORDS_PER_SECTION);
            records -= section;
            let (first, found) = self.acquire_lock_s2page(held).0.pages_from(v, next, end, pages, &mut section);
            records += section;
            if let Some(pfn) = Pfn::new(first) {
                self.clear_vm_range(v, pfn, found, held)?;
            }
            next = first + found;
            pages -= found;
        }
        Ok(next)
    }

    /// Spec: MH-3. BO-13 for each page that `size` bytes of device memory from `pa` on fill, at `gpa` of the VM `v`.
    /// Returns how many bytes at the end of the range are left for the next call. What can't be mapped ends the call: if
    /// it is not the first page, the next call says why. Locks: those of BO-13.
    ///
    /// # Errors
    /// If `v` is no VM (D-52), a range leaves the address space or the reach of stage-2 tables, or registers that the host
    /// can't reach lie in it (D-83); for the first page as BO-13. Nothing has changed then.
    pub fn kvm_phys_addr_ioremap<const OUTER: u8>(
        &self,
        v: Vmid,
        gpa: Ipa,
        pa: Pa,
        size: u64,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        vm_only(v)?;
        let pages = sg_pages(size);
        if pages == 0 {
            return Ok(0);
        }
        let bytes = pages.checked_mul(PAGE_SIZE).ok_or(Refused::Argument(4))?;
        let range = |start: u64| Range::new(start & !(PAGE_SIZE - 1), bytes).ok_or(Refused::Argument(4));
        let (guest, device) = (range(gpa.as_u64())?, range(pa.as_u64())?);
        let beyond = |range: Range| (range.end - 1) >> self.ipa_bits() != 0;
        if beyond(guest) || beyond(device) || self.is_withheld(device) {
            return Err(Refused::OutOfReach);
        }
        for i in 0..pages.min(PAGES_PER_CALL) {
            let (gpa, pa) = (Ipa::low_48(guest.start + i * PAGE_SIZE), Pa::low_48(device.start + i * PAGE_SIZE));
            match self.map_io(v, gpa, pa, outer) {
                Err(why) if i == 0 => return Err(why),
                Err(_) => return Ok(size - i * PAGE_SIZE),
                Ok(()) => {}
            }
        }
        Ok(size.saturating_sub(PAGES_PER_CALL * PAGE_SIZE))
    }
}
