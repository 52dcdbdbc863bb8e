// SPDX-License-Identifier: GPL-2.0-only
//! The form in which a vCPU is saved: words in its run page, from [`run_page::SEALED`] on.

use crate::abi::run_page;
use crate::addr::{Ipa, Pa, Pfn};
use crate::machine::Machine;
use crate::vcpu::vgic::Vgic;
use crate::vcpu::{Fp, ShadowContext, SysRegs, Unfinished, VirtualTimer};
use crate::vm::{Generation, Manifest, Power, Seal};
use core::iter;

/// Words of the general registers: x0 to x30, pc, pstate, sp_el0, q0 to q31, FPSR, FPCR.
const GENERAL: usize = 31 + 3 + 2 * 32 + 2;
/// Words of the system registers: the indexed ones, ten more, the keys, the timer, the interrupt interface, five for a call
/// that is not finished, and three that say whether the vCPU is on.
const SYSTEM: usize = 24 + 10 + 10 + 2 + 9 + 5 + 3;
/// The first of these.
const OFF: u64 = 0;
const PENDING: u64 = 1;
const ON: u64 = 2;
/// Words before them.
const HEADER: usize = 10;

const _: () = assert!(HEADER + GENERAL + SYSTEM == run_page::SEALED_WORDS);
const _: () = assert!(run_page::SEALED as usize + 8 * run_page::SEALED_WORDS <= 4096);

/// The general registers, as they are encrypted.
pub type GeneralBytes = [u8; 8 * GENERAL];
/// The system registers, as they are encrypted.
pub type SystemBytes = [u8; 8 * SYSTEM];

/// A saved vCPU. Lineage, epoch, manifest and the seals are readable, the registers are encrypted.
pub struct SavedVcpu {
    /// The state of the VM that it belongs to.
    pub generation: Generation,
    /// What else belongs to that.
    pub manifest: Manifest,
    /// Seals of the general and of the system registers.
    pub seals: [Seal; 2],
    /// General registers.
    pub general: GeneralBytes,
    /// System registers.
    pub system: SystemBytes,
}

fn sealed(page: Pfn) -> Pa {
    Pa::low_48(page.base().as_u64() + run_page::SEALED)
}

impl SavedVcpu {
    /// Writes it to the run page.
    pub fn store(&self, machine: &impl Machine, page: Pfn) {
        let Self { generation, manifest, seals: [general, system], .. } = self;
        let header: [u64; HEADER] = [
            generation.lineage,
            generation.epoch,
            manifest.pages,
            manifest.vcpus,
            general.nonce,
            general.tag[0],
            general.tag[1],
            system.nonce,
            system.tag[0],
            system.tag[1],
        ];
        let sets = [self.general.as_chunks().0, self.system.as_chunks().0].into_iter().flatten();
        let values = header.into_iter().chain(sets.map(|bytes| u64::from_le_bytes(*bytes)));
        let mut words = [0; run_page::SEALED_WORDS];
        words.iter_mut().zip(values).for_each(|(word, value)| *word = value);
        machine.shared_store_words(sealed(page), &words);
    }

    /// Reads what the host put into the run page, each word once.
    pub fn load(machine: &impl Machine, page: Pfn) -> Self {
        let mut words = [0; run_page::SEALED_WORDS];
        machine.shared_load_words(sealed(page), &mut words);
        let mut words = words.into_iter();
        let mut next = || words.next().unwrap_or(0);
        let generation = Generation { lineage: next(), epoch: next() };
        let manifest = Manifest { pages: next(), vcpus: next() };
        let seals = [(); 2].map(|()| Seal { nonce: next(), tag: [next(), next()] });
        let (mut general, mut system) = ([0; 8 * GENERAL], [0; 8 * SYSTEM]);
        for bytes in [general.as_chunks_mut().0, system.as_chunks_mut().0].into_iter().flatten() {
            *bytes = next().to_le_bytes();
        }
        Self { generation, manifest, seals, general, system }
    }
}

