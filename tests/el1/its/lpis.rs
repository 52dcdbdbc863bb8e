// SPDX-License-Identifier: GPL-2.0-only
//! Interrupts by way of the ITS, and its commands.

use super::hardware::{
    CONFIG, DEVICES, PENDING, SPARE, VALID, assert_free, assert_refused, collections, gicd, gicr, gits, its, itts,
    memory_of_others, queue, read, read32, take, with_a_vms_page, write, write32,
};
use crate::rt::PAGE;
use crate::rt::call::stat;
use crate::rt::cpu::wait_until;
use crate::rt::machine::{read as sysreg, write as set_sysreg};
use corevisor::abi::{BUSY, stat as id};

const MAPD: u64 = 0x08;
const MAPC: u64 = 0x09;
const MAPTI: u64 = 0x0A;
const INT: u64 = 0x03;
const SYNC: u64 = 0x05;
const INVALL: u64 = 0x0D;
/// IDbits: LPIs up to 16383.
const ID_BITS: u64 = 13;
const FIRST_LPI: u64 = 8192;
const SPURIOUS: u64 = 1023;
const DEVICE: u64 = 0x18;
const EVENT: u64 = 3;

/// Distributor, CPU interface, tables, and both on.
fn set_up() {
    write32(gicd(), 0x13);
    write32(gicr() + gicr::WAKER, 0);
    set_sysreg!("icc_sre_el1", 7);
    set_sysreg!("icc_pmr_el1", 0xFF);
    set_sysreg!("icc_igrpen1_el1", 1);
    // Every LPI is enabled.
    for at in (CONFIG.at()..CONFIG.at() + 0x2000).step_by(8) {
        write(at, 0xA1A1_A1A1_A1A1_A1A1);
    }
    if read32(gicr() + gicr::CTLR) & 1 == 0 {
        write(gicr() + gicr::PROPBASER, CONFIG.at() | ID_BITS);
        write(gicr() + gicr::PENDBASER, PENDING.at());
        write32(gicr() + gicr::CTLR, 1);
    }
    if read32(its() + gits::CTLR) & 1 == 0 {
        write(its() + gits::CBASER, VALID | queue());
        for n in 0..8 {
            let register = its() + gits::BASER + 8 * n;
            match (read(register) >> 56) & 7 {
                1 => write(register, VALID | DEVICES.at() | 15),
                4 => write(register, VALID | collections()),
                _ => {}
            }
        }
        write(its() + gits::CWRITER, 0);
        write32(its() + gits::CTLR, 1);
        give_commands(&[[MAPC, 0, VALID | target(), 0], [SYNC, 0, target(), 0], [INVALL, 0, 0, 0]]);
    }
}

/// This CPU's redistributor, as commands name it.
fn target() -> u64 {
    const PTA: u64 = 1 << 19;
    if read(its() + gits::TYPER) & PTA != 0 { gicr() } else { (read(gicr() + gicr::TYPER) >> 8 & 0xFFFF) << 16 }
}

/// Writes commands to the queue and waits until they look done.
fn give_commands(commands: &[[u64; 4]]) {
    let mut at = read(its() + gits::CWRITER);
    for words in commands {
        for (i, &word) in words.iter().enumerate() {
            write(queue() + at + 8 * i as u64, word);
        }
        at = (at + 32) % PAGE;
    }
    write(its() + gits::CWRITER, at);
    wait_until("commands of the ITS", 10, || read(its() + gits::CREADR) == at);
}

/// A device with an ITT at `itt`, and its one event, [`EVENT`].
fn map(device: u64, itt: u64, lpi: u64) {
    give_commands(&[
        [MAPD | device << 32, 4, VALID | itt, 0],
        [MAPTI | device << 32, EVENT | lpi << 32, 0, 0],
        [SYNC, 0, target(), 0],
    ]);
}

fn unmap(device: u64) {
    give_commands(&[[MAPD | device << 32, 0, 0, 0]]);
}

/// The interrupt that is pending, taken and ended; [`SPURIOUS`] if there is none.
fn interrupt() -> u64 {
    let number = sysreg!("icc_iar1_el1") & 0xFF_FFFF;
    if number != SPURIOUS {
        set_sysreg!("icc_eoir1_el1", number);
    }
    number
}

