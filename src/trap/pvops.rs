// SPDX-License-Identifier: GPL-2.0-only
//! Layer: FaultHandler (`spec/layers/09-traps.md` §9.2), the part for VMs: their calls to Corevisor.

use crate::abi::vm_call;
use crate::addr::{Ipa, PAGE_SIZE, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vcpu::{ShadowContext, Unfinished};

/// What became of a VM's call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pvops {
    /// It is done.
    Done,
    /// There is more to do than can be done at once: [`ShadowContext::unfinished`].
    Unfinished,
    /// It is none of Corevisor's; the host's, perhaps.
    NotOurs,
}

impl<M: Machine> Corevisor<M> {
    /// Spec: FH-2. Carries out the call of `v` that `context` has in x0, with address and size in x2 and x3 (D-48). What is
    /// out of range is ignored. Locks of MO-3, MO-4.
    ///
    /// # Errors
    /// Those of MO-3, MO-4: `v` broke a rule.
    pub(super) fn core_handle_pvops<const OUTER: u8>(
        &self,
        v: Vmid,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<Pvops, Refused> {
        let [call, _, address, size, ..] = context.x;
        if call != vm_call::SET_DESC_PFN && call != vm_call::UNSET_DESC_PFN {
            return Ok(Pvops::NotOurs);
        }
        let pages = Ipa::new(address).zip(size.checked_next_multiple_of(PAGE_SIZE));
        let Some(ipa) = pages.and_then(|(ipa, size)| ipa.checked_add(size).map(|_| ipa)) else {
            return Ok(Pvops::Done);
        };
        context.unfinished = Some(Unfinished { call, ipa, size, done: 0 });
        Ok(if self.continue_pvops(v, context, outer)? { Pvops::Done } else { Pvops::Unfinished })
    }

    /// Does the next part of the call that the vCPU is in, if it is in one. Whether nothing is left of it. Locks of MO-3,
    /// MO-4.
    ///
    /// # Errors
    /// Those of MO-3, MO-4; then it is over, too.
    #[inline(always)]
    pub(crate) fn continue_pvops<const OUTER: u8>(
        &self,
        v: Vmid,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<bool, Refused> {
        match context.unfinished.take() {
            None => Ok(true),
            Some(unfinished) => self.do_part(v, unfinished, context, outer),
        }
    }

    fn do_part<const OUTER: u8>(
        &self,
        v: Vmid,
        Unfinished { call, ipa, size, done }: Unfinished,
        context: &mut ShadowContext,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<bool, Refused> {
        let done = match call {
            vm_call::SET_DESC_PFN => self.grant_stage2_sg_gpa(v, ipa, size, done, outer)?,
            _ => self.revoke_stage2_sg_gpa(v, ipa, size, done, outer)?,
        };
        let finished = done >= size.div_ceil(PAGE_SIZE);
        context.unfinished = (!finished).then_some(Unfinished { call, ipa, size, done });
        Ok(finished)
    }
}
