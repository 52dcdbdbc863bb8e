// SPDX-License-Identifier: GPL-2.0-only
//! The host's accesses to the registers, one by one.

use super::registers::{gicr, gits};
use super::windows::Page;
use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::{Machine, Width};
use crate::refused::Refused;
use crate::trap::{HostAbort, Registers, Syndrome};

/// An access of the host to a register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Where the page is that it lies in.
    pub page: u64,
    /// Where in that page.
    pub offset: u64,
    pub width: Width,
}

impl Access {
    /// What `abort` was to do in the page at `page`.
    ///
    /// # Errors
    /// If hardware does not describe it, or it is not one aligned register of 4 or 8 bytes.
    fn of(abort: &HostAbort, page: u64) -> Result<Self, Refused> {
        let offset = abort.far & (PAGE_SIZE - 1);
        let (width, size) = match abort.syndrome.access_mask() {
            0xFFFF_FFFF => (Width::Word, 4),
            u64::MAX => (Width::Double, 8),
            _ => return Err(Refused::GicRegister(offset)),
        };
        if !abort.syndrome.describes_access() || !offset.is_multiple_of(size) {
            return Err(Refused::GicRegister(offset));
        }
        Ok(Self { page, offset, width })
    }

    /// What is said to a host that accesses this so, and may not.
    pub(super) fn refused(&self) -> Refused {
        Refused::GicRegister(self.offset)
    }

    /// The register's address.
    pub(super) fn at(&self) -> Pa {
        Pa::low_48(self.page + self.offset)
    }

    /// The 8 bytes that it is to, or in.
    pub(super) fn register(&self) -> u64 {
        self.offset & !7
    }

    /// Those 8 bytes, which were `old`, after the write of `data`.
    pub(super) fn merge(&self, old: u64, data: u64) -> u64 {
        let shift = 8 * (self.offset & 4);
        match self.width {
            Width::Double => data,
            Width::Word => old & !(0xFFFF_FFFF << shift) | (data & 0xFFFF_FFFF) << shift,
        }
    }

    /// What it reads of them.
    pub(super) fn part(&self, register: u64) -> u64 {
        match self.width {
            Width::Double => register,
            Width::Word => (register >> (8 * (self.offset & 4))) & 0xFFFF_FFFF,
        }
    }
}

impl<M: Machine> Corevisor<M> {
    /// Carries out an access of the host, to the page `ipa`, if that is of an interrupt controller's registers that are
    /// withheld; whether it is. `regs` are the host's registers. Locks GIC → S2PAGE.
    ///
    /// # Errors
    /// If the host may not do that; then nothing has changed.
    pub fn emulate_gic<const OUTER: u8>(
        &self,
        ipa: Ipa,
        abort: &HostAbort,
        regs: &mut Registers,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<bool, Refused> {
        // Where the pages are is constant: other faults of the host need not wait for the lock.
        let Some(page) = self.gic_config().page(ipa) else { return Ok(false) };
        let access = Access::of(abort, ipa.align_down(PAGE_SIZE).as_u64())?;
        let register = abort.syndrome.register();
        if abort.syndrome.0 & Syndrome::WNR == 0 {
            let value = self.read_gic(page, &access, outer)?;
            if let Some(to) = regs.get_mut(register) {
                *to = value;
            }
            return Ok(true);
        }
        // Register 31 is none, and zero.
        let data = regs.get(register).copied().unwrap_or(0);
        let (mut gic, mut held) = self.acquire_lock_gic(outer);
        match page {
            Page::Its(n, _) => self.write_its(&mut gic, n, &access, data, &mut held)?,
            Page::Redistributor(n, _) => self.write_redistributor(&mut gic, n, &access, data, &mut held)?,
            Page::Vlpi => {} // There are no vPEs: a host that makes sure finds nothing, and may write that.
        }
        Ok(true)
    }

    fn read_gic<const OUTER: u8>(
        &self,
        page: Page,
        access: &Access,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        let hidden = |bits: u64| access.part(self.read_register(access) & !bits);
        match (page, access.register(), access.width) {
            (Page::Vlpi, ..) => Ok(0),
            (Page::Its(..), gits::CTLR, Width::Double) | (Page::Redistributor(..), gicr::CTLR, Width::Double) => {
                Err(access.refused())
            }
            (Page::Its(..), gits::TYPER, _) => Ok(hidden(gits::TYPER_V4)),
            (Page::Its(n, _), gits::CBASER | gits::CWRITER | gits::CREADR, _) => {
                let (mut gic, mut held) = self.acquire_lock_gic(outer);
                Ok(access.part(self.read_queue(&mut gic, n, access.register(), &mut held)))
            }
            (Page::Its(n, _), register, _) if gits::BASER.contains(&register) => {
                Ok(access.part(self.acquire_lock_gic(outer).0.its[n].baser(register)))
            }
            (Page::Redistributor(..), gicr::TYPER, _) => Ok(hidden(gicr::TYPER_V4)),
            (Page::Redistributor(n, _), gicr::CTLR, _) => {
                let (mut gic, mut held) = self.acquire_lock_gic(outer);
                let value = self.machine().mmio_read(access.at(), access.width);
                self.end_of_lpis(&mut gic, n, access.page, &mut held);
                Ok(value)
            }
            _ => Ok(self.machine().mmio_read(access.at(), access.width)),
        }
    }

    /// The 8 bytes of hardware's register that `access` is to.
    fn read_register(&self, access: &Access) -> u64 {
        self.machine().mmio_read(Pa::low_48(access.page + access.register()), Width::Double)
    }
}
