// SPDX-License-Identifier: GPL-2.0-only
//! Commands to an SMMUv3, and the queue that they go through (IHI 0070, chapter 4).

use super::registers::{CMDQ_CONS, CMDQ_CONS_ERR, CMDQ_CONS_ERR_SHIFT, CMDQ_PROD, GERROR, GERRORN, Gerror, Registers};
use crate::addr::{Ipa, PAGE_SIZE, Pa};
use crate::machine::Machine;
use crate::refused::Refused;

/// How often the SMMU is asked whether it is through before Corevisor gives up.
const ATTEMPTS: u32 = 100_000;
/// log2 of the entries of a queue of one page.
pub const COMMANDS_LOG2: u32 = 8;
/// log2 of the entries that a queue must have: room for what is ended at once, and [`Command::SYNC`].
pub const MIN_COMMANDS_LOG2: u32 = 4;
/// More pages than these are invalidated by a range, or with all of the VMID.
const SINGLE_PAGES: u64 = 8;

const _: () = assert!(SINGLE_PAGES < 1 << MIN_COMMANDS_LOG2);

/// A command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command(pub [u64; 2]);

/// Opcodes (4.1.1).
pub mod opcode {
    /// Forget the STE of a stream.
    pub const CFGI_STE: u64 = 0x03;
    /// Forget those of a range of streams: of all, if that is everything there can be.
    pub const CFGI_STE_RANGE: u64 = 0x04;
    /// End the translations of EL2.
    pub const TLBI_EL2_ALL: u64 = 0x20;
    /// End the translations of a VMID.
    pub const TLBI_S12_VMALL: u64 = 0x28;
    /// End those of a VMID's page, or range.
    pub const TLBI_S2_IPA: u64 = 0x2A;
    /// End those of EL1, whatever VMID.
    pub const TLBI_NSNH_ALL: u64 = 0x30;
    /// Wait until all before it is done, and no access goes on by what it ended.
    pub const SYNC: u64 = 0x46;
}

impl Command {
    /// The SMMU forgets all of the configuration.
    pub const CFGI_ALL: Self = Self([opcode::CFGI_STE_RANGE, 31]);
    /// All translations of EL2 end. Only if IDR0.HYP.
    pub const TLBI_EL2_ALL: Self = Self([opcode::TLBI_EL2_ALL, 0]);
    /// All translations of EL1 end, whatever VMID.
    pub const TLBI_NSNH_ALL: Self = Self([opcode::TLBI_NSNH_ALL, 0]);
    /// The end of what is to be waited for; nothing is signalled.
    pub const SYNC: Self = Self([opcode::SYNC, 0]);

    /// The SMMU forgets the STE of `stream`, and how it got there.
    pub const fn cfgi_ste(stream: u32) -> Self {
        Self([opcode::CFGI_STE | (stream as u64) << 32, 0])
    }

    /// All translations of `vmid` end.
    pub const fn tlbi_s12_vmall(vmid: u16) -> Self {
        Self([opcode::TLBI_S12_VMALL | (vmid as u64) << 32, 0])
    }

    /// Those of the page `ipa` end, by whatever block.
    pub const fn tlbi_s2_ipa(vmid: u16, ipa: Ipa) -> Self {
        Self([opcode::TLBI_S2_IPA | (vmid as u64) << 32, ipa.as_u64() & !(PAGE_SIZE - 1)])
    }

    /// Those of `2^log2_pages` pages from `ipa` on end. Only if IDR3.RIL.
    pub const fn tlbi_s2_range(vmid: u16, ipa: Ipa, log2_pages: u32) -> Self {
        const GRANULE_4K: u64 = 1 << 10; // TG
        let Self([first, second]) = Self::tlbi_s2_ipa(vmid, ipa);
        Self([first | (log2_pages as u64) << 20, second | GRANULE_4K])
    }
}

/// The command queue of an SMMUv3.
#[derive(Debug)]
pub struct CommandQueue {
    base: Pa,
    log2: u32,
    /// Where the next command goes: an index, and one bit more, which changes at each wrap.
    prod: u32,
    /// Whether the last commands did not come to their end.
    failed: bool,
}

