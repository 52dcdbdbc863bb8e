// SPDX-License-Identifier: GPL-2.0-only
//! Redistributors: what LPIs are, and which are pending, is in memory that they read and write while LPIs are on.

use super::Gic;
use super::access::Access;
use super::holds::{MAX_TABLE, Use};
use super::registers::gicr;
use crate::addr::{ADDR_SPACE, PAGE_SIZE, Pa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::{Machine, Width};
use crate::refused::Refused;

/// How often Corevisor asks whether LPIs are off.
const OFF_ATTEMPTS: u32 = 1_000_000;
/// Alignment of the table of pending LPIs.
const PENDING_ALIGN: u64 = 0x1_0000;

/// The table of what LPIs are, as PROPBASER says it: a byte for each.
fn config_table(propbaser: u64) -> Result<Range, Refused> {
    let bytes = 2 << (propbaser & gicr::ID_BITS);
    Range::new(propbaser & (ADDR_SPACE - PAGE_SIZE), bytes).filter(|_| bytes <= MAX_TABLE).ok_or(Refused::OutOfReach)
}

/// The table of pending LPIs, as both registers say it: a bit for each.
fn pending_table(pendbaser: u64, propbaser: u64) -> Result<Range, Refused> {
    let bytes = (2 << (propbaser & gicr::ID_BITS)) / 8;
    let memory = Range::new(pendbaser & (ADDR_SPACE - PENDING_ALIGN), bytes.max(PAGE_SIZE));
    memory.filter(|_| bytes <= MAX_TABLE).ok_or(Refused::OutOfReach)
}

impl<M: Machine> Corevisor<M> {
    /// The host's write of `data` to a register of redistributor `n`. Locks S2PAGE.
    pub(super) fn write_redistributor(
        &self,
        gic: &mut Gic,
        n: u16,
        access: &Access,
        data: u64,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        let machine = self.machine();
        let register = |offset: u64| Pa::low_48(access.page + offset);
        let read = |offset: u64| machine.mmio_read(register(offset), Width::Double);
        match (access.register(), access.width) {
            (gicr::CTLR, Width::Word) if access.offset == gicr::CTLR => {
                if data & gicr::ENABLE_LPIS != 0 {
                    self.start_of_lpis(gic, n, access.page, held)?;
                }
                machine.mmio_write(access.at(), access.width, data);
                self.end_of_lpis(gic, n, access.page, held);
            }
            (gicr::STATUSR, Width::Word) => machine.mmio_write(access.at(), access.width, data), // and WAKER
            (gicr::SETLPIR | gicr::CLRLPIR, _) => machine.mmio_write(access.at(), access.width, data),
            (gicr::INVLPIR | gicr::INVALLR, _) => {
                let physical = access.merge(0, data) & gicr::VIRTUAL == 0;
                if !physical {
                    return Err(access.refused());
                }
                machine.mmio_write(access.at(), access.width, data);
            }
            (offset @ (gicr::PROPBASER | gicr::PENDBASER), _) => {
                if self.lpis_are_on(access.page) || gic.holds.find(Use::Pending(n)).is_some() {
                    return Err(access.refused());
                }
                let value = access.merge(read(offset), data);
                // What counts is what it names when LPIs are turned on. But a host that errs learns it here, unless it says
                // that there is nothing.
                if value & (ADDR_SPACE - PAGE_SIZE) != 0 {
                    let table = if offset == gicr::PROPBASER {
                        config_table(value)
                    } else {
                        pending_table(value, read(gicr::PROPBASER))
                    };
                    self.require_hosts(table?, held)?;
                }
                machine.mmio_write(access.at(), access.width, data);
            }
            _ => return Err(access.refused()),
        }
        Ok(())
    }

    /// Whether the redistributor at `at` may use its tables.
    fn lpis_are_on(&self, at: u64) -> bool {
        let ctlr = self.machine().mmio_read(Pa::low_48(at + gicr::CTLR), Width::Word);
        ctlr & (gicr::ENABLE_LPIS | gicr::RWP) != 0
    }

    /// Redistributor `n`, at `at`, is to use the tables that it names: they must be the host's, and stay so. Locks S2PAGE.
    fn start_of_lpis(&self, gic: &mut Gic, n: u16, at: u64, held: &mut Held<'_, { rank::GIC }>) -> Result<(), Refused> {
        if gic.holds.find(Use::Pending(n)).is_some() {
            return Ok(()); // They are on already.
        }
        let read = |register| self.machine().mmio_read(Pa::low_48(at + register), Width::Double);
        let propbaser = read(gicr::PROPBASER);
        let (config, pending) = (config_table(propbaser)?, pending_table(read(gicr::PENDBASER), propbaser)?);
        self.hold(&mut gic.holds, config, Use::Config(n), held)?;
        let done = self.hold(&mut gic.holds, pending, Use::Pending(n), held);
        if done.is_err() {
            self.release(&mut gic.holds, held, |of| of == Use::Config(n));
        }
        done
    }

    /// If the redistributor at `at` does not use its tables any more, or never did, they are free. Locks S2PAGE.
    pub(super) fn end_of_lpis(&self, gic: &mut Gic, n: u16, at: u64, held: &mut Held<'_, { rank::GIC }>) {
        if gic.holds.find(Use::Pending(n)).is_some() && !self.lpis_are_on(at) {
            self.release(&mut gic.holds, held, |of| matches!(of, Use::Config(r) | Use::Pending(r) if r == n));
        }
    }

    /// Before the host runs: LPIs that the bootloader has left on are turned off. Where they can't be, their tables must be
    /// the host's. Returns at which redistributors neither is so: those use memory that Corevisor has no hand on.
    pub fn take_over_lpis(&self, mut left: impl FnMut(u64)) {
        let mut nothing = Held::nothing();
        let (mut gic, mut held) = self.acquire_lock_gic(&mut nothing);
        for (n, at) in self.gic_config().all_redistributors().enumerate() {
            if !self.lpis_are_on(at) {
                continue;
            }
            let ctlr = Pa::low_48(at + gicr::CTLR);
            let value = self.machine().mmio_read(ctlr, Width::Word);
            self.machine().mmio_write(ctlr, Width::Word, value & !gicr::ENABLE_LPIS);
            let off = (0..OFF_ATTEMPTS).any(|_| !self.lpis_are_on(at));
            if !off && self.start_of_lpis(&mut gic, n as u16, at, &mut held).is_err() {
                left(at);
            }
        }
    }
}