/// Hands `each` the general registers, word by word.
fn general_registers(context: &mut ShadowContext, mut each: impl FnMut(&mut u64)) {
    let ShadowContext { x, pc, pstate, sp_el0, fp, .. } = context;
    let Fp { q, fpsr, fpcr } = fp;
    x.iter_mut().chain([pc, pstate, sp_el0, fpsr, fpcr]).for_each(&mut each);
    for q in q {
        let (mut low, mut high) = (*q as u64, (*q >> 64) as u64);
        each(&mut low);
        each(&mut high);
        *q = u128::from(low) | u128::from(high) << 64;
    }
}

/// Hands `each` everything else. What that is is spelled out: a register that is new must go to one of the two.
fn system_registers(context: &mut ShadowContext, power: &mut Power, mut each: impl FnMut(&mut u64)) {
    let ShadowContext {
        x: _,
        pc: _,
        pstate: _,
        sys: SysRegs(sys),
        elr_el1,
        spsr_el1,
        sp_el0: _,
        sp_el1,
        far_el2,
        hpfar_el2,
        hcr_el2,
        ec,
        dirty,
        flags,
        esr_el2,
        fp: _,
        keys,
        timer: VirtualTimer { ctl, cval },
        vgic: Vgic { vmcr, ap0r, ap1r },
        unfinished,
        run_page: _, // the next entry's business
    } = context;
    let others = [elr_el1, spsr_el1, sp_el1, far_el2, hpfar_el2, hcr_el2, ec, dirty, flags, esr_el2];
    let interface = iter::once(vmcr).chain(ap0r).chain(ap1r);
    sys.iter_mut().chain(others).chain(keys).chain([ctl, cval]).chain(interface).for_each(&mut each);
    let (mut present, mut call, mut ipa, mut size, mut done) = match *unfinished {
        Some(Unfinished { call, ipa, size, done }) => (1, call, ipa.as_u64(), size, done),
        None => (0, 0, 0, 0, 0),
    };
    [&mut present, &mut call, &mut ipa, &mut size, &mut done].into_iter().for_each(&mut each);
    *unfinished = (present != 0).then_some(Unfinished { call, ipa: Ipa::low_48(ipa), size, done });
    let (mut state, mut entry, mut argument) = match *power {
        Power::Off => (OFF, 0, 0),
        Power::Pending { entry, argument } => (PENDING, entry, argument),
        Power::On => (ON, 0, 0),
    };
    [&mut state, &mut entry, &mut argument].into_iter().for_each(each);
    *power = match state {
        PENDING => Power::Pending { entry, argument },
        ON => Power::On,
        _ => Power::Off,
    };
}

/// The general registers of `context` in bytes.
pub fn general_bytes(context: &ShadowContext) -> GeneralBytes {
    let mut bytes = [0; 8 * GENERAL];
    let mut words = bytes.as_chunks_mut().0.iter_mut();
    general_registers(&mut context.clone(), |register| {
        if let Some(word) = words.next() {
            *word = register.to_le_bytes();
        }
    });
    bytes
}

/// The system registers of `context` in bytes, of a vCPU that is on, or not, as `power` says.
pub fn system_bytes(context: &ShadowContext, mut power: Power) -> SystemBytes {
    let mut bytes = [0; 8 * SYSTEM];
    let mut words = bytes.as_chunks_mut().0.iter_mut();
    system_registers(&mut context.clone(), &mut power, |register| {
        if let Some(word) = words.next() {
            *word = register.to_le_bytes();
        }
    });
    bytes
}

/// The context with these registers, and whether its vCPU is on.
pub fn context(general: &GeneralBytes, system: &SystemBytes) -> (ShadowContext, Power) {
    let (mut context, mut power) = (ShadowContext::ZERO, Power::Off);
    let mut words = general.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
    general_registers(&mut context, |register| *register = words.next().unwrap_or(0));
    let mut words = system.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
    system_registers(&mut context, &mut power, |register| *register = words.next().unwrap_or(0));
    (context, power)
}
