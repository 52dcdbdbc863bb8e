// SPDX-License-Identifier: GPL-2.0-only
//! Layer: MmioCoreAux (`spec/layers/07-mmio.md` §7.2): which SMMU registers the host may write, and what with. The rules are
//! those of `spec/layers/10-abi-flows.md` §10.11; what is in no row here is refused.

use super::hardware::{Smmu, routed_to};
use super::mmio_raw::smmu_get_cbndx;
use super::registers::{
    BANK_SHIFT, BANKS, CBA2R_MONC, CBA2R_VA64, CBAR_IRPTNDX, CBAR_TYPE_SHIFT, IDR0_BTM, IDR0_EXIDS, IDR0_NTS,
    IDR0_S1TS, IDR0_SES, IDR1_NUMCB, IDR1_NUMPAGENDXB_SHIFT, IDR1_NUMS2CB_SHIFT, IDR1_PAGESIZE, IDR2_IAS, IDR2_OAS,
    IDR2_PTFSV8_4KB, S2CR_FAULT, S2CR_TYPE_SHIFT, SMR_MASK_SHIFT, SMR_VALID, STREAM_ID, Scr0, Sctlr, TCR_STAGE_2, VMID,
    cb, gr0, gr1,
};
use super::{ContextBank, SmmuBanks, SmmuIndex};
use crate::addr::{HOSTVISOR, Pa, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::{Machine, Width};
use crate::refused::Refused;
use crate::trap::Registers;

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Write {
    /// The register gets this value.
    Value(u64),
    /// The register stays as it is, and the host goes on. Implementation-defined control registers can switch off what
    /// Corevisor relies on; drivers write them all the same.
    Ignored,
}

/// Which kind of rule a register of a context bank has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CbAccess {
    /// The host may not write it.
    Refuse,
    /// The host's value goes through.
    Through,
    /// The register gets a value of Corevisor's.
    Replace,
    /// The write has no effect.
    Ignore,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: IX-1. What becomes of the host's write of `data`, `width` wide, to register `offset` of the global half of SMMU
    /// `k`; `None`: refused. Lock SMMU is held, by `banks`.
    pub(super) fn handle_smmu_global_access(
        &self,
        banks: &SmmuBanks,
        k: SmmuIndex,
        offset: u64,
        width: Width,
        data: u64,
    ) -> Option<Write> {
        let through = Some(Write::Value(data));
        let smmu = self.smmu(k).ok()?;
        match (offset, width) {
            (gr0::SCR0, Width::Word) => scr0_is_safe(data).then_some(Write::Value(data)),
            (gr0::SCR2, Width::Word) => (data & VMID == 0).then_some(Write::Value(data)),
            (gr0::SACR, Width::Word) => Some(Write::Ignored),
            (gr0::SGFAR..=gr0::SGFSYNR2, Width::Word) | (gr0::SGFAR, Width::Double) => through,
            (gr0::TLBIVMID..=gr0::STLBGSYNC | gr0::TLBIVAH | gr0::TLBIVMIDS1, Width::Word) => through,
            (_, _) if gr0::GATS.contains(&offset) => through,
            (gr0::SGPAR, _) => through,
            (_, Width::Word) if gr0::SMR.contains(&offset) => {
                let entry = (offset - gr0::SMR.start) / 4;
                let after = Stream { smr: data, ..stream(&smmu, entry)? };
                (smmu.matches_streams() && may_become(&smmu, banks, k, entry, after)).then_some(Write::Value(data))
            }
            (_, Width::Word) if gr0::S2CR.contains(&offset) => {
                let entry = (offset - gr0::S2CR.start) / 4;
                let after = Stream { s2cr: data, ..stream(&smmu, entry)? };
                let faults = (data >> S2CR_TYPE_SHIFT) & 3 == S2CR_FAULT;
                let allowed = faults || bank_owner(banks, k, routed_to(data)).is_some();
                (allowed && may_become(&smmu, banks, k, entry, after)).then_some(Write::Value(data))
            }
            (_, Width::Word) if gr1::CBAR.contains(&offset) => {
                let b = ContextBank::new((offset - gr1::CBAR.start) / 4)?;
                let owner = banks.owner(k, b)?;
                let vmid = self.smmu_bank(b, k).ok()?.vmid();
                if owner == HOSTVISOR {
                    return Some(Write::Value(data & CBAR_IRPTNDX | vmid));
                }
                let asked = data >> CBAR_TYPE_SHIFT == 0 && data & VMID == owner.index() as u64;
                asked.then_some(Write::Value(vmid))
            }
            (_, Width::Word) if gr1::CBA2R.contains(&offset) => {
                let b = ContextBank::new((offset - gr1::CBA2R.start) / 4)?;
                banks.owner(k, b)?;
                (data & !(CBA2R_VA64 | CBA2R_MONC) == 0).then_some(Write::Value(data | CBA2R_VA64))
            }
            _ => None,
        }
    }

    /// What a register of bank `b` of SMMU `k` gets when the host writes `data`, if it gets what Corevisor says. Both halves
    /// of TTBR0 are Corevisor's root, whatever the width (D-58, D-59). Locks SPT.
    pub(super) fn replaced<const OUTER: u8>(
        &self,
        owner: Vmid,
        b: ContextBank,
        k: SmmuIndex,
        register: u64,
        data: u64,
        held: &mut Held<'_, OUTER>,
    ) -> Result<u64, Refused> {
        let root = self.acquire_lock_spt(held).get_smmu_cfg_hw_ttbr(b, k).ok_or(Refused::Bank)?.as_u64();
        Ok(match register {
            cb::TTBR0 => root,
            cb::TTBR0_HIGH => root >> 32,
            cb::TCR => TCR_STAGE_2,
            _ => {
                // A VM's transactions never stall: the host could hold them up.
                let mut hosts = Sctlr::CFRE | Sctlr::CFIE | Sctlr::HUPCF;
                hosts.set(Sctlr::CFCFG, owner == HOSTVISOR);
                (Sctlr::from_bits_retain(data) & hosts | Sctlr::M).bits()
            }
        })
    }

    /// What the host reads `width` wide at `register` of the global half, if identification registers are there: stage 2 only,
    /// and only the banks that it may use.
    pub(super) fn identification(&self, k: SmmuIndex, register: u64, width: Width) -> Option<u64> {
        let smmu = self.smmu(k).ok()?;
        let shown = |register| {
            let value = smmu.read(register);
            match register {
                gr0::IDR0 => value & !(IDR0_SES | IDR0_S1TS | IDR0_NTS | IDR0_BTM | IDR0_EXIDS),
                gr0::IDR1 => {
                    let banks = (value & IDR1_NUMCB).min(smmu.config.context_banks.into());
                    let layout = value & (IDR1_PAGESIZE | 7 << IDR1_NUMPAGENDXB_SHIFT);
                    layout | banks << IDR1_NUMS2CB_SHIFT | banks
                }
                gr0::IDR2 => value & (IDR2_IAS | IDR2_OAS | IDR2_PTFSV8_4KB),
                _ => 0, // 3 to 6, which hold nothing that stage 2 needs
            }
        };
        match (register, width) {
            (gr0::IDR0..gr0::IDR7, Width::Word) => Some(shown(register)),
            // The last one of these has the revision, which is the host's to know.
            (gr0::IDR0..gr0::IDR6, Width::Double) => Some(shown(register) | shown(register + 4) << 32),
            (gr0::IDR6, Width::Double) => Some(smmu.read(gr0::IDR7) << 32),
            _ => None,
        }
    }

    /// Spec: IX-3. Writes `val` to the register at `at`, with the width of the host's access (D-58).
    pub(super) fn __handle_smmu_write(&self, at: Pa, width: Width, val: u64) {
        self.machine().mmio_write(at, width, val);
    }

    /// Spec: IX-4. Reads the register at `at` into the host's register `rt`, zero-extended.
    pub(super) fn __handle_smmu_read(&self, at: Pa, width: Width, rt: usize, regs: &mut Registers) {
        let value = self.machine().mmio_read(at, width);
        if let Some(register) = regs.get_mut(rt) {
            *register = value;
        }
    }
}

