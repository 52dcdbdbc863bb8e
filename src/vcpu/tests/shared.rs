// SPDX-License-Identifier: GPL-2.0-only
//! Shared VMs: the host reaches all of their memory, and says where their vCPUs begin; other VMs stay out of reach.

use super::{Guest, IMAGE, esr, record, vcpu, vm, with_context};
use crate::abi::run_page::{PC, PSTATE, X};
use crate::abi::vm_call::{FEATURES, HYP_MEMINFO, MEASUREMENT, MEM_SHARE, MEM_UNSHARE, SET_DESC_PFN, UNSET_DESC_PFN};
use crate::abi::{DENIED, NOT_SUPPORTED};
use crate::addr::{HOSTVISOR, Pa, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::memory::{Count, S2Page};
use crate::npt::Level;
use crate::refused::Refused;
use crate::trap::Exit;
use crate::vcpu::Next;
use crate::vm::VmFlags;
use crate::world::{self, Core, GIB, MIB, World, ipa, pfn, range, snapshot};

/// Where the VM has 2 MiB of memory, and where that lies.
const AT: u64 = 0x5000_0000;
const RAM: u64 = GIB + 4 * MIB;

fn boot() -> Core {
    World { ram: std::vec![range(GIB, 64 * MIB)], ..World::default() }.boot()
}

fn map(core: &Core, v: Vmid, at: u64, pa: u64, level: Level) -> Result<(), Refused> {
    let done = core.prot_and_map_vm_s2pt(v, ipa(at), Pa::new(pa).unwrap(), level, &mut Held::nothing());
    core.machine().check();
    done
}

fn touch(core: &Core, address: u64) -> Result<(), Refused> {
    core.map_page_host(ipa(address), &mut Held::nothing())
}

fn count(core: &Core, address: u64) -> Count {
    world::record(core, address).count()
}

/// The VM 2 of [`Guest`], shared, with memory at [`AT`].
fn guest() -> Guest {
    let guest = Guest::new();
    record(&guest.core, vm(2), |info| info.flags = VmFlags::SHARED);
    guest.core.acquire_lock_s2page(&mut Held::nothing()).0.set_granting(vm(2), true);
    map(&guest.core, vm(2), AT, RAM, Level::L2).unwrap();
    guest
}

// Tests: BO-5, MM-1, MM-2, MM-3, MM-6, MM-7, MO-2
#[test]
fn each_page_of_a_shared_vm_is_the_hosts_too_as_long_as_it_lives() {
    let core = boot();
    let held = &mut Held::nothing();
    let [shared, private] =
        [VmFlags::SHARED, VmFlags::empty()].map(|flags| core.register_kvm(flags, &mut Held::nothing()).unwrap());
    map(&core, shared, AT, RAM, Level::L2).unwrap();
    map(&core, shared, AT + 2 * MIB, RAM + 2 * MIB, Level::L3).unwrap();
    map(&core, private, AT, RAM + 4 * MIB, Level::L2).unwrap();
    for page in [RAM, RAM + 511 * 4096, RAM + 2 * MIB] {
        assert_eq!(world::record(&core, page).owner(), Some(shared));
        assert_eq!(count(&core, page), Count::Shares(1));
        touch(&core, page).unwrap();
        assert!(core.machine().access(HOSTVISOR, ipa(page)).is_ok());
        // The VM can't take that back, nor count itself below it.
        core.revoke_vm_page(shared, pfn(page), held).unwrap();
        core.grant_vm_page(shared, pfn(page), held);
        assert_eq!(count(&core, page), Count::Shares(2));
        for _ in 0..3 {
            core.revoke_vm_page(shared, pfn(page), held).unwrap();
        }
        assert_eq!(count(&core, page), Count::Shares(1));
        assert!(core.machine().access(HOSTVISOR, ipa(page)).is_ok());
    }
    // Another VM's stay its own, and nobody gets one of the shared VM.
    assert_eq!(touch(&core, RAM + 4 * MIB), Err(Refused::NotHostPage(pfn(RAM + 4 * MIB))));
    let before = snapshot(&core);
    assert_eq!(map(&core, private, AT + 2 * MIB, RAM, Level::L3), Err(Refused::NotHostPage(pfn(RAM))));
    assert_eq!(snapshot(&core), before);
    // What was there is not there any more when it has gone; nor is the VM's nature, when its id comes again.
    core.machine().write_page(pfn(RAM), &[0x5A; 4096]);
    while core.destroy_vm(shared, held).unwrap() > 0 {}
    for page in [RAM, RAM + 511 * 4096, RAM + 2 * MIB] {
        assert_eq!(world::record(&core, page), S2Page::host(pfn(page)));
        let mut bytes = [1; 4096];
        core.machine().read_page(pfn(page), &mut bytes);
        assert_eq!(bytes, [0; 4096]);
    }
    core.machine().check();
    map(&core, shared, AT, RAM, Level::L3).unwrap_err();
    core.new_npt(shared, held).unwrap();
    map(&core, shared, AT, RAM, Level::L3).unwrap();
    assert_eq!(count(&core, RAM), Count::Shares(0));
}

// Tests: MM-3, MM-8
#[test]
fn a_page_that_came_through_a_device_is_granted_when_the_vm_maps_it() {
    let guest = guest();
    let page = RAM + 2 * MIB;
    let pending = S2Page::new(vm(2), Count::DmaPending, Some(ipa(AT + 2 * MIB).frame().as_u64()));
    world::set_record(&guest.core, page, pending);
    map(&guest.core, vm(2), AT + 2 * MIB, page, Level::L3).unwrap();
    assert_eq!(count(&guest.core, page), Count::Shares(1));
}

// Tests: TD-2, FH-2
#[test]
fn a_shared_vm_has_nothing_to_share() {
    let mut guest = guest();
    guest.run_with_canaries();
    for (id, expected) in [(FEATURES, 1), (HYP_MEMINFO, NOT_SUPPORTED), (MEM_SHARE, -1), (MEM_UNSHARE, -1)] {
        guest.regs[..4].copy_from_slice(&[id.into(), if id == HYP_MEMINFO { 0 } else { AT }, 0, 0]);
        assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm);
        assert_eq!(guest.regs[0] as i64, expected, "{id:#x}");
    }
    for (call, expected) in [(UNSET_DESC_PFN, 1), (SET_DESC_PFN, 2), (UNSET_DESC_PFN, 1), (UNSET_DESC_PFN, 1)] {
        (guest.regs[0], guest.regs[2], guest.regs[3]) = (call, AT, 4096);
        assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm);
        assert_eq!(count(&guest.core, RAM), Count::Shares(expected));
    }
}

