// SPDX-License-Identifier: GPL-2.0-only
//! One ITS: its tables and its queue, which are Corevisor's, and what the host has been told of them.
//!
//! Hardware is given Corevisor's memory once, before the host runs. What the host writes to BASER and CBASER is checked and
//! kept, and memory that it names is held for as long as it does.

use super::Gic;
use super::access::Access;
use super::holds::{Holds, Use};
use super::registers::{COMMAND, gits};
use crate::addr::{ADDR_SPACE, PAGE_SIZE, Pa, Range};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::{Machine, Width};
use crate::npt::FramesLock;
use crate::refused::Refused;

/// Pages of an ITS's device table, with all its parts.
const DEVICE_PAGES: u64 = 16;
/// Pages of its collection table, one page of the largest size.
const COLLECTION_PAGES: u64 = 16;
/// Pages that an ITS needs: both tables, and the queue.
pub const ITS_PAGES: u64 = DEVICE_PAGES + COLLECTION_PAGES + 1;
/// Commands in the queue that hardware reads.
pub(super) const SLOTS: usize = (PAGE_SIZE / COMMAND) as usize;
/// How often Corevisor asks whether an ITS is quiet.
const QUIET_ATTEMPTS: u32 = 1_000_000;
/// Tables of an ITS.
const TABLES: usize = 8;

/// An ITS.
#[derive(Debug)]
pub(super) struct Its {
    /// Address of the registers.
    base: u64,
    /// GITS_TYPER.
    pub(super) typer: u64,
    usable: bool,
    devices: DeviceTable,
    collections: Option<Table>,
    /// What hardware says in BASER, type and entry size, of the tables that there are; else 0.
    kinds: [u64; TABLES],
    /// What the host has written there.
    baser: [u64; TABLES],
    pub(super) queue: Queue,
}

/// The host's command queue, and ours.
#[derive(Debug)]
pub(super) struct Queue {
    /// Where ours is: one page.
    pub ours: Pa,
    /// Commands that hardware was given, and those that it has done; modulo 2^32.
    pub given: u32,
    pub done: u32,
    /// Of each command of ours, its place in the host's queue.
    pub taken: [u16; SLOTS],
    /// What the host has written to CBASER.
    pub cbaser: u64,
    /// Offsets in the host's queue: of the next command to be written, and of the next one to be taken.
    pub writer: u64,
    pub reader: u64,
}

/// A table, and what BASER has of it.
#[derive(Clone, Copy, Debug)]
struct Table {
    /// Which BASER.
    index: u64,
    value: u64,
    at: Pa,
    pages: u64,
}

/// The table of devices: flat, or its first page points to the others, as they are needed.
#[derive(Debug)]
struct DeviceTable {
    /// `None`: hardware needs none.
    table: Option<Table>,
    /// Bytes of its pages that are in use.
    used: u64,
}

impl Queue {
    /// The host's queue.
    pub fn hosts(&self) -> Option<Range> {
        if self.cbaser & gits::VALID == 0 {
            return None;
        }
        Range::new(self.cbaser & ((1 << 52) - PAGE_SIZE), ((self.cbaser & 0xFF) + 1) * PAGE_SIZE)
    }
}

impl Its {
    /// Turns the ITS with its registers in `window` off, and gives it tables and a queue.
    ///
    /// # Errors
    /// If there is no memory left. That the hardware does not do as it is told is none.
    pub fn new<M: Machine>(machine: &M, window: Range, frames: &FramesLock) -> Result<Self, Refused> {
        let take = |pages| {
            let at = frames.lock(&mut Held::nothing()).0.allocate(pages).ok_or(Refused::OutOfReach)?;
            machine.zero_tables(at, pages);
            machine.sync_with_devices(at, pages * PAGE_SIZE);
            Ok(at)
        };
        let queue = take(1)?;
        let (devices, collections) = (take(DEVICE_PAGES)?, take(COLLECTION_PAGES)?);
        let mut its = Self {
            base: window.start,
            typer: 0,
            usable: false,
            devices: DeviceTable { table: None, used: 0 },
            collections: None,
            kinds: [0; TABLES],
            baser: [0; TABLES],
            queue: Queue { ours: queue, given: 0, done: 0, taken: [0; SLOTS], cbaser: 0, writer: 0, reader: 0 },
        };
        its.typer = its.read(machine, gits::TYPER);
        its.usable = its.start(machine, devices, collections).is_some();
        Ok(its)
    }