/// Spec: IX-2. The rule of the register at `offset` of the window, in its upper half, for an access `width` wide.
pub(super) fn handle_smmu_cb_access(offset: u64, width: Width) -> CbAccess {
    use Width::{Double, Word};
    let register = offset.wrapping_sub(BANKS) & ((1 << BANK_SHIFT) - 1);
    match (register, width) {
        (cb::SCTLR | cb::TCR | cb::TTBR0 | cb::TTBR0_HIGH, Word) | (cb::TTBR0, Double) => CbAccess::Replace,
        (cb::ACTLR, Word) => CbAccess::Ignore,
        (cb::CONTEXTIDR, _) => CbAccess::Refuse,
        // Stage 1's: the bank is one of stage 2, and these do nothing.
        (cb::TTBR1, _) | (0x2C | cb::MAIR0 | cb::MAIR1, Word) => CbAccess::Through,
        (cb::RESUME | cb::FSR | cb::FSRRESTORE | cb::FSYNR0 | cb::FSYNR1 | cb::TLBSYNC, Word) => CbAccess::Through,
        (cb::PAR | cb::FAR | cb::IPAFAR, _) | (0x54 | 0x64 | 0x74, Word) => CbAccess::Through,
        _ if cb::TLBI.contains(&register) || cb::ATS.contains(&register) => CbAccess::Through,
        _ => CbAccess::Refuse,
    }
}