impl CommandQueue {
    /// The queue of `2^log2` entries at `base`, which the SMMU was told of, empty.
    pub const fn new(base: Pa, log2: u32) -> Self {
        Self { base, log2, prod: 0, failed: false }
    }

    /// The indices of the queue, with the wrap bit.
    const fn mask(&self) -> u32 {
        (2 << self.log2) - 1
    }

    fn store<M: Machine>(&self, machine: &M, index: u32, command: Command) {
        let at = self.base.as_u64() + 16 * u64::from(index & (self.mask() >> 1));
        for (word, offset) in command.0.into_iter().zip([0, 8]) {
            machine.pt_store(Pa::low_48(at + offset), word);
        }
    }

    /// Has the SMMU carry `commands` out, no more than [`invalidation`] gives, and waits for their end, and for that of the
    /// accesses that they concern.
    ///
    /// # Errors
    /// [`Refused::SmmuStuck`] if it does not come to that in time, or can't carry one out.
    pub fn run<M: Machine>(
        &mut self,
        registers: &Registers<'_, M>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), Refused> {
        if core::mem::replace(&mut self.failed, true) {
            // It may have stopped since.
            self.recover(registers, registers.read(CMDQ_CONS) as u32);
        }
        for command in commands.into_iter().chain([Command::SYNC]) {
            // Where nothing is stuck, there is room.
            self.wait(registers, |queue, cons| queue.prod ^ cons != 1 << queue.log2)?;
            self.store(registers.machine, self.prod, command);
            self.prod = (self.prod + 1) & self.mask();
        }
        // All this is the SMMU's now, with all changes of tables before.
        registers.machine.publish_tables();
        registers.write(CMDQ_PROD, self.prod.into());
        self.wait(registers, |queue, cons| queue.prod == cons)?;
        // What follows is ordered after the end.
        registers.machine.publish_tables();
        self.failed = false;
        Ok(())
    }

    /// Waits until `done` says so of where the SMMU reads.
    fn wait<M: Machine>(&self, registers: &Registers<'_, M>, done: impl Fn(&Self, u32) -> bool) -> Result<(), Refused> {
        for _ in 0..ATTEMPTS {
            let cons = registers.read(CMDQ_CONS);
            // The reason of the last error stays there: whether there is one now is for GERROR to say.
            if cons >> CMDQ_CONS_ERR_SHIFT & CMDQ_CONS_ERR != 0 && self.recover(registers, cons as u32) {
                return Err(Refused::SmmuStuck);
            }
            if done(self, cons as u32 & self.mask()) {
                return Ok(());
            }
        }
        Err(Refused::SmmuStuck)
    }

    /// If the SMMU has stopped at a command that it can't carry out, at `cons`, it goes on after that. Whether it had.
    fn recover<M: Machine>(&self, registers: &Registers<'_, M>, cons: u32) -> bool {
        let pending = Gerror::from_bits_retain(registers.read(GERROR) ^ registers.read(GERRORN));
        if !pending.contains(Gerror::CMDQ_ERR) {
            return false;
        }
        self.store(registers.machine, cons, Command::SYNC);
        registers.machine.publish_tables();
        registers.write(GERRORN, registers.read(GERRORN) ^ Gerror::CMDQ_ERR.bits());
        true
    }
}

/// What ends the translations of `vmid`: of the pages from the address on, so many bytes, or of all. `ranges`: IDR3.RIL.
pub fn invalidation(vmid: u16, part: Option<(Ipa, u64)>, ranges: bool) -> impl Iterator<Item = Command> {
    let (pages, start) = part.map_or((0, 0), |(ipa, bytes)| (bytes.div_ceil(PAGE_SIZE), ipa.as_u64()));
    let single = if pages <= SINGLE_PAGES { pages } else { 0 };
    let more = match part {
        Some((ipa, _)) if ranges && single == 0 && pages.is_power_of_two() && pages.ilog2() < 32 => {
            Some(Command::tlbi_s2_range(vmid, ipa, pages.ilog2()))
        }
        _ if single == 0 => Some(Command::tlbi_s12_vmall(vmid)),
        _ => None,
    };
    let page = move |n| Command::tlbi_s2_ipa(vmid, Ipa::low_48(start + n * PAGE_SIZE));
    (0..single).map(page).chain(more)
}