fn assert_arrives(lpi: u64) {
    let mut number = SPURIOUS;
    wait_until("an LPI", 10, || {
        number = interrupt();
        number != SPURIOUS
    });
    assert_eq!(number, lpi);
    assert_eq!(interrupt(), SPURIOUS);
}

pub fn an_lpi_arrives() {
    set_up();
    assert_eq!(interrupt(), SPURIOUS);
    map(DEVICE, itts(), FIRST_LPI + 5);
    for _ in 0..200 {
        // The queue goes round.
        give_commands(&[[INT | DEVICE << 32, EVENT, 0, 0]]);
        assert_arrives(FIRST_LPI + 5);
    }
    unmap(DEVICE);
    give_commands(&[[INT | DEVICE << 32, EVENT, 0, 0]]);
    assert_eq!(interrupt(), SPURIOUS);
}

/// What a device does: it writes the number of its event. A CPU that does so is device 0.
pub fn an_lpi_arrives_by_a_message() {
    set_up();
    map(0, itts(), FIRST_LPI + 6);
    write32(its() + gits::TRANSLATER, EVENT);
    assert_arrives(FIRST_LPI + 6);
    unmap(0);
}

/// ATTACKS 55.
pub fn itts_in_memory_of_others() {
    set_up();
    map(DEVICE, itts(), FIRST_LPI + 7);
    with_a_vms_page(|vms| {
        for address in memory_of_others(vms) {
            let before = stat(id::REFUSED_ACCESS);
            give_commands(&[[MAPD | (DEVICE + 1) << 32, 4, VALID | address, 0]]);
            assert_eq!(stat(id::REFUSED_ACCESS), before + 1, "{address:#x}");
            give_commands(&[
                [MAPTI | (DEVICE + 1) << 32, EVENT | (FIRST_LPI + 8) << 32, 0, 0],
                [INT | (DEVICE + 1) << 32, EVENT, 0, 0],
            ]);
            assert_eq!(interrupt(), SPURIOUS, "{address:#x}");
        }
        // One that has an ITT keeps it.
        give_commands(&[[MAPD | DEVICE << 32, 4, VALID | vms, 0], [INT | DEVICE << 32, EVENT, 0, 0]]);
        assert_arrives(FIRST_LPI + 7);
    });
    unmap(DEVICE);
}

pub fn what_is_in_use_stays_the_hosts() {
    set_up();
    map(DEVICE, itts(), FIRST_LPI + 9);
    for page in [CONFIG.at(), CONFIG.at() + 3 * PAGE, PENDING.at(), DEVICES.at(), collections(), queue(), itts()] {
        assert_eq!(take(page), BUSY, "{page:#x}");
    }
    for register in [gits::BASER, gits::CBASER] {
        assert_refused(its() + register, 0);
    }
    assert_refused(gicr() + gicr::PENDBASER, SPARE.at());
    unmap(DEVICE);
    assert_free(itts());
    // The host writes its device table: the ITS has another one.
    for at in (DEVICES.at()..DEVICES.at() + 0x1_0000).step_by(8) {
        write(at, VALID | u64::MAX >> 20);
    }
    map(DEVICE, itts(), FIRST_LPI + 9);
    give_commands(&[[INT | DEVICE << 32, EVENT, 0, 0]]);
    assert_arrives(FIRST_LPI + 9);
}

pub fn commands_for_virtual_interrupts() {
    set_up();
    for number in [0x21, 0x22, 0x23, 0x25, 0x29, 0x2A, 0x2B, 0x2D, 0x2E] {
        let before = stat(id::REFUSED_ACCESS);
        give_commands(&[[number, 0, VALID, SPARE.at()]]);
        assert_eq!(stat(id::REFUSED_ACCESS), before + 1, "{number:#x}");
    }
}

/// As the next kernel starts: all off, and named anew.
pub fn all_is_free_again() {
    set_up();
    map(DEVICE, itts(), FIRST_LPI + 10);
    write32(its() + gits::CTLR, 0);
    wait_until("the ITS to be quiet", 10, || read32(its() + gits::CTLR) & gits::QUIESCENT != 0);
    for n in 0..8 {
        write(its() + gits::BASER + 8 * n, 0);
    }
    write(its() + gits::CBASER, 0);
    write32(gicr() + gicr::CTLR, 0);
    for page in [CONFIG.at(), PENDING.at(), DEVICES.at(), collections(), queue(), itts()] {
        assert_free(page);
    }
    an_lpi_arrives();
}