    /// `None`: the hardware does not do as it is told.
    fn start<M: Machine>(&mut self, machine: &M, devices: Pa, collections: Pa) -> Option<()> {
        let ctlr = self.ctlr(machine);
        self.set_ctlr(machine, ctlr & !gits::ENABLED);
        (0..QUIET_ATTEMPTS).find(|_| self.is_quiet(machine))?;
        self.start_queue(machine)?;
        for index in 0..TABLES as u64 {
            let register = gits::BASER.start + 8 * index;
            self.write(machine, register, 0);
            let kind = self.read(machine, register) & gits::READ_ONLY;
            match gits::table(kind) {
                gits::DEVICES if self.devices.table.is_none() => {
                    let (mut value, page) = self.page_size(machine, register)?;
                    let pages = DEVICE_PAGES * PAGE_SIZE / page;
                    self.write(machine, register, value | gits::INDIRECT);
                    let indirect = self.read(machine, register) & gits::INDIRECT;
                    // The first page would be all there is.
                    let indirect = if pages > 1 { indirect } else { 0 };
                    let shown = if indirect == 0 { pages } else { 1 };
                    value |= indirect | gits::NORMAL_WB | devices.as_u64() | (shown - 1);
                    let table = Table { index, value, at: devices, pages: DEVICE_PAGES };
                    self.devices.table = Some(table);
                    self.set_table(machine, table)?;
                    self.devices.used = shown * page;
                }
                gits::COLLECTIONS if self.collections.is_none() => {
                    let (value, _) = self.page_size(machine, register)?;
                    let value = value | gits::NORMAL_WB | collections.as_u64();
                    let table = Table { index, value, at: collections, pages: COLLECTION_PAGES };
                    self.collections = Some(table);
                    self.set_table(machine, table)?;
                }
                // vPEs, or what nobody knows: there is no such table, for the hardware nor for the host.
                _ => continue,
            }
            self.kinds[index as usize] = kind;
        }
        Some(())
    }

    /// Has hardware begin at the start of our queue.
    fn start_queue<M: Machine>(&mut self, machine: &M) -> Option<()> {
        let value = gits::VALID | gits::NORMAL_WB | self.queue.ours.as_u64();
        self.write(machine, gits::CBASER, 0);
        self.write_shared(machine, gits::CBASER, value);
        self.write(machine, gits::CWRITER, 0);
        (self.queue.given, self.queue.done) = (0, 0);
        let took = |back: u64| (back ^ value) & (gits::VALID | (ADDR_SPACE - PAGE_SIZE)) == 0;
        (took(self.read(machine, gits::CBASER)) && self.read(machine, gits::CREADR) & gits::OFFSET == 0).then_some(())
    }

    /// Writes CBASER or a BASER. Hardware that does not share the memory's caches must not use any: it gets what Corevisor
    /// writes past them.
    fn write_shared<M: Machine>(&self, machine: &M, register: u64, value: u64) {
        self.write(machine, register, value);
        if self.read(machine, register) & gits::SHAREABILITY == 0 {
            self.write(machine, register, value & !gits::NORMAL_WB | gits::NORMAL_NC);
        }
    }

    /// The smallest size that pages of the table of `register` can have: as a value of BASER, and in bytes.
    fn page_size<M: Machine>(&self, machine: &M, register: u64) -> Option<(u64, u64)> {
        (0..=2).map(|size| size << gits::PAGE_SIZE_SHIFT).find_map(|value| {
            self.write(machine, register, value);
            let back = self.read(machine, register) & 0b11 << gits::PAGE_SIZE_SHIFT;
            (back == value).then(|| (value, gits::page_size(value)))
        })
    }

    /// Gives hardware a table with nothing in it. It is off and quiet.
    fn set_table<M: Machine>(&self, machine: &M, table: Table) -> Option<()> {
        let register = gits::BASER.start + 8 * table.index;
        self.write(machine, register, table.value & !gits::VALID);
        machine.zero_tables(table.at, table.pages);
        machine.sync_with_devices(table.at, table.pages * PAGE_SIZE);
        self.write_shared(machine, register, table.value | gits::VALID);
        // Cacheability may be what hardware says.
        let told = gits::VALID | gits::INDIRECT | (ADDR_SPACE - PAGE_SIZE) | 0x3FF;
        let back = self.read(machine, register);
        ((back ^ (table.value | gits::VALID)) & told & !gits::SHAREABILITY == 0).then_some(())
    }

