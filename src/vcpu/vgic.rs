// SPDX-License-Identifier: GPL-2.0-only
//! The virtual interrupt interface of a vCPU: which list registers the host may ask for (Arm IHI 0069H, 12.4.9), and
//! what of the interface is the vCPU's own.
//!
//! The host decides which interrupts a VM gets, and when. What is checked here is that no list register says what
//! hardware's behaviour is unpredictable for.

#[cfg(test)]
mod tests;
pub mod v2;

use crate::refused::Refused;
use arrayvec::ArrayVec;
use bitflags::bitflags;

/// List registers in the run page. Hardware has no more.
pub const LIST_REGISTERS: usize = 16;

/// The virtual interrupt interface that the hardware has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its list registers, at most [`LIST_REGISTERS`]; 0 if there is no interface.
    pub list_registers: usize,
    /// The interrupts that a list register can hold.
    pub ids: Ids,
}

impl Interface {
    /// There is none.
    pub const NONE: Self = Self { list_registers: 0, ids: Ids::V2 };
}

/// Which virtual interrupts there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ids {
    /// GICv2: SGIs, with their source CPU in bits 12:10, PPIs and SPIs.
    V2,
    /// GICv3: SGIs, PPIs, SPIs, and LPIs.
    V3 {
        /// The first number that has more bits than the interface.
        end: u64,
    },
}

bitflags! {
    /// ICH_HCR_EL2 and GICH_HCR: what the host may ask for. Each is a condition of the maintenance interrupt.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Control: u64 {
        /// At most one list register holds an interrupt.
        const UIE = 1 << 1;
        /// The VM ended an interrupt that no list register holds.
        const LRENPIE = 1 << 2;
        /// No interrupt is pending.
        const NPIE = 1 << 3;
        /// The VM has enabled group 0.
        const VGRP0EIE = 1 << 4;
        /// It has disabled it.
        const VGRP0DIE = 1 << 5;
        /// It has enabled group 1.
        const VGRP1EIE = 1 << 6;
        /// It has disabled it.
        const VGRP1DIE = 1 << 7;
    }
}

/// ICH_HCR_EL2.En, GICH_HCR.En: the interface is on. Corevisor's to set.
pub const ENABLE: u64 = 1 << 0;
/// EOIcount in ICH_HCR_EL2 and GICH_HCR: how many interrupts the VM ended that no list register holds.
pub const EOI_COUNT: u64 = 0x1F << 27;

/// A list register as GICv3 has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ListRegister(u64);

impl ListRegister {
    const PENDING: u64 = 1 << 62;
    const ACTIVE: u64 = 1 << 63;
    const STATE: u64 = Self::PENDING | Self::ACTIVE;
    /// The interrupt is a physical one, too, which the VM's deactivation ends.
    const HW: u64 = 1 << 61;
    /// Not: its end is to cause a maintenance interrupt.
    const EOI: u64 = 1 << 41;
    /// pINTID, or where that is not one, EOI.
    const PHYSICAL: u64 = 0x1FFF << 32;
    /// RES0, and NMI: virtual interrupts that can't be masked are not for VMs.
    const RESERVED: u64 = 0b1111 << 56 | 0b111 << 45;

    const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Whether it holds no interrupt.
    const fn is_free(self) -> bool {
        self.0 & Self::STATE == 0
    }

    const fn virtual_id(self) -> u64 {
        self.0 & 0xFFFF_FFFF
    }

    /// The interrupt's number, without its source.
    const fn interrupt(self, ids: Ids) -> u64 {
        match ids {
            Ids::V2 => self.virtual_id() & 0x3FF,
            Ids::V3 { .. } => self.virtual_id(),
        }
    }

    /// Whether all but the virtual interrupt is as it may be.
    fn is_regular(self) -> bool {
        let physical = (self.0 & Self::PHYSICAL) >> 32;
        let physical_ok = if self.has(Self::HW) {
            is_ppi_or_spi(physical) && !self.has(Self::STATE)
        } else {
            self.0 & Self::PHYSICAL & !Self::EOI == 0
        };
        self.0 & Self::RESERVED == 0 && physical_ok
    }

