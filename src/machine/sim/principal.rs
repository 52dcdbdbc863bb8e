// SPDX-License-Identifier: GPL-2.0-only
//! What principals do by themselves, without Corevisor: the accesses to memory of the one that runs on a CPU, and of a
//! device behind a context bank. Of a page they load and store the first word.

use super::{Fault, SimMachine};
use crate::addr::{Gfn, HOSTVISOR, Ipa, Pa};
use crate::corevisor::Corevisor;
use crate::machine::Machine;
use crate::mmio::{ContextBank, SmmuIndex};
use crate::trap::Registers;

impl SimMachine {
    /// Spec: SS-4. A device behind bank `b` of SMMU `k` loads the aligned word at `iova` (AM-127 `dev_load_raw`).
    pub fn dev_load_ref(&self, k: SmmuIndex, b: ContextBank, iova: Ipa) -> Result<u64, Fault> {
        Ok(self.load(Pa::low_48(self.dma_access(k, b, iova)?.pa(iova))))
    }

    /// Spec: SS-5. The same, storing (AM-128 `dev_store_raw`).
    pub fn dev_store_ref(&self, k: SmmuIndex, b: ContextBank, iova: Ipa, value: u64) -> Result<(), Fault> {
        let pa = Pa::low_48(self.dma_access(k, b, iova)?.pa(iova));
        self.shared_store(pa, value);
        Ok(())
    }
}

impl Corevisor<SimMachine> {
    /// Spec: TH-5. The principal that runs on this CPU, with `regs`, loads from its page `gfn` into register `reg` (AM-125
    /// `mem_load_raw`).
    pub fn mem_load(&self, gfn: Gfn, reg: usize, regs: &mut Registers) -> Result<(), Fault> {
        let v = self.current().map_or(HOSTVISOR, |(v, _)| v);
        regs[reg] = self.machine().mem_load_ref(v, gfn.base())?;
        Ok(())
    }

    /// Spec: TH-6. The same, storing (AM-126 `mem_store_raw`).
    pub fn mem_store(&self, gfn: Gfn, reg: usize, regs: &Registers) -> Result<(), Fault> {
        let v = self.current().map_or(HOSTVISOR, |(v, _)| v);
        self.machine().mem_store_ref(v, gfn.base(), regs[reg])
    }

    /// Spec: TH-7. A device behind bank `b` of SMMU `k`, of the principal that runs, loads from page `gfn` into the
    /// principal's register `reg`.
    pub fn dev_load(
        &self,
        gfn: Gfn,
        reg: usize,
        b: ContextBank,
        k: SmmuIndex,
        regs: &mut Registers,
    ) -> Result<(), Fault> {
        regs[reg] = self.machine().dev_load_ref(k, b, gfn.base())?;
        Ok(())
    }

    /// Spec: TH-8. The same, storing.
    pub fn dev_store(&self, gfn: Gfn, reg: usize, b: ContextBank, k: SmmuIndex, regs: &Registers) -> Result<(), Fault> {
        self.machine().dev_store_ref(k, b, gfn.base(), regs[reg])
    }
}