// Tests: VA-1, VO-2
#[test]
fn the_host_says_where_each_vcpu_of_a_shared_vm_begins_and_with_what() {
    let guest = guest();
    for id in 0..2 {
        (0..31).for_each(|i| guest.put(id, X + i * 8, 100 * (id + 1) + i));
        guest.put(id, PC, 0x1234_5678 + id);
        guest.put(id, PSTATE, 0b1001);
        let (mut regs, held) = ([0; 31], &mut Held::nothing());
        assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(id), &mut regs, held), Next::Vm);
        assert_eq!(regs, core::array::from_fn(|i| 100 * (id + 1) + i as u64));
        let r = guest.cpu().registers;
        assert_eq!((r.pc, r.pstate), (0x1234_5678 + id, 0x3C5), "but not at EL2");
        assert_eq!(guest.core.vm_exit_handler(Exit::Irq, &mut regs, held), Next::Host);
        // That was its beginning.
        (0..31).for_each(|i| guest.put(id, X + i * 8, 0xBAD));
        guest.put(id, PC, 0xBAD);
        let before = with_context(&guest.core, vm(2), vcpu(id), |context| (context.x, context.pc));
        assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(id), &mut regs, held), Next::Vm);
        assert_eq!((regs, guest.cpu().registers.pc), before);
        assert_eq!(guest.core.vm_exit_handler(Exit::Irq, &mut regs, held), Next::Host);
    }
}

// Tests: VO-2, TD-2
#[test]
fn but_what_the_shared_vm_turned_on_itself_begins_where_it_said_and_what_it_turned_off_is_off() {
    const CPU_ON: u64 = 0xC400_0003;
    const CPU_OFF: u64 = 0x8400_0002;
    let mut guest = guest();
    guest.run_with_canaries();
    guest.regs[..4].copy_from_slice(&[CPU_ON, 1, IMAGE, 5]);
    assert_eq!(guest.trap(esr(0x16, 0)), Next::Host);
    guest.put(1, PC, 0xBAD);
    let (mut regs, held) = ([0; 31], &mut Held::nothing());
    assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(1), &mut regs, held), Next::Vm);
    assert_eq!((regs[0], &regs[1..], guest.cpu().registers.pc), (5, &[0; 30][..], IMAGE));
    regs[0] = CPU_OFF;
    guest.core.machine().with_cpu(|cpu| cpu.registers.esr_el2 = esr(0x16, 0));
    assert_eq!(guest.core.vm_exit_handler(Exit::Trap, &mut regs, held), Next::Host);
    assert_eq!(guest.core.host_vcpu_run_handler(vm(2), vcpu(1), &mut regs, held), Next::Host);
    assert_eq!(regs[0], DENIED as u64);
}

// Tests: BO-17
#[test]
fn the_pages_of_a_shared_vm_are_the_hosts_to_save() {
    let guest = guest();
    let before = snapshot(&guest.core);
    let saved = guest.core.save_encrypt_buf(vm(2), pfn(RAM), pfn(GIB), &mut Held::nothing());
    assert_eq!(saved.err(), Some(Refused::NotVmPage(pfn(RAM))));
    assert_eq!(snapshot(&guest.core), before);
}

// Tests: TD-2
#[test]
fn a_vm_reads_its_own_measurement() {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    let ask = |guest: &mut Guest| {
        let before = guest.regs;
        guest.regs[0] = MEASUREMENT.into();
        assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm);
        (before, guest.regs)
    };
    record(&guest.core, vm(2), |info| info.measurement = None);
    let (before, after) = ask(&mut guest);
    assert_eq!((after[0], &after[1..]), (DENIED as u64, &before[1..]), "there is none");
    record(&guest.core, vm(2), |info| {
        info.measurement = Some(core::array::from_fn(|i| i as u8));
        info.flags = VmFlags::UNSIGNED;
    });
    let (before, after) = ask(&mut guest);
    let words = [0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908, 0x1716_1514_1312_1110, 0x1F1E_1D1C_1B1A_1918];
    assert_eq!((after[0], &after[1..5], after[5], &after[6..]), (0, &words[..], 1, &before[6..]));
    assert!(guest.shown().is_empty());
}