    /// Whether the host can use it. For one that it can't all registers are zero: it never becomes quiet.
    pub fn is_usable(&self) -> bool {
        self.usable
    }

    fn at(&self, register: u64) -> Pa {
        Pa::low_48(self.base + register)
    }

    pub(super) fn read<M: Machine>(&self, machine: &M, register: u64) -> u64 {
        machine.mmio_read(self.at(register), Width::Double)
    }

    pub(super) fn write<M: Machine>(&self, machine: &M, register: u64, value: u64) {
        machine.mmio_write(self.at(register), Width::Double, value);
    }

    fn ctlr<M: Machine>(&self, machine: &M) -> u64 {
        machine.mmio_read(self.at(gits::CTLR), Width::Word)
    }

    fn set_ctlr<M: Machine>(&self, machine: &M, value: u64) {
        machine.mmio_write(self.at(gits::CTLR), Width::Word, value);
    }

    /// Whether it is off, and has nothing to do any more.
    fn is_quiet<M: Machine>(&self, machine: &M) -> bool {
        self.ctlr(machine) & (gits::ENABLED | gits::QUIESCENT) == gits::QUIESCENT
    }

    /// Whether it takes commands.
    pub(super) fn is_enabled<M: Machine>(&self, machine: &M) -> bool {
        self.usable && self.ctlr(machine) & gits::ENABLED != 0
    }

    /// What the host reads in the BASER at offset `register`. There are tables of tables in ours only.
    pub(super) fn baser(&self, register: u64) -> u64 {
        let index = ((register - gits::BASER.start) / 8) as usize;
        self.kinds[index] | self.baser[index]
    }

    /// Makes sure that hardware can keep what a command says of device `id`.
    ///
    /// # Errors
    /// If there is no such device, or no memory left for the part of the table where it would be.
    pub(super) fn reach_device<M: Machine>(&mut self, machine: &M, id: u32) -> Result<(), Refused> {
        if u64::from(id) >> gits::device_bits(self.typer) != 0 {
            return Err(Refused::OutOfReach);
        }
        let Some(table) = self.devices.table else { return Ok(()) };
        let (page, entry) = (gits::page_size(table.value), gits::entry_size(self.kinds[table.index as usize]));
        let (id, all) = (u64::from(id), table.pages * PAGE_SIZE);
        if table.value & gits::INDIRECT == 0 {
            return if (id + 1) * entry <= all { Ok(()) } else { Err(Refused::OutOfReach) };
        }
        let offset = id / (page / entry) * 8;
        if offset >= page {
            return Err(Refused::OutOfReach);
        }
        let slot = Pa::low_48(table.at.as_u64() + offset);
        if machine.pt_load(slot) & gits::VALID == 0 {
            if self.devices.used + page > all {
                return Err(Refused::OutOfReach);
            }
            // Nothing was ever written there since the table was made.
            machine.pt_store(slot, (table.at.as_u64() + self.devices.used) | gits::VALID);
            machine.sync_with_devices(slot, 8);
            self.devices.used += page;
        }
        Ok(())
    }
}

impl<M: Machine> Corevisor<M> {
    /// The host's write of `data` to a register of ITS `n`. Locks S2PAGE.
    pub(super) fn write_its(
        &self,
        gic: &mut Gic,
        n: usize,
        access: &Access,
        data: u64,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        let machine = self.machine();
        let its = &mut gic.its[n];
        if !its.usable {
            return Ok(());
        }
        match (access.register(), access.width) {
            (gits::CTLR, Width::Word) if access.offset == gits::CTLR => {
                its.set_ctlr(machine, data);
                self.pass_commands(gic, n, held);
            }
            (gits::STATUSR, Width::Word) if access.offset == gits::STATUSR => {
                machine.mmio_write(access.at(), access.width, data);
            }
            (gits::CBASER, _) => {
                let value = access.merge(its.queue.cbaser, data);
                self.set_cbaser(gic, n, value, access, held)?;
            }
            (gits::CWRITER, _) => {
                let value = access.merge(its.queue.writer, data);
                let writer = value & gits::OFFSET;
                if its.queue.hosts().is_some_and(|queue| writer >= queue.size()) {
                    return Err(access.refused());
                }
                its.queue.writer = writer;
                if value & gits::RETRY != 0 {
                    its.retry(machine);
                }
                self.pass_commands(gic, n, held);
            }
            (register, _) if gits::BASER.contains(&register) => {
                let index = ((register - gits::BASER.start) / 8) as usize;
                let value = access.merge(its.baser[index], data);
                self.set_baser(gic, n, index, value, access, held)?;
            }
            _ => return Err(access.refused()),
        }
        Ok(())
    }

