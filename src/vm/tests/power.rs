// SPDX-License-Identifier: GPL-2.0-only
//! VMs that are off.

use super::{boot, each_state, info, register, vm};
use crate::lock::Held;
use crate::vm::VmState;
use crate::world::snapshot;

// Tests: VP-1, VP-2
#[test]
fn only_a_vm_that_was_powered_off_is_off() {
    let core = boot();
    let held = &mut Held::nothing();
    assert!(core.get_vm_poweron(vm(9), held), "D-16: not even one that does not exist");
    let v = register(&core);
    each_state(&core, v, |state| {
        let on = state.is_some_and(|state| state != VmState::Poweroff);
        let before = snapshot(&core);
        assert_eq!(core.get_vm_poweron(v, &mut Held::nothing()), on, "{state:?}");
        assert_eq!(snapshot(&core), before);
        core.set_vm_poweroff(v, &mut Held::nothing());
        assert_eq!(info(&core, v, |info| info.state), VmState::Poweroff);
        assert!(!core.get_vm_poweron(v, &mut Held::nothing()));
    });
}
