// SPDX-License-Identifier: GPL-2.0-only
//! The calls of VMs by the SMC Calling Convention 1.2 (Arm DEN0028), HVC #0: those that a Linux guest of pKVM makes, random
//! numbers (Arm DEN0098), PSCI (`vm_psci`). What is Corevisor's to answer never reaches the host, whether it exists or not:
//! the host can't play Corevisor.

use super::smccc::{
    ARCH_WORKAROUND_1, ARCH_WORKAROUND_2, ARCH_WORKAROUND_3, SMCCC_1_2, SMCCC_ARCH_FEATURES, SMCCC_VERSION, SVE_HINT,
    is_psci,
};
use crate::abi::{self, vm_call};
use crate::addr::{Ipa, PAGE_SIZE, PUD_SIZE, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vcpu::{Next, ShadowContext};

/// Guest addresses below are devices that the host emulates; from here on, memory (specification: `MAX_MMIO_ADDR`).
pub const MAX_MMIO_ADDR: u64 = PUD_SIZE;

/// Bit 31 of a function id: a fast call. The host gets the others.
const FAST_CALL: u32 = 1 << 31;
/// Bits 29:24: whose service it is.
const OWNER: u32 = 0x3F << 24;
/// The owners whose calls are Corevisor's to answer: Arm architecture, standard secure (PSCI, TRNG), vendor-specific
/// hypervisor.
const OUR_SERVICES: [u32; 3] = [0 << 24, 4 << 24, 6 << 24];

/// TRNG (DEN0098).
mod trng {
    pub const VERSION: u32 = 0x8400_0050;
    pub const FEATURES: u32 = 0x8400_0051;
    pub const GET_UUID: u32 = 0x8400_0052;
    pub const RND_32: u32 = 0x8400_0053;
    pub const RND_64: u32 = 0xC400_0053;
    /// 1.0.
    pub const VERSION_1_0: u64 = 0x0001_0000;
    /// INVALID_PARAMETERS.
    pub const INVALID_PARAMETERS: i64 = -2;
    /// NO_ENTROPY.
    pub const NO_ENTROPY: i64 = -3;
}

/// A result in x0.
pub(super) type X0 = Result<u64, i64>;

/// The number for x0.
pub(super) fn x0(result: X0) -> u64 {
    result.unwrap_or_else(|error| error as u64)
}

impl<M: Machine> Corevisor<M> {
    /// Carries out the call of `v` in `context`, which is none of the specification's, if it is for Corevisor: results go to
    /// x0, and where the call has more to the registers after it; nothing else changes. [`Next::Host`]: the host has to see
    /// to it. Locks VM(v), then S2PAGE → PT(v), PT(0).
    ///
    /// # Errors
    /// [`Refused::NoTable`] if `v` does not exist any more.
    pub(super) fn vm_smccc<const OUTER: u8>(
        &self,
        v: Vmid,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Next, Refused> {
        let id = context.x[0] as u32 & !SVE_HINT;
        if id & FAST_CALL == 0 || !OUR_SERVICES.contains(&(id & OWNER)) {
            return Ok(Next::Host);
        }
        if is_psci(id) {
            return Ok(self.vm_psci(v, id, context, outer));
        }
        let [_, a, b, c, ..] = context.x;
        let shared = self.acquire_lock_s2page(outer).0.standing_grants(v) > 0;
        context.x[0] = x0(match id {
            SMCCC_VERSION => Ok(SMCCC_1_2),
            SMCCC_ARCH_FEATURES => self.vm_arch_features(a as u32),
            // Without arguments or results.
            ARCH_WORKAROUND_1 | ARCH_WORKAROUND_3 => self.firmware(id, 0),
            abi::CALL_UID => Ok(show_words(context, vm_call::KVM_UID)),
            vm_call::FEATURES => {
                let bitmap = if shared { vm_call::FEATURES_BITMAP_SHARED } else { vm_call::FEATURES_BITMAP };
                Ok(show_words(context, [bitmap, 0, 0, 0]))
            }
            // The host has all of its memory, and emulates what it likes.
            vm_call::HYP_MEMINFO | vm_call::MEM_SHARE | vm_call::MEM_UNSHARE | vm_call::MMIO_GUARD if shared => {
                Err(abi::NOT_SUPPORTED)
            }
            vm_call::HYP_MEMINFO => zero([a, b, c]).map(|()| PAGE_SIZE),
            vm_call::MEM_SHARE => match page(a, [b, c]) {
                Ok(ipa) => share(self.share_page_at(v, ipa, outer))?,
                Err(error) => Err(error),
            },
            vm_call::MEM_UNSHARE => match page(a, [b, c]) {
                Ok(ipa) => share(self.unshare_page_at(v, ipa, outer))?,
                Err(error) => Err(error),
            },
            vm_call::MMIO_GUARD => match page(a, [b, c]) {
                Ok(ipa) => self.is_emulated(v, ipa, outer)?,
                Err(error) => Err(error),
            },
            vm_call::MEASUREMENT => {
                Ok(self.show_measurement(v, &mut context.x, outer).unwrap_or_else(|why| why.code() as u64))
            }
            trng::VERSION => self.entropy().map(|_| trng::VERSION_1_0),
            trng::FEATURES => self.entropy().and(match a as u32 {
                trng::VERSION..=trng::RND_32 | trng::RND_64 => Ok(0),
                _ => Err(abi::NOT_SUPPORTED),
            }),
            trng::GET_UUID => self.entropy().map(|_| show_words(context, abi::UID)),
            trng::RND_32 => self.random_number(context, a & 0xFFFF_FFFF, 32),
            trng::RND_64 => self.random_number(context, a, 64),
            _ => Err(abi::NOT_SUPPORTED),
        });
        Ok(Next::Vm)
    }

    /// SMCCC_ARCH_FEATURES. The mitigations are the firmware's; but its ARCH_WORKAROUND_2 would be switched for the host,
    /// too, so a VM is only told if there is no need for it.
    fn vm_arch_features(&self, asked: u32) -> X0 {
        const NOT_NEEDED: u64 = 1;
        match asked {
            SMCCC_VERSION | SMCCC_ARCH_FEATURES => Ok(0),
            ARCH_WORKAROUND_1 | ARCH_WORKAROUND_3 => self.firmware(SMCCC_ARCH_FEATURES, asked),
            ARCH_WORKAROUND_2 => match self.firmware(SMCCC_ARCH_FEATURES, asked) {
                Ok(NOT_NEEDED) => Ok(NOT_NEEDED),
                _ => Err(abi::NOT_SUPPORTED),
            },
            _ => Err(abi::NOT_SUPPORTED),
        }
    }

    /// What the firmware says, if it speaks SMCCC 1.1 or later: one argument, one result of 32 bits.
    fn firmware(&self, id: u32, argument: u32) -> X0 {
        if !self.cpus().firmware().smccc_1_1 {
            return Err(abi::NOT_SUPPORTED);
        }
        let [result, ..] = self.machine().firmware_call([id.into(), argument.into(), 0, 0]);
        Ok(i64::from(result as i32) as u64)
    }

    fn entropy(&self) -> Result<[u8; 32], i64> {
        self.machine().entropy().ok_or(abi::NOT_SUPPORTED)
    }

    /// TRNG_RND: `bits` random bits in the low ends of x3, x2, x1, in this order, `width` in each.
    fn random_number(&self, context: &mut ShadowContext, bits: u64, width: u64) -> X0 {
        if !(1..=3 * width).contains(&bits) {
            // What does not exist has no arguments that could be wrong.
            return Err(self.entropy().map_or_else(|error| error, |_| trng::INVALID_PARAMETERS));
        }
        let bytes = self.machine().entropy().ok_or(trng::NO_ENTROPY)?;
        let (words, _) = bytes.as_chunks();
        for (i, word) in (0..3).zip(words) {
            let here = bits.saturating_sub(i * width).min(width);
            let mask = 1u64.checked_shl(here as u32).map_or(u64::MAX, |end| end - 1);
            context.x[3 - i as usize] = u64::from_le_bytes(*word) & mask;
        }
        Ok(0)
    }

    /// MMIO_GUARD: whether an access to `ipa` is emulated by the host. It is, wherever the VM has no memory below 1 GiB.
    fn is_emulated<const OUTER: u8>(&self, v: Vmid, ipa: Ipa, outer: &mut Held<'_, OUTER>) -> Result<X0, Refused> {
        let free =
            ipa.as_u64() < MAX_MMIO_ADDR && self.acquire_lock_pt(v, outer)?.mapping(ipa)?.translate(ipa).is_none();
        Ok(if free { Ok(0) } else { Err(abi::INVALID_PARAMETER) })
    }
}

/// Writes `words` to x0 and on; returns the first.
fn show_words(context: &mut ShadowContext, words: [u32; 4]) -> u64 {
    for (register, word) in context.x.iter_mut().zip(words) {
        *register = word.into();
    }
    words[0].into()
}

/// Reserved arguments.
fn zero<const N: usize>(arguments: [u64; N]) -> Result<(), i64> {
    if arguments == [0; N] { Ok(()) } else { Err(abi::INVALID_PARAMETER) }
}

/// The page that a call is about, with its reserved arguments.
fn page(ipa: u64, reserved: [u64; 2]) -> Result<Ipa, i64> {
    zero(reserved)?;
    Ipa::new(ipa).filter(|ipa| ipa.is_aligned(PAGE_SIZE)).ok_or(abi::INVALID_PARAMETER)
}

/// What a VM is told of a change of one of its pages: a page that it can't have changed so is its mistake, and no more.
fn share(done: Result<(), Refused>) -> Result<X0, Refused> {
    match done {
        Err(why @ Refused::NoTable(_)) => Err(why),
        Err(_) => Ok(Err(abi::INVALID_PARAMETER)),
        Ok(()) => Ok(Ok(0)),
    }
}
