// SPDX-License-Identifier: GPL-2.0-only
//! Layers VCPUOpsAux and VCPUOps, function by function, for tests outside the library.

use crate::addr::{Ipa, VcpuId, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::sim::SimMachine;
use crate::refused::Refused;
use crate::trap::inject::Exception;

/// A function of the layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auxiliary {
    /// VA-1.
    ResetGp,
    /// VA-2.
    ResetSys,
    /// VA-3.
    Sync,
    /// VA-4.
    Wfx,
    /// VA-5.
    Hvc,
    /// VA-6.
    Abort,
    /// VA-7, for an undefined instruction.
    Exception,
    /// VA-8, for this address.
    Fault(Ipa),
    /// VO-1.
    Save,
    /// VO-2.
    Restore,
}

impl Corevisor<SimMachine> {
    /// Runs `function` for vCPU `vcpu` of `v`.
    ///
    /// # Errors
    /// Those of the function.
    pub fn auxiliary(&self, function: Auxiliary, v: Vmid, vcpu: VcpuId) -> Result<(), Refused> {
        let mut nothing = Held::nothing();
        let (mut context, mut held) = self.context(v, vcpu, &mut nothing)?;
        let turn = self.acquire_lock_vm(v, &mut held).0.turn(vcpu);
        let page = &self.run_page(v, turn.info.run_page)?;
        match function {
            Auxiliary::ResetGp => return self.reset_gp_regs(v, vcpu, page, &mut context, &mut held),
            Auxiliary::ResetSys => self.reset_sys_regs(vcpu, &mut context),
            Auxiliary::Sync => self.sync_dirty_to_shadow(page, &mut context),
            Auxiliary::Wfx => self.prep_wfx(page, &mut context),
            Auxiliary::Hvc => self.prep_hvc(v, page, &mut context, &mut held),
            Auxiliary::Abort => self.prep_abort(v, page, &mut context, &mut held),
            Auxiliary::Exception => self.update_exception_gp_regs(&mut context, Exception::Undefined),
            Auxiliary::Save => return self.save_shadow_kvm_regs(v, page, &mut context, &mut held),
            Auxiliary::Restore => {
                return self.restore_shadow_kvm_regs((v, vcpu), &turn, page, &mut context, &mut held);
            }
            Auxiliary::Fault(ipa) => return self.post_handle_shadow_s2pt_fault(v, page, ipa, &mut held),
        }
        Ok(())
    }
}
