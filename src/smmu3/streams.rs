// SPDX-License-Identifier: GPL-2.0-only
//! Which stream of an SMMUv3 goes where: to the host's DMA table, to a context bank, or nowhere.
//!
//! Only streams that the device tree names can be attached: what others are is unknown. A stream of a VM stays with it until
//! its bank is freed, as an SMMUv2's does.

use super::commands::{Command, invalidation};
use super::ste::{Stage2, Ste};
use super::stream_table::StreamTable;
use super::{Smmu3, Smmu3Config};
use crate::addr::{COREVISOR, HOSTVISOR, Ipa, PAGE_SIZE};
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::machine::Machine;
use crate::mmio::{BANKS_PER_SMMU, ContextBank, FIRST_BANK_VMID, SmmuBanks, SmmuIndex};
use crate::refused::Refused;
use crate::spt::IOVA_BITS;
use arrayvec::ArrayVec;

/// Streams of one SMMUv3 that can be attached to context banks at a time.
pub const MAX_BANK_STREAMS: usize = 16;

/// The streams of an SMMUv3.
#[derive(Debug)]
pub struct Streams {
    table: StreamTable,
    /// The entry of those that are the host's.
    host: Option<Ste>,
    /// Those of context banks.
    in_banks: ArrayVec<(u32, ContextBank), MAX_BANK_STREAMS>,
}

/// A context bank of an SMMUv3: a VMID, whose table is the bank's.
pub(crate) struct Bank<'s, M> {
    pub(super) machine: &'s M,
    pub(super) smmu: &'s Smmu3,
    pub(super) b: ContextBank,
}

impl Streams {
    pub(super) fn new(table: StreamTable, host: Option<Ste>) -> Self {
        Self { table, host, in_banks: ArrayVec::new() }
    }

    /// How many streams, from 0 on, can have an entry.
    pub(super) fn reach(&self) -> u64 {
        self.table.reach()
    }

    fn bank_of(&self, stream: u32) -> Option<ContextBank> {
        self.in_banks.iter().find(|(id, _)| *id == stream).map(|&(_, b)| b)
    }
}

impl Smmu3Config {
    /// Whether the device tree names `stream`.
    fn names(&self, stream: u32) -> bool {
        self.streams.iter().any(|range| range.contains(stream))
    }
}

impl<M: Machine> Corevisor<M> {
    /// Call SMMU_ATTACH_STREAM: `stream` of SMMU `k`, an SMMUv3, is translated by bank `b` from now on, or, without one, by the
    /// host's DMA table. Locks SMMU → VM(owner) → SPT; then STREAMS → FRAMES, QUEUES.
    ///
    /// # Errors
    /// If the device tree does not name it; if it is of another bank, of a VM's; if the bank is free, or of a VM that is
    /// settled already; if there is no memory, or the SMMU does not answer.
    pub fn attach_stream<const OUTER: u8>(
        &self,
        stream: u32,
        b: Option<ContextBank>,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let smmu = self.driven_smmu3(k)?;
        let features = smmu.config.features.map_err(|_| Refused::Unavailable)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        let Some(b) = b else {
            return self.move_stream(smmu, stream, None, Destination::Host, &banks, k, &mut held);
        };
        let owner = banks.owner(k, b).ok_or(Refused::Bank)?;
        let (_vm, mut held) = self.lock_vm_for_streams(owner, &mut held)?;
        let root = self.acquire_lock_spt(&mut held).get_smmu_cfg_hw_ttbr(b, k).ok_or(Refused::Bank)?;
        let table = Stage2 { root, ipa_bits: IOVA_BITS, vmid: vmid(b), oas: features.oas };
        self.move_stream(smmu, stream, Some(b), Destination::Table(Ste::translated(table)), &banks, k, &mut held)
    }

    /// Call SMMU_DETACH_STREAM: what `stream` of SMMU `k`, an SMMUv3, does ends in an abort from now on. Locks SMMU → STREAMS →
    /// FRAMES, QUEUES.
    ///
    /// # Errors
    /// As [`Self::attach_stream`].
    pub fn detach_stream<const OUTER: u8>(
        &self,
        stream: u32,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let smmu = self.driven_smmu3(k)?;
        let (banks, mut held) = self.acquire_lock_smmu(outer);
        self.move_stream(smmu, stream, None, Destination::Nowhere, &banks, k, &mut held)
    }

