// SPDX-License-Identifier: GPL-2.0-only
//! What VCPU_RUN and the run page say of an exit.

use super::memory::read;
use corevisor::abi::{exit, run_page};

/// Guest addresses below are devices.
pub const DEVICES_END: u64 = 1 << 30;

/// Why a vCPU has stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// An interrupt for the host.
    Irq,
    /// A system error.
    Serror,
    /// An illegal return.
    Illegal,
    /// The VM has broken a rule.
    Stopped,
    /// It waits for an interrupt.
    Wfi,
    /// It waits for an event.
    Wfe,
    /// A call to the host: x0 to x3 as the run page has them.
    Hvc([u64; 4]),
    /// It has written a system register: ISS, and the value.
    Register(u64, u64),
    /// A load or store of one register at a device.
    Device {
        /// Guest address.
        address: u64,
        /// Bytes: 1, 2, 4 or 8.
        size: u64,
        /// What it stores; `None`: it loads.
        store: Option<u64>,
        /// General register, 31 for XZR.
        register: usize,
        /// The load extends the sign.
        signed: bool,
        /// Its register has 64 bits.
        wide: bool,
    },
    /// There is no page at a guest address of memory.
    Fault {
        /// First address of the page.
        page: u64,
        /// The syndrome, as far as the host sees it.
        esr: u64,
    },
    /// An abort that neither a page nor a device can answer.
    Abort {
        /// First address of the page, if the host sees it, else 0.
        page: u64,
        /// The syndrome, as far as the host sees it.
        esr: u64,
    },
    /// Something that this host does not know: x0 and ESR.
    Unknown(u64, u64),
}

/// Number of kinds.
pub const KINDS: usize = 13;
/// Their names, by [`Exit::kind`].
pub const NAMES: [&str; KINDS] = [
    "irq", "serror", "illegal", "stopped", "wfi", "wfe", "hvc", "register", "device", "fault", "abort", "unknown",
    "refused",
];

impl Exit {
    /// A number for the kind.
    pub fn kind(&self) -> usize {
        match self {
            Self::Irq => 0,
            Self::Serror => 1,
            Self::Illegal => 2,
            Self::Stopped => 3,
            Self::Wfi => 4,
            Self::Wfe => 5,
            Self::Hvc(_) => 6,
            Self::Register(..) => 7,
            Self::Device { .. } => 8,
            Self::Fault { .. } => 9,
            Self::Abort { .. } => 10,
            Self::Unknown(..) => 11,
        }
    }

    /// What `code`, x0 of VCPU_RUN, and the run page at `page` mean.
    pub fn decode(code: u64, page: u64) -> Self {
        let word = |offset: u64| read(page + offset);
        let x = |n: u64| word(run_page::X + 8 * n);
        let esr = word(run_page::ESR);
        match code {
            exit::IRQ => return Self::Irq,
            exit::SERROR => return Self::Serror,
            exit::ILLEGAL => return Self::Illegal,
            exit::STOPPED => return Self::Stopped,
            exit::TRAP => {}
            _ => return Self::Unknown(code, esr),
        }
        match esr >> 26 & 0x3F {
            0x01 if esr & 1 == 0 => Self::Wfi,
            0x01 => Self::Wfe,
            0x12 | 0x16 => Self::Hvc([x(0), x(1), x(2), x(3)]),
            0x18 => match esr >> 5 & 0x1F {
                31 => Self::Register(esr & 0x1FF_FFFF, 0),
                register => Self::Register(esr & 0x1FF_FFFF, x(register)),
            },
            0x20 | 0x24 => Self::decode_abort(esr, word(run_page::HPFAR), word(run_page::FAR), x),
            _ => Self::Unknown(code, esr),
        }
    }

    fn decode_abort(esr: u64, hpfar: u64, far: u64, x: impl Fn(u64) -> u64) -> Self {
        const ISV: u64 = 1 << 24;
        const WNR: u64 = 1 << 6;
        let page = (hpfar >> 4 & 0xFF_FFFF_FFFF) << 12;
        let is_translation = esr >> 2 & 0xF == 1;
        if esr >> 26 & 0x3F == 0x24 && esr & ISV != 0 && page < DEVICES_END {
            let size = 1 << (esr >> 22 & 3);
            let register = esr >> 16 & 0x1F;
            let value = if register == 31 { 0 } else { x(register) };
            let value = if size == 8 { value } else { value & ((1 << (8 * size)) - 1) };
            return Self::Device {
                address: page | far & 0xFFF,
                size,
                store: (esr & WNR != 0).then_some(value),
                register: register as usize,
                signed: esr >> 21 & 1 != 0,
                wide: esr >> 15 & 1 != 0,
            };
        }
        if page >= DEVICES_END && is_translation { Self::Fault { page, esr } } else { Self::Abort { page, esr } }
    }
}
