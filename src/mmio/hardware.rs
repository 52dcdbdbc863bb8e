// SPDX-License-Identifier: GPL-2.0-only
//! What Corevisor itself does with an SMMU's registers: context banks go in and out of use, and the IOTLB forgets
//! (`spec/layers/12-wdrf.md` §12.6).
//!
//! The IOTLB tells translations apart by the VMID of the bank, and by nothing else. So each bank has a VMID of its own,
//! whatever the principal: two banks of one principal have different tables.

use super::registers::{
    BANK_SHIFT, BANKS, CBA2R_VA64, GSACTIVE, IDR0_NUMSIDB_SHIFT, IDR0_NUMSMRG, IDR0_SMS, S2CR_CBNDX, S2CR_FAULT,
    S2CR_TRANSLATE, S2CR_TYPE_SHIFT, Sctlr, TCR_STAGE_2, cb, gr0, gr1,
};
use super::{ContextBank, SmmuConfig, SmmuIndex};
use crate::addr::{Ipa, Pa};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::{Machine, Width};
use crate::refused::Refused;
use crate::smmu3;

/// How often the end of an invalidation is asked for before Corevisor gives up.
const SYNC_ATTEMPTS: u32 = 100_000;
/// The VMID of bank 0. Those of principals are below, so that an invalidation that CPUs broadcast for a VM hits none.
pub const FIRST_BANK_VMID: u64 = 0x80;

/// The registers of an SMMU. Those that route streams or describe banks change under lock SMMU only.
pub(crate) struct Smmu<'s, M> {
    pub(super) machine: &'s M,
    pub(super) config: &'s SmmuConfig,
}

/// A context bank, of whatever SMMU.
pub(crate) enum Hardware<'s, M> {
    /// Of one whose registers the host writes.
    V2(Bank<'s, M>),
    /// Of one that Corevisor drives.
    V3(smmu3::Bank<'s, M>),
}

/// Those of one of its context banks.
pub(crate) struct Bank<'s, M> {
    pub(super) smmu: Smmu<'s, M>,
    b: ContextBank,
}

impl<M: Machine> Corevisor<M> {
    /// The registers of SMMU `k`.
    pub(super) fn smmu(&self, k: SmmuIndex) -> Result<Smmu<'_, M>, Refused> {
        let config = self.smmus().get(k.index()).ok_or(Refused::Bank)?;
        Ok(Smmu { machine: self.machine(), config })
    }

    /// Bank `b` of SMMU `k`.
    ///
    /// # Errors
    /// If there is no such bank (D-60, D-63), or an SMMUv3 is not driven.
    pub(crate) fn smmu_hardware(&self, b: ContextBank, k: SmmuIndex) -> Result<Hardware<'_, M>, Refused> {
        match self.smmu3_bank(b, k) {
            Some(bank) => bank.map(Hardware::V3),
            None => self.smmu_bank(b, k).map(Hardware::V2),
        }
    }

    /// The same, of an SMMU whose registers the host writes.
    pub(super) fn smmu_bank(&self, b: ContextBank, k: SmmuIndex) -> Result<Bank<'_, M>, Refused> {
        let smmu = self.smmu(k)?;
        if b.index() < usize::from(smmu.config.context_banks) { Ok(Bank { smmu, b }) } else { Err(Refused::Bank) }
    }
}

impl<M: Machine> Hardware<'_, M> {
    /// Ends its translations in the IOTLB, of the page `iova` at least, or all; what was removed from its table before can't
    /// be used any more on return.
    pub(crate) fn invalidate<const OUTER: u8>(
        &self,
        iova: Option<Ipa>,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        match self {
            Self::V2(bank) => bank.invalidate(),
            Self::V3(bank) => bank.invalidate(iova, outer),
        }
    }

    /// Starts to translate, by the table at `root`. No stream is routed here yet.
    pub(super) fn enable<const OUTER: u8>(&self, root: Pa, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        match self {
            Self::V2(bank) => bank.enable(root),
            // Each stream that is attached is told of the table.
            Self::V3(bank) => bank.invalidate(None, outer),
        }
    }

    /// Ends its use: the streams that were routed here fault, what they had under way is over, nothing is cached, and nothing
    /// is walked. An SMMUv3's streams were detached before.
    ///
    /// On error its streams fault already, and it can be called again.
    pub(super) fn disable<const OUTER: u8>(&self, outer: &mut Held<'_, OUTER>) -> Result<(), Refused> {
        match self {
            Self::V2(bank) => bank.disable(),
            Self::V3(bank) => bank.invalidate(None, outer),
        }
    }
}

