// SPDX-License-Identifier: GPL-2.0-only
//! How an SMMUv2 comes under control at boot, whatever state it is in: every stream faults, no bank translates, nothing is
//! cached. Then its identification registers say whether Corevisor can drive it (Arm IHI 0062D.c, chapters 9 to 11).

use super::banks::{BANKS_PER_SMMU, Layout, SmmuConfig};
use super::hardware::Smmu;
use super::registers::{
    IDR0_S2TS, IDR1_NUMCB, IDR1_NUMPAGENDXB_SHIFT, IDR1_PAGESIZE, IDR2_IAS, IDR2_IAS_40, IDR2_PTFSV8_4KB, S2CR_FAULT,
    S2CR_TYPE_SHIFT, Scr0, cb, gr0,
};
use crate::addr::Range;
use crate::machine::{Machine, Width};
use core::fmt;

/// Why an SMMUv2 can't be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It has no stage 2.
    NoStage2,
    /// It can't read tables of AArch64's format with a granule of 4 KiB.
    NoTables,
    /// It translates addresses of less than 40 bits.
    ShortAddresses,
    /// Its registers take so many bytes, more than the device tree gives them.
    Window(u64),
    /// It has no context bank, or more than it has registers for.
    Banks(u64),
    /// Streams are not matched, and there are more than registers for them.
    Streams,
    /// Its streams don't fault when told to.
    Open,
    /// It does not come to an end with an invalidation.
    Stuck,
    /// There are as many as are supported without it.
    OneTooMany,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStage2 => f.write_str("it has no stage 2"),
            Self::NoTables => f.write_str("it can't use tables of AArch64 with 4 KiB pages"),
            Self::ShortAddresses => f.write_str("it translates addresses of less than 40 bits"),
            Self::Window(bytes) => write!(f, "its registers take {bytes:#x} bytes, more than the device tree says"),
            Self::Banks(banks) => write!(f, "{banks} context banks can't be"),
            Self::Streams => f.write_str("it has more streams than entries for them"),
            Self::Open => f.write_str("its streams don't fault when told to"),
            Self::Stuck => f.write_str("it does not answer: an invalidation does not end"),
            Self::OneTooMany => write!(f, "at most {} are supported", super::MAX_SMMUS),
        }
    }
}

/// Cuts off all that lies behind the SMMU with registers in `window`, and finds out what it is. For boot, once.
///
/// # Errors
/// Why it can't be driven. Then, too, what could be closed is closed.
pub fn take_over<M: Machine>(machine: &M, window: Range) -> Result<SmmuConfig, Unusable> {
    // All registers of the first page are where they are, whatever the size of a page.
    let first_page = SmmuConfig::new(window, 0);
    if window.size() < super::registers::BANKS {
        return Err(Unusable::Window(super::registers::WINDOW));
    }
    let smmu = Smmu::new(machine, &first_page);
    let closed = close(&smmu);
    let config = identify(&smmu, window)?;
    closed?;
    let smmu = Smmu::new(machine, &config);
    for bank in 0..smmu.read(gr0::IDR1) & IDR1_NUMCB {
        let bank = config.layout.bank(bank);
        smmu.machine.mmio_write(config.at(bank + cb::SCTLR), Width::Word, 0);
        smmu.machine.mmio_write(config.at(bank + cb::TTBR0), Width::Double, 0);
    }
    smmu.write(gr0::TLBIALLNSNH, 0);
    smmu.write(gr0::TLBIALLH, 0);
    smmu.sync().map_err(|_| Unusable::Stuck)?;
    Ok(config)
}

/// Every stream faults: those that an entry matches, and those that match none or several.
fn close<M: Machine>(smmu: &Smmu<'_, M>) -> Result<(), Unusable> {
    const FAULT: u64 = S2CR_FAULT << S2CR_TYPE_SHIFT;
    let entries = smmu.stream_entries();
    for entry in 0..entries {
        smmu.write(gr0::S2CR.start + 4 * entry, FAULT);
        if smmu.matches_streams() {
            smmu.write(gr0::SMR.start + 4 * entry, 0);
        }
    }
    smmu.write(gr0::SCR2, 0);
    let scr0 = (Scr0::USFCFG | Scr0::SMCFCFG).bits();
    smmu.write(gr0::SCR0, scr0);
    let faults = |entry| smmu.read(gr0::S2CR.start + 4 * entry) >> S2CR_TYPE_SHIFT & 3 == S2CR_FAULT;
    let closed = (0..entries).all(faults) && smmu.read(gr0::SCR0) & (scr0 | Scr0::CLIENTPD.bits()) == scr0;
    if closed { Ok(()) } else { Err(Unusable::Open) }
}

/// What the identification registers say.
fn identify<M: Machine>(smmu: &Smmu<'_, M>, window: Range) -> Result<SmmuConfig, Unusable> {
    let [idr0, idr1, idr2] = [gr0::IDR0, gr0::IDR1, gr0::IDR2].map(|register| smmu.read(register));
    if idr0 & IDR0_S2TS == 0 {
        return Err(Unusable::NoStage2);
    }
    if idr2 & IDR2_PTFSV8_4KB == 0 {
        return Err(Unusable::NoTables);
    }
    if idr2 & IDR2_IAS < IDR2_IAS_40 {
        return Err(Unusable::ShortAddresses);
    }
    if !smmu.matches_streams() && 1 << smmu.stream_id_bits() > smmu.stream_entries() {
        return Err(Unusable::Streams);
    }
    let layout = Layout {
        page_shift: if idr1 & IDR1_PAGESIZE != 0 { 16 } else { 12 },
        pages: 2 << (idr1 >> IDR1_NUMPAGENDXB_SHIFT & 7),
    };
    if window.size() < layout.size() {
        return Err(Unusable::Window(layout.size()));
    }
    let banks = idr1 & IDR1_NUMCB;
    if banks == 0 || banks > layout.pages {
        return Err(Unusable::Banks(banks));
    }
    Ok(SmmuConfig { window, context_banks: banks.min(BANKS_PER_SMMU as u64) as u8, layout })
}
