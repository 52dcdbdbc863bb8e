// SPDX-License-Identifier: GPL-2.0-only
//! New VMs and vCPUs.

use super::{RUN_PAGE, assert_refused, boot, context, destroy, each_state, info, register, set_count, vcpu, vm};
use crate::abi::{self, dma_control, stat};
use crate::addr::{COREVISOR, HOSTVISOR};
use crate::dma_policy::DmaPolicy;
use crate::lock::Held;
use crate::memory::{Count, S2Page};
use crate::mmio::SmmuConfig;
use crate::refused::Refused;
use crate::vcpu::ShadowContext;
use crate::vm::{VcpuState, VmFlags, VmState};
use crate::world::{self, GIB, MIB, World, ipa, pfn, range, record, set_record};

// Tests: BO-5, LK-5, LK-11
#[test]
fn a_new_vm_is_ready_and_has_an_empty_table() {
    let core = boot();
    for id in 1..16 {
        let v = register(&core);
        assert_eq!(v, vm(id));
        assert_eq!(info(&core, v, |info| (info.state, info.inc_exe, info.images.len())), (VmState::Ready, false, 0));
        assert!(core.machine().walk(v, ipa(0x8000_0000)).is_err());
        assert!(core.root(v).is_some());
    }
    assert_eq!(world::stat(&core, stat::VMS), 15);
    assert_refused(&core, Refused::NoVmid, |core| core.register_kvm(VmFlags::empty(), &mut Held::nothing()));
}

// Tests: BO-5
#[test]
fn a_vm_is_what_it_was_made_as_until_it_is_destroyed() {
    let core = boot();
    let counts = |core: &world::Core| [stat::UNSIGNED_VMS, stat::SHARED_VMS].map(|id| world::stat(core, id));
    let kinds = [VmFlags::empty(), VmFlags::UNSIGNED, VmFlags::SHARED, VmFlags::all()];
    let made = kinds.map(|flags| core.register_kvm(flags, &mut Held::nothing()).unwrap());
    assert_eq!(made.map(|v| info(&core, v, |info| info.flags)), kinds);
    assert_eq!(counts(&core), [2, 2]);
    core.set_vm_poweroff(made[1], &mut Held::nothing());
    assert_eq!(counts(&core), [2, 2], "it exists");
    destroy(&core, made[1]);
    assert_eq!(counts(&core), [1, 2]);
    destroy(&core, made[3]);
    assert_eq!(counts(&core), [0, 1]);
    destroy(&core, made[2]);
    assert_eq!(counts(&core), [0, 0]);
}

/// A machine with `smmus` of which one is driven by registers that the host knows, and `undriven` others.
fn with_smmus(smmus: bool, undriven: u64, required: bool) -> world::Core {
    let smmu = SmmuConfig::new(range(0x0905_0000, 0x1_0000), 8);
    let dma_policy = DmaPolicy { undriven, required };
    World { smmus: smmus.then_some(smmu).into_iter().collect(), dma_policy, ..World::default() }.boot()
}

// Tests: BO-5
#[test]
fn vms_that_need_protection_need_smmus_that_are_driven() {
    let kinds = [VmFlags::empty(), VmFlags::UNSIGNED, VmFlags::SHARED, VmFlags::all()];
    // Whether there is an SMMU, how many can't be driven, whether one is required; what STATS says, whether all VMs may be.
    for (smmus, undriven, required, control, all) in [
        (false, 0, false, dma_control::NONE, true),
        (false, 0, true, dma_control::NONE, false),
        (true, 0, false, dma_control::DRIVEN, true),
        (true, 0, true, dma_control::DRIVEN, true),
        (true, 1, false, dma_control::FAILED, false),
        (false, 1, false, dma_control::FAILED, false),
        (true, 2, true, dma_control::FAILED, false),
    ] {
        let core = with_smmus(smmus, undriven, required);
        assert_eq!(world::stat(&core, stat::DMA_CONTROL), control);
        assert_eq!(world::stat(&core, stat::DMA_EVENTS), 0);
        for flags in kinds {
            if all || flags.contains(VmFlags::SHARED) {
                core.register_kvm(flags, &mut Held::nothing()).unwrap();
            } else {
                assert_refused(&core, Refused::Unavailable, |core| core.register_kvm(flags, &mut Held::nothing()));
            }
        }
        assert_eq!(world::stat(&core, stat::VMS), if all { 4 } else { 2 });
    }
    assert_eq!(Refused::Unavailable.code(), abi::NOT_SUPPORTED);
}

