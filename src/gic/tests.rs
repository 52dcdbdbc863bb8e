// SPDX-License-Identifier: GPL-2.0-only
//! What a host may have interrupt controllers do to memory.

mod commands;
mod redistributors;
mod registers;
mod start;

use super::registers::{COMMAND, command, gicr, gits};
use super::{Config, Redistributors};
use crate::abi::stat;
use crate::addr::{HOSTVISOR, PAGE_SIZE, Range};
use crate::lock::Held;
use crate::machine::Machine;
use crate::machine::sim::{self, SimMachine};
use crate::memory::{Count, MAX_DMA_MAPS};
use crate::refused::Refused;
use crate::trap::{HostAbort, Registers, Syndrome, Verdict};
use crate::world::{self, Core, GIB, MIB, World, pa, pfn, range, record, set_record, stat, take};
use std::vec::Vec;

/// The ITS.
const ITS: u64 = 0x0808_0000;
/// The redistributors, with frames for VLPIs.
const GICR: u64 = 0x080A_0000;
const STRIDE: u64 = 0x4_0000;
/// Memory of the host's.
const TABLE: u64 = GIB + 4 * MIB;
/// A page that a VM gets.
const VMS: u64 = GIB + 32 * MIB;
/// BASER of devices, and of collections.
const DEVICES: u64 = 0x100;
const COLLECTIONS: u64 = 0x110;
/// The command queue of these tests: one page.
const QUEUE: u64 = GIB + 16 * MIB;

const DATA_ABORT: u64 = 0x24 << 26 | Syndrome::IL | 0b00_0111;
/// log2 of 4 and 8 bytes, in ISS.SAS.
const WORD: u64 = 2 << 22;
const DOUBLE: u64 = 3 << 22;
/// The register that accesses are by, in these tests.
const RT: usize = 5;

fn world() -> World {
    let gic = Config {
        its: [range(ITS, 0x1_0000)].into_iter().collect(),
        redistributors: [Redistributors { first: GICR, stride: STRIDE, count: 4 }].into_iter().collect(),
    };
    World { gic, ..World::default() }
}

fn access(core: &Core, at: u64, iss: u64, value: u64) -> (Verdict, u64) {
    let esr = DATA_ABORT | Syndrome::ISV | (RT as u64) << 16 | iss;
    let abort =
        HostAbort { syndrome: Syndrome(esr), far: 0xFFFF_0000_0000_0000 | (at & 0xFFF), hpfar: at >> 12 << 4, pc: 0 };
    let mut regs: Registers = core::array::from_fn(|i| 0x1234_0000_0000_0000 + i as u64);
    regs[RT] = value;
    let before = regs;
    let verdict = core.handle_host_stage2_fault(&abort, &mut regs, &mut Held::nothing());
    core.machine().check();
    let after = core::mem::replace(&mut regs[RT], value);
    assert_eq!(regs, before, "another register has changed");
    (verdict, after)
}

/// The host writes; whether it may.
fn write_sized(core: &Core, at: u64, size: u64, value: u64) -> bool {
    let (verdict, after) = access(core, at, Syndrome::WNR | size, value);
    assert_eq!(after, value);
    assert_ne!(verdict, Verdict::Retry, "{at:#x} was mapped");
    verdict == Verdict::Skip
}

fn write(core: &Core, at: u64, value: u64) -> bool {
    write_sized(core, at, DOUBLE, value)
}

/// The host reads.
fn read_sized(core: &Core, at: u64, size: u64) -> u64 {
    let (verdict, value) = access(core, at, size, 0xDEAD);
    assert_eq!(verdict, Verdict::Skip, "{at:#x}");
    value
}

fn read(core: &Core, at: u64) -> u64 {
    read_sized(core, at, DOUBLE)
}

/// The write is refused, with nothing changed.
#[track_caller]
fn assert_refused(core: &Core, at: u64, size: u64, value: u64) {
    let registers = |core: &Core| {
        let pages = [ITS, GICR, GICR + STRIDE].into_iter().flat_map(|page| (page..page + PAGE_SIZE).step_by(8));
        pages.map(|at| core.machine().gic_register(at)).collect::<Vec<_>>()
    };
    let hosts = |core: &Core| {
        gits::BASER.step_by(8).chain([gits::CBASER, gits::CWRITER]).map(|r| read(core, ITS + r)).collect::<Vec<_>>()
    };
    let before = (world::snapshot(core), registers(core), hosts(core), stat(core, stat::REFUSED_ACCESS));
    assert!(!write_sized(core, at, size, value), "{at:#x} := {value:#x}");
    let after = (world::snapshot(core), registers(core), hosts(core), stat(core, stat::REFUSED_ACCESS) - 1);
    assert_eq!(after, before);
}

fn count(core: &Core, address: u64) -> Count {
    record(core, address).count()
}

/// How often each page of `pages` is in use.
fn counts(core: &Core, pages: Range) -> Vec<Count> {
    (pages.start..pages.end).step_by(PAGE_SIZE as usize).map(|at| count(core, at)).collect()
}

#[track_caller]
fn assert_counts(core: &Core, start: u64, pages: usize, n: u8) {
    assert_eq!(counts(core, range(start, pages as u64 * PAGE_SIZE)), std::vec![Count::Shares(n); pages]);
}

fn ctlr(core: &Core, value: u64) {
    assert!(write_sized(core, ITS, WORD, value), "GITS_CTLR");
}

/// A queue, a device table, and the ITS on.
fn running() -> Core {
    let core = world().boot();
    assert!(write(&core, ITS + gits::CBASER, gits::VALID | QUEUE));
    assert!(write(&core, ITS + DEVICES, gits::VALID | TABLE | 1));
    assert!(write(&core, ITS + COLLECTIONS, gits::VALID | (TABLE + MIB)));
    ctlr(&core, gits::ENABLED);
    core
}

/// A VM owns the page at [`VMS`].
fn with_a_vms_page(core: &Core) {
    take(core, VMS).unwrap();
}

/// The commands in the host's queue, from its offset `at` on.
fn put(core: &Core, at: u64, commands: &[[u64; 4]]) {
    for (i, words) in commands.iter().enumerate() {
        let offset = (at + i as u64 * COMMAND) % PAGE_SIZE;
        core.machine().shared_store_words(pa(QUEUE + offset), words);
    }
}

/// The host gives `commands`. Whether hardware has done them all, it sees in CREADR.
fn give(core: &Core, commands: &[[u64; 4]]) {
    let at = read(core, ITS + gits::CWRITER);
    put(core, at, commands);
    let end = (at + commands.len() as u64 * COMMAND) % PAGE_SIZE;
    assert!(write(core, ITS + gits::CWRITER, end));
}

fn is_done(core: &Core) -> bool {
    read(core, ITS + gits::CREADR) == read(core, ITS + gits::CWRITER)
}

/// MAPD of `device`, with an ITT of 32 events.
fn mapd(device: u64, itt: u64) -> [u64; 4] {
    [command::MAPD | device << 32, 4, itt | command::VALID, 0]
}

fn unmapd(device: u64) -> [u64; 4] {
    [command::MAPD | device << 32, 0, 0, 0]
}

fn mapti(device: u64, event: u64) -> [u64; 4] {
    [command::MAPTI | device << 32, event | (8192 + event) << 32, 0, 0]
}
