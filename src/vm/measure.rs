// SPDX-License-Identifier: GPL-2.0-only
//! What a VM began as, for itself and for the host to know.

use super::{Measurement, VmFlags};
use crate::addr::Vmid;
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;

impl<M: Machine> Corevisor<M> {
    /// The measurement of `v`, and what kind of VM it is. Lock VM(v).
    ///
    /// # Errors
    /// [`Refused::State`] if it was never VERIFIED, or is being destroyed.
    pub fn measurement<const OUTER: u8>(
        &self,
        v: Vmid,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(Measurement, VmFlags), Refused> {
        let (vm, _) = self.acquire_lock_vm(v, outer);
        let measurement = vm.measurement.filter(|_| vm.destroying.is_none());
        Ok((measurement.ok_or(Refused::State(v))?, vm.flags))
    }
}