    /// The host names its command queue. What hardware has not done yet of an earlier one it will never do: it starts with
    /// empty tables then.
    fn set_cbaser(
        &self,
        gic: &mut Gic,
        n: usize,
        value: u64,
        access: &Access,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        let machine = self.machine();
        let Gic { its, holds } = gic;
        let its = &mut its[n];
        if !its.is_quiet(machine) {
            return Err(access.refused());
        }
        let before = core::mem::replace(&mut its.queue.cbaser, value);
        let queue = its.queue.hosts();
        let valid = value & gits::VALID != 0;
        let named = if valid && queue.is_none() { Err(access.refused()) } else { Ok(queue) };
        if let Err(why) = named.and_then(|queue| self.replace(holds, Use::Queue(n as u8), queue, held)) {
            its.queue.cbaser = before;
            return Err(why);
        }
        its.poll(machine);
        if its.queue.done != its.queue.given {
            self.forget_devices(its, holds, n, held);
        }
        its.usable = its.start_queue(machine).is_some();
        self.release(holds, held, |of| matches!(of, Use::EndedItt(its, _) if usize::from(its) == n));
        (its.queue.reader, its.queue.writer) = (0, 0);
        Ok(())
    }

    /// The host names a table. It is an empty one: so is ours.
    fn set_baser(
        &self,
        gic: &mut Gic,
        n: usize,
        index: usize,
        value: u64,
        access: &Access,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        const SIZE: u64 = 0xFF;
        let machine = self.machine();
        let Gic { its, holds } = gic;
        let its = &mut its[n];
        if its.kinds[index] == 0 {
            return Ok(()); // There is no such table.
        }
        if !its.is_quiet(machine) {
            return Err(access.refused());
        }
        let value = value & !(gits::READ_ONLY | gits::INDIRECT);
        let page = gits::page_size(value);
        let mut table = None;
        if value & gits::VALID != 0 {
            // With pages of 64 KiB, the lowest bits are the highest ones of the address.
            let beyond = page == 0x1_0000 && value & 0xF000 != 0;
            let start = value & (ADDR_SPACE - page);
            let memory = Range::new(start, ((value & SIZE) + 1) * page).filter(|_| !beyond);
            table = Some(memory.ok_or(access.refused())?);
        }
        self.replace(holds, Use::Table(n as u8, index as u8), table, held)?;
        let before = core::mem::replace(&mut its.baser[index], value);
        // The same table again keeps what is in it: that is how the host goes on after a sleep.
        if (before ^ value) & !(gits::NORMAL_WB | 0b111 << 53 | gits::SHAREABILITY) == 0 {
            return Ok(());
        }
        match its.collections {
            Some(collections) if collections.index == index as u64 => {
                its.usable = its.set_table(machine, collections).is_some();
            }
            _ => self.forget_devices(its, holds, n, held),
        }
        Ok(())
    }

    /// No device has an ITT any more. The ITS is off and quiet.
    fn forget_devices(&self, its: &mut Its, holds: &mut Holds, n: usize, held: &mut Held<'_, { rank::GIC }>) {
        if let Some(table) = its.devices.table {
            its.usable = its.set_table(self.machine(), table).is_some();
            let shown = (table.value & 0xFF) + 1;
            its.devices.used = shown * gits::page_size(table.value);
        }
        self.release(holds, held, |of| matches!(of, Use::Itt(its, _) | Use::EndedItt(its, _) if usize::from(its) == n));
    }

    /// What was in use for `of` is so no more, but `memory` is. A refusal leaves it as it was.
    pub(super) fn replace(
        &self,
        holds: &mut Holds,
        of: Use,
        memory: Option<Range>,
        held: &mut Held<'_, { rank::GIC }>,
    ) -> Result<(), Refused> {
        const OLD: Use = Use::Queue(u8::MAX);
        holds.rename(of, OLD);
        let done = memory.map_or(Ok(()), |memory| self.hold(holds, memory, of, held));
        match done {
            Ok(()) => self.release(holds, held, |of| of == OLD),
            Err(_) => holds.rename(OLD, of),
        }
        done
    }
}
