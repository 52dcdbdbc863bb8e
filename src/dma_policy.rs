// SPDX-License-Identifier: GPL-2.0-only
//! Whether SMMUs restrict what devices reach, and what follows for VMs that need protection from them.

use crate::abi::dma_control;
use crate::corevisor::Corevisor;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vm::VmFlags;

/// What boot has found, of SMMUs that the core does not know, and what was decided when it was built.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DmaPolicy {
    /// SMMUs of the device tree that can't be driven: what lies behind them is cut off, or not, nobody knows.
    pub undriven: u64,
    /// Whether VMs that need protection need an SMMU (feature `require-smmu`, or that on Corevisor's command line).
    pub required: bool,
}

impl<M: Machine> Corevisor<M> {
    /// Whether SMMUs restrict DMA: the value of [`crate::abi::stat::DMA_CONTROL`].
    pub fn dma_control(&self) -> u64 {
        let smmu3s = self.smmu3s();
        let driven = smmu3s.iter().filter(|smmu| smmu.is_driven()).count();
        let undriven = self.dma_policy().undriven + (smmu3s.len() - driven) as u64;
        match (undriven, self.smmus().len() + driven) {
            (0, 0) => dma_control::NONE,
            (0, _) => dma_control::DRIVEN,
            _ => dma_control::FAILED,
        }
    }

    /// Whether VMs that need protection need an SMMU.
    pub fn requires_smmu(&self) -> bool {
        self.dma_policy().required
    }

    /// Whether a VM with `flags` may be made, as far as devices go. One whose memory the host may access anyway always may.
    ///
    /// # Errors
    /// [`Refused::Unavailable`] if it needs protection, and there is an SMMU that can't be driven; or if SMMUs are required,
    /// and there is none.
    pub(crate) fn check_dma(&self, flags: VmFlags) -> Result<(), Refused> {
        let protects = match self.dma_control() {
            dma_control::DRIVEN => true,
            dma_control::NONE => !self.requires_smmu(),
            _ => false,
        };
        if protects || flags.contains(VmFlags::SHARED) { Ok(()) } else { Err(Refused::Unavailable) }
    }
}