/// The owner of the bank whose registers lie at `offset` of the window, and the bank.
pub(super) fn bank_at(banks: &SmmuBanks, k: SmmuIndex, offset: u64) -> Option<(ContextBank, Vmid)> {
    let b = smmu_get_cbndx(offset)?;
    Some((b, banks.owner(k, b)?))
}

/// The SMMU must translate all streams, and fault those that match nothing or twice; ids and VMIDs keep their layout.
fn scr0_is_safe(data: u64) -> bool {
    let data = Scr0::from_bits_retain(data);
    data.contains(Scr0::USFCFG | Scr0::SMCFCFG) && !data.intersects(Scr0::CLIENTPD | Scr0::EXIDENABLE | Scr0::VMID16EN)
}

fn bank_owner(banks: &SmmuBanks, k: SmmuIndex, bank: Option<usize>) -> Option<Vmid> {
    banks.owner(k, ContextBank::new(bank? as u64)?)
}

/// An entry of the stream mapping table: which streams, and where to.
#[derive(Clone, Copy)]
struct Stream {
    smr: u64,
    s2cr: u64,
}

impl Stream {
    /// Whether it routes streams to a bank of a VM.
    fn is_vms(self, banks: &SmmuBanks, k: SmmuIndex) -> bool {
        let owner = bank_owner(banks, k, routed_to(self.s2cr));
        self.smr & SMR_VALID != 0 && owner.is_some_and(|owner| owner != HOSTVISOR)
    }

    /// Whether a stream, with an id in the bits `ids`, can match both.
    fn meets(self, other: Self, ids: u64) -> bool {
        let mask = (self.smr | other.smr) >> SMR_MASK_SHIFT;
        self.smr & other.smr & SMR_VALID != 0 && (self.smr ^ other.smr) & ids & !mask == 0
    }
}

/// Entry `entry`, if there is one. Without stream matching each entry is its own stream's.
fn stream<M: Machine>(smmu: &Smmu<'_, M>, entry: u64) -> Option<Stream> {
    let smr = if smmu.matches_streams() { smmu.read(gr0::SMR.start + 4 * entry) } else { SMR_VALID };
    let s2cr = smmu.read(gr0::S2CR.start + 4 * entry);
    (entry < smmu.stream_entries()).then_some(Stream { smr, s2cr })
}

/// Whether entry `entry` may become `after`: the streams of a VM stay with it until its bank is freed, and no stream of a VM
/// is matched twice.
fn may_become<M: Machine>(smmu: &Smmu<'_, M>, banks: &SmmuBanks, k: SmmuIndex, entry: u64, after: Stream) -> bool {
    let Some(before) = stream(smmu, entry) else { return false };
    let ids = STREAM_ID & ((1 << smmu.stream_id_bits()) - 1);
    let others = (0..smmu.stream_entries()).filter(|&other| other != entry && smmu.matches_streams());
    let mut met = others.filter_map(|other| stream(smmu, other)).filter(|&other| after.meets(other, ids));
    !before.is_vms(banks, k) && !met.any(|other| other.is_vms(banks, k) || after.is_vms(banks, k))
}
