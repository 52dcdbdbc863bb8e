// SPDX-License-Identifier: GPL-2.0-only
//! What a VM and the host see of each other's memory.

use super::{Guest, access, esr, hpfar};
use crate::abi::run_page::{FAULT_ADDR, NEW_PAGE};
use crate::abi::vm_call::{SET_DESC_PFN, UNSET_DESC_PFN};
use crate::addr::{Gfn, HOSTVISOR, Pa};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::mmio::{ContextBank, SmmuConfig, SmmuIndex};
use crate::npt::DescBits;
use crate::trap::{Exit, HostAbort, Syndrome, Verdict};
use crate::vcpu::Next;
use crate::world::{GIB, MIB, World, ipa, range};

const AT: u64 = 0x5000_0000;
/// The page that the VM gets.
const PAGE: u64 = GIB + 8 * MIB;

fn gfn(address: u64) -> Gfn {
    Gfn::new(address / 4096).unwrap()
}

/// The host touches [`PAGE`], after a fault if there is one. What it loads, or how the fault ends.
fn host_loads(guest: &mut Guest) -> Result<u64, Verdict> {
    let core = &guest.core;
    if core.mem_load(gfn(PAGE), 3, &mut guest.regs).is_err() {
        let syndrome = Syndrome(access(3, 3, false));
        let abort = HostAbort { syndrome, far: PAGE, hpfar: hpfar(PAGE), pc: 0 };
        let verdict = core.host_npt_handler(&abort, &mut guest.regs, &mut Held::nothing());
        if verdict != Verdict::Retry {
            return Err(verdict);
        }
        core.mem_load(gfn(PAGE), 3, &mut guest.regs).unwrap();
    }
    Ok(guest.regs[3])
}

/// The VM makes `call` for its page, and is then interrupted.
fn call(guest: &mut Guest, call: u64) {
    assert_eq!(guest.run(), Next::Vm);
    (guest.regs[0], guest.regs[2], guest.regs[3]) = (call, AT, 4096);
    assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm);
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
}

// Tests: TH-5, TH-6, NW-4, NW-5, VA-8, FH-2, FH-1
#[test]
fn a_page_is_the_hosts_then_the_vms_then_shared() {
    let mut guest = Guest::new();
    guest.regs[3] = 0x1111;
    guest.core.mem_store(gfn(PAGE), 3, &guest.regs).unwrap();
    guest.run_with_canaries();
    assert_eq!(guest.core.mem_load(gfn(AT), 4, &mut guest.regs), Err(Fault::Translation(1)));
    assert_eq!(guest.exit(Exit::Trap, [access(4, 3, false), hpfar(AT), AT]), Next::Host);
    guest.put(0, FAULT_ADDR, AT);
    guest.put(0, NEW_PAGE, PAGE);
    assert_eq!(guest.run(), Next::Vm);
    // What the host has written before is there; what the VM writes is the VM's.
    guest.core.mem_load(gfn(AT), 4, &mut guest.regs).unwrap();
    assert_eq!(guest.regs[4], 0x1111);
    guest.regs[4] = 0x5EC2;
    guest.core.mem_store(gfn(AT), 4, &guest.regs).unwrap();
    assert_eq!(guest.exit(Exit::Irq, [0; 3]), Next::Host);
    assert_eq!(host_loads(&mut guest), Err(Verdict::ExternalAbort));
    assert!(guest.core.mem_store(gfn(PAGE), 3, &guest.regs).is_err());
    call(&mut guest, SET_DESC_PFN);
    assert_eq!(host_loads(&mut guest), Ok(0x5EC2));
    call(&mut guest, UNSET_DESC_PFN);
    assert_eq!(host_loads(&mut guest), Err(Verdict::ExternalAbort));
    assert_eq!(guest.core.current(), None);
    assert_eq!(guest.context().x[4], 0x5EC2);
}

// Tests: TH-7, TH-8, SS-4, SS-5
#[test]
fn a_device_reaches_what_its_bank_maps() {
    const PROT: u64 = DescBits::READ.bits() | DescBits::WRITE.bits() | DescBits::NORMAL_WB.bits();
    let smmu = SmmuConfig::new(range(0x0905_0000, 0x1_0000), 8);
    let world = World { ram: std::vec![range(GIB, 64 * MIB)], smmus: std::vec![smmu], ..World::default() };
    let core = world.boot();
    let (b, k) = (ContextBank::new(1).unwrap(), SmmuIndex::new(0).unwrap());
    let held = &mut Held::nothing();
    let mut regs = [0; 31];
    assert!(core.dev_load(gfn(AT), 3, b, k, &mut regs).is_err(), "the bank is nobody's");
    core.el2_alloc_smmu_pgd(b, HOSTVISOR, k, held).unwrap();
    core.el2_arm_lpae_map(ipa(AT), Pa::new(PAGE).unwrap(), PROT, b, k, held).unwrap();
    regs[5] = 0xD0;
    core.dev_store(gfn(AT), 5, b, k, &regs).unwrap();
    core.mem_load(gfn(PAGE), 6, &mut regs).unwrap();
    core.dev_load(gfn(AT), 7, b, k, &mut regs).unwrap();
    assert_eq!((regs[6], regs[7]), (0xD0, 0xD0));
    core.el2_arm_lpae_clear(ipa(AT), b, k, held).unwrap();
    assert!(core.dev_store(gfn(AT), 5, b, k, &regs).is_err());
}
