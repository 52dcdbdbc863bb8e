// SPDX-License-Identifier: GPL-2.0-only
//! Shared VMs: the host reaches all of their memory, and says where their vCPUs begin; other VMs stay out of reach.

use super::{Guest, IMAGE, TRANSLATION, access, esr, hpfar, record, vcpu, vm, with_context};
use crate::abi::run_page::inject::DATA_ABORT;
use crate::abi::run_page::{FAULT_ADDR, FLAGS, NEW_PAGE, PC, PSTATE, X};
use crate::abi::vm_call::{FEATURES, HYP_MEMINFO, MEASUREMENT, MEM_SHARE, MEM_UNSHARE, SET_DESC_PFN, UNSET_DESC_PFN};
use crate::abi::{DENIED, INVALID_PARAMETER, NOT_SUPPORTED};
use crate::addr::{HOSTVISOR, Pa, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::memory::{Count, S2Page};
use crate::npt::Level;
use crate::refused::Refused;
use crate::trap::{Exit, Syndrome};
use crate::vcpu::{Next, ShadowContext, Sys};
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

/// Where a shared VM has nothing, beyond what a protected one could have devices.
const DEVICE: u64 = 0x80_0000_3000;

/// A shared VM that has left with `syndrome` for an access to [`DEVICE`] plus 0xABC.
fn stumbled(syndrome: u64) -> Guest {
    let mut guest = guest();
    guest.run_with_canaries();
    assert_eq!(guest.exit(Exit::Trap, [syndrome, hpfar(DEVICE), 0xFFFF_0000_0000_0ABC]), Next::Host);
    guest
}

// Tests: VA-3, VA-6, VO-1, VO-2
#[test]
fn a_shared_vm_has_devices_wherever_nothing_is_mapped() {
    // A load: the host says what it gives.
    let mut guest = stumbled(access(7, 2, false));
    assert_eq!((guest.shown(), guest.told()), (std::vec![], [access(7, 2, false), hpfar(DEVICE), 0xABC]));
    (0..31).for_each(|i| guest.put(0, X + i * 8, 0x5A + i));
    let before = guest.context();
    assert_eq!((before.dirty, before.flags), (ShadowContext::DIRTY_PC | 1 << 7, ShadowContext::PENDING_FAULT));
    assert_eq!(guest.run(), Next::Vm);
    for i in 0..31 {
        assert_eq!(guest.regs[i], if i == 7 { 0x5A + 7 } else { before.x[i] }, "x{i}");
    }
    assert_eq!((guest.cpu().registers.pc, guest.context().flags), (IMAGE + 4, 0));
    // A store: it sees what is stored, and no more.
    let mut guest = stumbled(access(9, 1, true));
    assert_eq!(guest.word(0, X + 9 * 8), guest.context().x[9] & 0xFFFF);
    assert_eq!((guest.shown(), guest.told()), (std::vec![], [access(9, 1, true), hpfar(DEVICE), 0xABC]));
    (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
    let before = guest.context();
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!((guest.regs, guest.cpu().registers.pc), (before.x, IMAGE + 4));
}

// Tests: VA-3, VA-6, VA-8, VO-2
#[test]
fn the_host_of_a_shared_vm_offers_a_page_instead_and_the_access_is_made_again() {
    for syndrome in [access(7, 3, false), access(7, 3, true)] {
        // The second time the page is there already, as if another vCPU had been first.
        let mut guest = stumbled(syndrome);
        for _ in 0..2 {
            (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
            guest.put(0, FAULT_ADDR, DEVICE);
            guest.put(0, NEW_PAGE, RAM + 4 * MIB);
            let before = guest.context();
            assert_eq!(guest.run(), Next::Vm);
            assert_eq!((guest.regs, guest.cpu().registers.pc), (before.x, IMAGE), "it tries again");
            assert_eq!((guest.context().dirty, guest.context().flags), (0, 0));
            assert_eq!(guest.core.machine().walk(vm(2), ipa(DEVICE)).unwrap().pa(ipa(DEVICE)), RAM + 4 * MIB);
            assert_eq!(guest.exit(Exit::Trap, [syndrome, hpfar(DEVICE), 0xABC]), Next::Host);
        }
        // One that is refused leaves everything to be decided.
        guest.put(0, NEW_PAGE, 2 * GIB);
        let before = guest.context();
        assert_eq!((guest.run(), guest.regs[0]), (Next::Host, DENIED as u64));
        assert_eq!(guest.context(), before);
        guest.put(0, FAULT_ADDR, DEVICE + 4096);
        assert_eq!((guest.run(), guest.regs[0]), (Next::Host, INVALID_PARAMETER as u64));
        assert_eq!(guest.context(), before);
        guest.put(0, FAULT_ADDR, 0);
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.cpu().registers.pc, IMAGE + 4);
    }
}

// Tests: VA-7, VO-2
#[test]
fn the_host_of_a_shared_vm_has_an_abort_taken_where_it_has_nothing() {
    for syndrome in [access(7, 3, false), access(7, 3, true)] {
        let mut guest = stumbled(syndrome);
        (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
        guest.put(0, FLAGS, DATA_ABORT);
        let before = guest.context();
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.regs, before.x);
        let registers = guest.cpu().registers;
        assert_eq!((registers.elr_el1, registers.sys[Sys::FarEl1]), (IMAGE, 0xFFFF_0000_0000_0ABC));
        assert_eq!(registers.sys[Sys::EsrEl1] & Syndrome::CLASS, 0x25 << 26);
    }
}

// Tests: VA-6
#[test]
fn what_a_shared_vm_does_there_that_is_no_access_of_a_register_is_for_a_page() {
    let pair = access(7, 3, false) & !Syndrome::ISV;
    for syndrome in [pair, pair | Syndrome::S1PTW, esr(0x20, TRANSLATION)] {
        let mut guest = stumbled(syndrome);
        assert_eq!((guest.shown(), guest.told()), (std::vec![], [syndrome & Syndrome::FAULT, hpfar(DEVICE), 0]));
        assert_eq!((guest.context().dirty, guest.context().flags), (0, ShadowContext::PENDING_FAULT));
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!(guest.cpu().registers.pc, IMAGE, "it tries again");
    }
    // Of a VM that is not shared the host learns nothing of an access to memory.
    let mut guest = Guest::new();
    guest.run_with_canaries();
    assert_eq!(guest.exit(Exit::Trap, [access(7, 2, false), hpfar(DEVICE), 0xABC]), Next::Host);
    assert_eq!(guest.told(), [access(7, 2, false) & Syndrome::FAULT, hpfar(DEVICE), 0]);
    assert_eq!(guest.context().dirty, 0);
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