// Tests: BO-5
#[test]
fn only_some_builds_have_unsigned_vms() {
    let core = boot();
    core.machine().allow_unsigned(false);
    for flags in [VmFlags::UNSIGNED, VmFlags::all()] {
        assert_refused(&core, Refused::NotSupported, |core| core.register_kvm(flags, &mut Held::nothing()));
    }
    core.register_kvm(VmFlags::SHARED, &mut Held::nothing()).unwrap();
    register(&core);
}

// Tests: BO-5
#[test]
fn without_a_table_or_in_a_used_record_no_vm_is_made_and_no_id_lost() {
    let core = boot();
    info(&core, vm(1), |info| info.state = VmState::Verified);
    assert_refused(&core, Refused::State(vm(1)), |core| core.register_kvm(VmFlags::empty(), &mut Held::nothing()));
    info(&core, vm(1), |info| info.state = VmState::Unused);
    core.frames().lock(&mut Held::nothing()).0.set_vm_pages(2);
    assert_refused(&core, Refused::NoTables(vm(1)), |core| core.register_kvm(VmFlags::empty(), &mut Held::nothing()));
    core.frames().lock(&mut Held::nothing()).0.set_vm_pages(3);
    assert_eq!(register(&core), vm(1));
}

// Tests: BO-4
#[test]
fn a_vcpu_is_made_once_in_a_ready_vm() {
    let core = boot();
    let v = register(&core);
    let held = &mut Held::nothing();
    context(&core, v, vcpu(7), |context| context.pc = 5);
    core.register_vcpu(v, vcpu(7), pfn(RUN_PAGE), held).unwrap();
    let made = info(&core, v, |info| *info.vcpu(vcpu(7)));
    assert_eq!((made.state, made.run_page), (VcpuState::Ready, Some(pfn(RUN_PAGE))));
    let fresh = ShadowContext { dirty: ShadowContext::NEVER_RUN, ..ShadowContext::ZERO };
    assert_eq!(context(&core, v, vcpu(7), |context| context.clone()), fresh);
    assert_eq!(record(&core, RUN_PAGE).count(), Count::Shares(1));
    // D-17: both conditions.
    let again = |core: &_| world::Core::register_vcpu(core, v, vcpu(7), pfn(RUN_PAGE), &mut Held::nothing());
    assert_refused(&core, Refused::State(v), again);
    each_state(&core, v, |state| {
        let other = |core: &world::Core| core.register_vcpu(v, vcpu(0), pfn(RUN_PAGE), &mut Held::nothing());
        if state != Some(VmState::Ready) {
            assert_refused(&core, Refused::State(v), other);
        }
    });
    for principal in [HOSTVISOR, COREVISOR] {
        let of = |core: &world::Core| core.register_vcpu(principal, vcpu(0), pfn(RUN_PAGE), &mut Held::nothing());
        assert_refused(&core, Refused::State(principal), of);
    }
}

// Tests: BO-4
#[test]
fn a_run_page_stays_the_hosts_as_long_as_there_is_the_vcpu() {
    let core = boot();
    let v = register(&core);
    let make = |c, address| core.register_vcpu(v, vcpu(c), pfn(address), &mut Held::nothing());
    make(0, RUN_PAGE).unwrap();
    make(1, RUN_PAGE).unwrap();
    assert_eq!(record(&core, RUN_PAGE).count(), Count::Shares(2));
    assert_refused(&core, Refused::Busy(pfn(RUN_PAGE)), |core| {
        core.assign_pfn_to_vm(v, ipa(0x8000_0000).frame(), pfn(RUN_PAGE), &mut Held::nothing())
    });
    let of_vm = S2Page::new(vm(3), Count::Shares(1), Some(7));
    set_record(&core, RUN_PAGE + 0x1000, of_vm);
    for (address, why) in [
        (RUN_PAGE + 0x1000, Refused::NotHostPage(pfn(RUN_PAGE + 0x1000))),
        (0x0900_0000, Refused::NotHostPage(pfn(0x0900_0000))),
        (GIB + 127 * MIB, Refused::NotHostPage(pfn(GIB + 127 * MIB))), // Corevisor's
    ] {
        assert_refused(&core, why, |core| core.register_vcpu(v, vcpu(2), pfn(address), &mut Held::nothing()));
    }
    for count in [Count::Shares(16), Count::DmaPending] {
        set_count(&core, RUN_PAGE, count);
        let why = Refused::Busy(pfn(RUN_PAGE));
        assert_refused(&core, why, |core| core.register_vcpu(v, vcpu(2), pfn(RUN_PAGE), &mut Held::nothing()));
    }
    set_count(&core, RUN_PAGE, Count::Shares(15));
    make(2, RUN_PAGE).unwrap();
    assert_eq!(record(&core, RUN_PAGE).count(), Count::Shares(16));
}