    /// The streams of bank `b` of SMMU `k`, if that is an SMMUv3, are nobody's from now on. Locks STREAMS → FRAMES, QUEUES.
    ///
    /// # Errors
    /// If the SMMU does not answer. Then some may be the bank's still.
    pub(crate) fn detach_bank<const OUTER: u8>(
        &self,
        b: ContextBank,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let Some(smmu) = self.smmu3(k) else { return Ok(()) };
        let (mut streams, mut held) = smmu.streams.lock(outer);
        let Some(streams) = &mut *streams else { return Ok(()) };
        while let Some(at) = streams.in_banks.iter().position(|&(_, bank)| bank == b) {
            let (stream, _) = streams.in_banks[at];
            self.set_entry(smmu, &mut streams.table, stream, Ste::ABORT, &mut held)?;
            streams.in_banks.swap_remove(at);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the call's, and what is known of the SMMU")]
    fn move_stream<const OUTER: u8>(
        &self,
        smmu: &Smmu3,
        stream: u32,
        b: Option<ContextBank>,
        to: Destination,
        banks: &SmmuBanks,
        k: SmmuIndex,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (mut streams, mut held) = smmu.streams.lock(outer);
        let streams = streams.as_mut().ok_or(Refused::Unavailable)?;
        if !smmu.config.names(stream) || u64::from(stream) >= streams.table.reach() {
            return Err(Refused::Argument(1));
        }
        let before = streams.bank_of(stream);
        let old = streams.table.get(self.machine(), stream);
        if before == b && b.is_some() && old.is_valid() {
            return Ok(());
        }
        if before != b && before.is_some_and(|before| banks.owner(k, before) != Some(HOSTVISOR)) {
            return Err(Refused::Bank);
        }
        if b.is_some() && before.is_none() && streams.in_banks.is_full() {
            return Err(Refused::NoTables(COREVISOR));
        }
        let ste = match to {
            Destination::Host => streams.host.ok_or(Refused::Unavailable)?,
            Destination::Table(ste) => ste,
            Destination::Nowhere => Ste::ABORT,
        };
        let done = self.set_entry(smmu, &mut streams.table, stream, ste, &mut held);
        // What the SMMU has not confirmed it may know nevertheless: then the bank is not free without the stream.
        if done.is_ok() || streams.table.get(self.machine(), stream) != old {
            streams.in_banks.retain(|(id, _)| *id != stream);
            if let Some(b) = b {
                streams.in_banks.push((stream, b));
            }
        }
        done
    }

    fn set_entry(
        &self,
        smmu: &Smmu3,
        table: &mut StreamTable,
        stream: u32,
        ste: Ste,
        held: &mut Held<'_, { rank::STREAMS }>,
    ) -> Result<(), Refused> {
        let run = |command: Command, held: &mut Held<'_, { rank::STREAMS }>| smmu.run(self.machine(), [command], held);
        table.set(&smmu.registers(self.machine()), self.frames(), stream, ste, held, run)
    }
}

/// Where a stream is to go.
#[derive(Clone, Copy)]
enum Destination {
    Host,
    Table(Ste),
    Nowhere,
}

/// The VMID of bank `b`'s translations.
fn vmid(b: ContextBank) -> u16 {
    FIRST_BANK_VMID as u16 + b.index() as u16
}

impl<M: Machine> Bank<'_, M> {
    /// Ends its translations: of the page `iova`, or all. Waits for the accesses that use them.
    pub(crate) fn invalidate<const OUTER: u8>(
        &self,
        iova: Option<Ipa>,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let part = iova.map(|iova| (iova, PAGE_SIZE));
        self.smmu.run(self.machine, invalidation(vmid(self.b), part, false), outer)
    }
}

const _: () = assert!(BANKS_PER_SMMU <= 16 && FIRST_BANK_VMID < 0xF0, "VMIDs of 8 bits");
