// SPDX-License-Identifier: GPL-2.0-only
//! Device memory of a VM: BO-13.

use crate::addr::{Ipa, Pa, Vmid};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use crate::refused::Refused;
use crate::vm::VmState;

impl<M: Machine> Corevisor<M> {
    /// Spec: BO-13. Maps the page of `gpa` of the VM `v`, which is being built, to the device page of `pa` (MM-5). Locks
    /// VM(v), then S2PAGE and PT(v).
    ///
    /// # Errors
    /// If `v` is in another state (D-08), and as MM-5.
    pub fn map_io<const OUTER: u8>(
        &self,
        v: Vmid,
        gpa: Ipa,
        pa: Pa,
        outer: &mut Held<'_, OUTER>,
    ) -> Result<(), Refused> {
        let (vm, mut held) = self.acquire_lock_vm(v, outer);
        if vm.state != VmState::Ready {
            return Err(Refused::State(v));
        }
        self.map_vm_io(v, gpa, pa, &mut held)
    }
}