impl<'s, M: Machine> Smmu<'s, M> {
    pub(super) const fn new(machine: &'s M, config: &'s SmmuConfig) -> Self {
        Self { machine, config }
    }

    pub(super) fn at(&self, register: u64) -> Pa {
        self.config.at(self.config.layout.offset(register))
    }

    pub(super) fn read(&self, register: u64) -> u64 {
        self.machine.mmio_read(self.at(register), Width::Word)
    }

    pub(super) fn write(&self, register: u64, value: u64) {
        self.machine.mmio_write(self.at(register), Width::Word, value);
    }

    /// Whether entries of the stream mapping table match streams; else a stream's id is its entry's number.
    pub(super) fn matches_streams(&self) -> bool {
        self.read(gr0::IDR0) & IDR0_SMS != 0
    }

    /// log2 of the number of stream ids.
    pub(super) fn stream_id_bits(&self) -> u32 {
        (self.read(gr0::IDR0) >> IDR0_NUMSIDB_SHIFT) as u32 & 0xF
    }

    /// Entries of the stream mapping table.
    pub(super) fn stream_entries(&self) -> u64 {
        let entries =
            if self.matches_streams() { self.read(gr0::IDR0) & IDR0_NUMSMRG } else { 1 << self.stream_id_bits() };
        entries.min((gr0::S2CR.end - gr0::S2CR.start) / 4)
    }

    /// Ends all translations with VMID `vmid`, and waits for the transactions that use them.
    fn invalidate(&self, vmid: u64) -> Result<(), Refused> {
        self.machine.publish_tables();
        self.write(gr0::TLBIVMID, vmid);
        self.sync()
    }

    /// Waits for the invalidations that were asked for, and for the transactions that use what they end.
    pub(super) fn sync(&self) -> Result<(), Refused> {
        self.write(gr0::STLBGSYNC, 0);
        for _ in 0..SYNC_ATTEMPTS {
            if self.read(gr0::STLBGSTATUS) & GSACTIVE == 0 {
                self.machine.publish_tables();
                return Ok(());
            }
        }
        Err(Refused::SmmuStuck)
    }
}

impl<M: Machine> Bank<'_, M> {
    /// The offset of its register `register`.
    fn register(&self, register: u64) -> u64 {
        BANKS + ((self.b.index() as u64) << BANK_SHIFT) + register
    }

    /// The VMID of its translations.
    pub(super) fn vmid(&self) -> u64 {
        FIRST_BANK_VMID + self.b.index() as u64
    }

    /// Ends all its translations in the IOTLB; what was removed from its table before can't be used any more on return.
    fn invalidate(&self) -> Result<(), Refused> {
        self.smmu.invalidate(self.vmid())
    }

    /// Starts to translate, by the table at `root`. No stream is routed here yet.
    fn enable(&self, root: Pa) -> Result<(), Refused> {
        let number = self.b.index() as u64;
        self.smmu.write(gr1::CBAR.start + 4 * number, self.vmid());
        self.smmu.write(gr1::CBA2R.start + 4 * number, CBA2R_VA64);
        self.smmu.write(self.register(cb::TCR), TCR_STAGE_2);
        self.invalidate()?;
        self.smmu.machine.mmio_write(self.smmu.at(self.register(cb::TTBR0)), Width::Double, root.as_u64());
        self.smmu.write(self.register(cb::SCTLR), (Sctlr::M | Sctlr::CFRE).bits());
        Ok(())
    }

    /// Ends its use: the streams that were routed here fault, what they had under way is over, nothing is cached, and
    /// nothing is walked. While it can still be reached it translates, for a bank that does not lets everything through.
    ///
    /// On error its streams fault already, and it can be called again.
    fn disable(&self) -> Result<(), Refused> {
        for entry in 0..self.smmu.stream_entries() {
            let s2cr = gr0::S2CR.start + 4 * entry;
            if routed_to(self.smmu.read(s2cr)) == Some(self.b.index()) {
                self.smmu.write(s2cr, S2CR_FAULT << S2CR_TYPE_SHIFT);
            }
        }
        self.invalidate()?;
        self.smmu.write(self.register(cb::SCTLR), 0);
        self.invalidate()?;
        self.smmu.machine.mmio_write(self.smmu.at(self.register(cb::TTBR0)), Width::Double, 0);
        Ok(())
    }
}

/// The bank that an S2CR with this value routes to.
pub(super) fn routed_to(s2cr: u64) -> Option<usize> {
    let translates = (s2cr >> S2CR_TYPE_SHIFT) & 3 == S2CR_TRANSLATE;
    translates.then_some((s2cr & S2CR_CBNDX) as usize)
}