    /// Whether there can be such a virtual interrupt, in this state.
    fn is_possible(self, ids: Ids) -> bool {
        let id = self.virtual_id();
        match ids {
            _ if is_ppi_or_spi(id) => true,
            _ if is_sgi(id) => !self.has(Self::HW),
            Ids::V2 => id < 1 << 13 && is_sgi(self.interrupt(ids)) && !self.has(Self::HW),
            Ids::V3 { end } => (FIRST_LPI..end).contains(&id) && !self.has(Self::ACTIVE) && !self.has(Self::HW),
        }
    }
}

/// Number of the first LPI.
const FIRST_LPI: u64 = 8192;

const fn is_sgi(id: u64) -> bool {
    id < 16
}

/// Not those of the extended ranges of GICv3.1, which Corevisor does not offer.
const fn is_ppi_or_spi(id: u64) -> bool {
    16 <= id && id < 1020
}

/// What a vCPU has of the interface besides the list registers: its own, which the host neither sees nor sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Vgic {
    /// ICH_VMCR_EL2 or GICH_VMCR: priority mask, binary points, groups enabled.
    pub vmcr: u64,
    /// ICH_AP0R<n>_EL2; the first is GICH_APR.
    pub ap0r: [u64; 4],
    /// ICH_AP1R<n>_EL2.
    pub ap1r: [u64; 4],
}

impl Vgic {
    /// After a reset: no group enabled, every priority masked, nothing active.
    pub const RESET: Self = Self { vmcr: 0, ap0r: [0; 4], ap1r: [0; 4] };
}

/// What an entry puts into the interface. Filled where it is: a copy costs as much as all the rest of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VgicEntry {
    /// ICH_HCR, as the run page says.
    control: u64,
    /// List registers, likewise, as many as there are.
    list: ArrayVec<u64, LIST_REGISTERS>,
    /// All but so many of the first are zero.
    used: usize,
}

impl VgicEntry {
    /// Takes the words from `load`, each once: ICH_HCR as word 0, and as many list registers as there are.
    ///
    /// # Errors
    /// [`Refused::Interrupts`] with the number of the first word that hardware can't be given.
    #[inline(always)]
    pub fn fill(&mut self, interface: Interface, load: impl Fn(usize) -> u64) -> Result<(), Refused> {
        let Interface { list_registers, ids } = interface;
        self.list.clear();
        if list_registers == 0 {
            return Ok(());
        }
        self.control = load(0);
        let mut any = self.control;
        // As many as most have, without a loop.
        if list_registers == 4 {
            let four = [load(1), load(2), load(3), load(4)];
            any |= four[0] | four[1] | four[2] | four[3];
            four.into_iter().for_each(|word| self.list.push(word));
        } else {
            for n in 0..list_registers.min(LIST_REGISTERS) {
                let word = load(1 + n);
                self.list.push(word);
                any |= word;
            }
        }
        if any == 0 { Ok(()) } else { self.check(ids) }
    }

    fn check(&mut self, ids: Ids) -> Result<(), Refused> {
        self.used = self.list.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        if self.control & !Control::all().bits() != 0 {
            return Err(Refused::Interrupts(0));
        }
        let list = self.used();
        let wrong = list.iter().enumerate().position(|(n, &word)| {
            let (register, before) = (ListRegister(word), &list[..n]);
            !(register.is_regular()
                && (register.is_free() || register.is_possible(ids) && !holds(before, register.interrupt(ids), ids)))
        });
        wrong.map_or(Ok(()), |n| Err(Refused::Interrupts(1 + n)))
    }

    /// Of ICH_HCR.
    pub fn control(&self) -> Control {
        Control::from_bits_truncate(self.control)
    }

    /// List registers.
    pub fn list(&self) -> &[u64] {
        &self.list
    }

    /// The first of them; all others are zero.
    pub fn used(&self) -> &[u64] {
        &self.list[..self.used]
    }
}

/// Whether one of `list` holds the interrupt with this number.
fn holds(list: &[u64], interrupt: u64, ids: Ids) -> bool {
    let mut held = list.iter().map(|&word| ListRegister(word)).filter(|register| !register.is_free());
    held.any(|register| register.interrupt(ids) == interrupt)
}
