// SPDX-License-Identifier: GPL-2.0-only
//! The calls that VMs make by the SMC Calling Convention, and what of them the host gets to see.

use super::{Guest, IMAGE, esr, vm};
use crate::abi::vm_call::{FEATURES, FEATURES_BITMAP, HYP_MEMINFO, MEM_SHARE, MEM_UNSHARE, MMIO_GUARD, SET_DESC_PFN};
use crate::abi::{self, CALL_UID, INVALID_PARAMETER, NOT_SUPPORTED, exit};
use crate::addr::{ADDR_SPACE, HOSTVISOR, Pa};
use crate::lock::Held;
use crate::machine::sim::Fault;
use crate::memory::Count;
use crate::npt::Level;
use crate::refused::Refused;
use crate::trap::{Firmware, Registers};
use crate::vcpu::Next;
use crate::vm::VmState;
use crate::world::{self, GIB, MIB, World, ipa, range, snapshot};
use std::vec::Vec;

/// Where a VM has 2 MiB of memory, and where that lies.
const AT: u64 = 0x5000_0000;
const RAM: u64 = GIB + 4 * MIB;
/// SMCCC_ARCH_FEATURES.
const ARCH_FEATURES: u32 = 0x8000_0001;
/// Junk for the upper half of x0, and the SVE hint.
const JUNK: u64 = 0xBAD_F00D << 32 | 1 << 16;

/// A VM that runs, with memory at [`AT`].
fn guest_with_memory() -> Guest {
    let mut guest = Guest::new();
    let held = &mut Held::nothing();
    guest.core.prot_and_map_vm_s2pt(vm(2), ipa(AT), Pa::new(RAM).unwrap(), Level::L2, held).unwrap();
    guest.run_with_canaries();
    guest
}

/// Makes a call that Corevisor answers: returns the registers. The VM goes on after it, and the host has seen nothing.
fn answered(guest: &mut Guest, id: u32, args: [u64; 3]) -> Registers {
    guest.regs[0] = JUNK | u64::from(id);
    guest.regs[1..4].copy_from_slice(&args);
    let before = (guest.regs, guest.told());
    assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm, "{id:#x}");
    assert_eq!((guest.regs[4..].to_vec(), guest.told()), (before.0[4..].to_vec(), before.1), "{id:#x}");
    assert_eq!((guest.cpu().registers.pc, guest.shown()), (IMAGE, Vec::new()));
    guest.regs
}

/// The same for a call with one result.
fn x0(guest: &mut Guest, id: u32, args: [u64; 3]) -> i64 {
    let regs = answered(guest, id, args);
    assert_eq!(regs[1..4], args, "{id:#x}");
    regs[0] as i64
}

// Tests: TD-2
#[test]
fn a_vm_learns_who_answers_and_what_there_is() {
    let mut guest = guest_with_memory();
    assert_eq!(x0(&mut guest, 0x8000_0000, [7; 3]), 0x1_0002);
    let uid = answered(&mut guest, CALL_UID, [7; 3]);
    assert_eq!(uid[..4], [0xB66F_B428, 0xE911_C52E, 0x564B_CAA9, 0x743A_004D]);
    let features = answered(&mut guest, FEATURES, [7; 3]);
    assert_eq!(features[..4], [u64::from(FEATURES_BITMAP), 0, 0, 0]);
    // Exactly the calls that exist.
    for number in 1..32 {
        let id = 0xC600_0000 | number;
        let exists = answered(&mut guest, id, [0; 3])[0] as i64 != NOT_SUPPORTED;
        assert_eq!(FEATURES_BITMAP >> number & 1 == 1, exists, "{id:#x}");
    }
    assert_eq!(x0(&mut guest, HYP_MEMINFO, [0; 3]), 4096);
    for i in 0..3 {
        let mut args = [0; 3];
        args[i] = 1;
        assert_eq!(x0(&mut guest, HYP_MEMINFO, args), INVALID_PARAMETER);
    }
}

// ATTACKS 39, 43
// Tests: TD-2
#[test]
fn what_does_not_exist_is_not_supported_and_never_reaches_the_host() {
    let mut guest = guest_with_memory();
    let ids = [
        0x8000_0002, // SOC_ID
        0x8000_7FFF, // ARCH_WORKAROUND_2
        0x8000_FFFF,
        0xC000_0000,
        0x8400_0005, // MIGRATE
        0x8400_000B, // CPU_FREEZE
        0x8400_000E, // SYSTEM_SUSPEND
        0xC400_0002, // CPU_OFF has no 64-bit form
        0x8400_001F,
        0x8400_0054,
        0xC400_0050,
        0x8400_FF01,
        0x8600_0001,
        0x8600_FF03,
        0xC600_0000,
        0xC600_0001, // PTP
        0xC600_1000 + abi::host_call::REGISTER_KVM,
        0xC600_1000 + abi::host_call::DESTROY_VM,
        0xC600_FFFF,
    ];
    for id in ids {
        assert_eq!(x0(&mut guest, id, [1, 2, 3]), NOT_SUPPORTED, "{id:#x}");
    }
    // Nor is there a call with another immediate, not even the specification's.
    for call in [SET_DESC_PFN, 0x8400_0000, 5] {
        (guest.regs[0], guest.regs[2], guest.regs[3]) = (call, AT, 0x1000);
        let before = guest.regs;
        assert_eq!(guest.trap(esr(0x16, 7)), Next::Vm);
        assert_eq!((guest.regs[0] as i64, &guest.regs[1..]), (NOT_SUPPORTED, &before[1..]));
        assert_eq!(world::record(&guest.core, RAM).count(), Count::Shares(0));
    }
}

// Tests: TD-2, VA-5, VO-1
#[test]
fn calls_of_others_go_to_the_host_which_sees_x0() {
    for id in [0x8100_0000_u64, 0xC300_0001, 0x8500_0020, 0xF200_0000, 5, 0x0400_0000] {
        let mut guest = guest_with_memory();
        guest.regs[0] = id;
        assert_eq!(guest.trap(esr(0x16, 0)), Next::Host, "{id:#x}");
        assert_eq!((guest.regs[0], guest.word(0, 0), guest.shown()), (exit::TRAP, id, Vec::new()));
        guest.put(0, 0, 77);
        assert_eq!((guest.run(), guest.regs[0]), (Next::Vm, 77));
    }
}

// ATTACKS 44
// Tests: TD-2
#[test]
fn an_smc_is_undefined_whatever_it_asks_and_no_firmware_hears_of_it() {
    for id in [0x8400_0008_u64, 0x8400_0000, 0x8000_8000, 0xC600_0003] {
        let mut guest = guest_with_memory();
        guest.regs[0] = id;
        guest.core.machine().with_cpu(|cpu| cpu.registers.sys[crate::vcpu::Sys::VbarEl1] = 0x8000);
        let before = guest.regs;
        assert_eq!(guest.trap(esr(0x17, 0)), Next::Vm);
        let r = guest.cpu().registers;
        // ELR_EL2 pointed at the SMC, and so does ELR_EL1 now; after an HVC it is past it (`answered`).
        assert_eq!((guest.regs, r.pc, r.elr_el1), (before, 0x8200, IMAGE));
        assert_eq!((guest.core.machine().take_calls(), guest.vm_state()), (Vec::new(), VmState::Verified));
    }
}

fn count(guest: &Guest, page: u64) -> Count {
    world::record(&guest.core, RAM + page * 4096).count()
}

/// The host touches a page.
fn touch(guest: &Guest, address: u64) -> Result<(), Refused> {
    guest.core.map_page_host(ipa(address), &mut Held::nothing())
}

// ATTACKS 25
// Tests: TD-2, MM-1, MM-6, MM-7
#[test]
fn a_page_that_a_vm_shares_is_the_hosts_too_until_it_ends_that() {
    let mut guest = guest_with_memory();
    assert_eq!(touch(&guest, RAM + 4096), Err(Refused::NotHostPage(world::pfn(RAM + 4096))));
    assert_eq!(x0(&mut guest, MEM_SHARE, [AT + 4096, 0, 0]), 0);
    assert_eq!([0, 1, 2].map(|page| count(&guest, page)), [0, 1, 0].map(Count::Shares));
    touch(&guest, RAM + 4096).unwrap();
    assert!(guest.core.machine().access(HOSTVISOR, ipa(RAM + 4096)).is_ok());
    assert!(touch(&guest, RAM).is_err() && touch(&guest, RAM + 8192).is_err(), "its neighbours are not shared");
    assert_eq!(x0(&mut guest, MEM_UNSHARE, [AT + 4096, 0, 0]), 0);
    // The host's mapping, and what its TLB held of it, is gone before the VM goes on.
    assert!(matches!(guest.core.machine().access(HOSTVISOR, ipa(RAM + 4096)), Err(Fault::Translation(_))));
    assert_eq!(touch(&guest, RAM + 4096), Err(Refused::NotHostPage(world::pfn(RAM + 4096))));
    assert_eq!(count(&guest, 1), Count::Shares(0));
    guest.core.machine().check();
    // And again.
    assert_eq!(x0(&mut guest, MEM_SHARE, [AT + 4096, 0, 0]), 0);
    assert_eq!(count(&guest, 1), Count::Shares(1));
}

/// A call about a page that is refused, with nothing changed.
fn mistaken(guest: &mut Guest, id: u32, args: [u64; 3]) {
    let before = snapshot(&guest.core);
    assert_eq!(x0(guest, id, args), INVALID_PARAMETER, "{id:#x} {args:#x?}");
    assert_eq!(snapshot(&guest.core), before);
}

// ATTACKS 21, 24, 26, 46
// Tests: TD-2, MM-6, MM-7
#[test]
fn a_vm_can_not_share_what_is_not_its_own() {
    const DEVICE: u64 = 0x900_0000;
    let mut guest = guest_with_memory();
    let held = &mut Held::nothing();
    let device = Pa::new(DEVICE).unwrap();
    guest.core.map_vm_io(vm(2), ipa(DEVICE), device, held).unwrap();
    guest.core.map_vm_io(vm(2), ipa(2 * GIB), device, held).unwrap();
    let places = [
        AT + 1, // unaligned
        AT + 0x800,
        AT - 4096, // nothing is mapped there
        AT + 2 * MIB,
        0,
        DEVICE, // a device
        2 * GIB,
        1 << guest.core.ipa_bits(),
        ADDR_SPACE - 4096, // beyond what the table translates
        ADDR_SPACE,        // no address
        u64::MAX - 4095,
        u64::MAX,
    ];
    for place in places {
        mistaken(&mut guest, MEM_SHARE, [place, 0, 0]);
        mistaken(&mut guest, MEM_UNSHARE, [place, 0, 0]);
    }
    for reserved in [[1, 0], [0, 1], [u64::MAX, 0], [0, 1 << 63]] {
        mistaken(&mut guest, MEM_SHARE, [AT, reserved[0], reserved[1]]);
        mistaken(&mut guest, MEM_UNSHARE, [AT, reserved[0], reserved[1]]);
        mistaken(&mut guest, MMIO_GUARD, [0, reserved[0], reserved[1]]);
    }
    // The VM goes on, and what is right still works.
    assert_eq!(guest.vm_state(), VmState::Verified);
    assert_eq!(x0(&mut guest, MEM_SHARE, [AT, 0, 0]), 0);
}

// ATTACKS 22, 23
// Tests: TD-2, MM-6, MM-7, MO-3
#[test]
fn a_page_is_shared_once_and_ended_once() {
    let mut guest = guest_with_memory();
    mistaken(&mut guest, MEM_UNSHARE, [AT, 0, 0]);
    assert_eq!(x0(&mut guest, MEM_SHARE, [AT, 0, 0]), 0);
    mistaken(&mut guest, MEM_SHARE, [AT, 0, 0]);
    assert_eq!(count(&guest, 0), Count::Shares(1));
    // A device of the host's can't hold on to it: no bank but the VM's own maps it.
    assert_eq!(x0(&mut guest, MEM_UNSHARE, [AT, 0, 0]), 0);
    mistaken(&mut guest, MEM_UNSHARE, [AT, 0, 0]);
    // The specification's call counts, to 100 and no further; each end takes one back.
    let set = |guest: &mut Guest| {
        (guest.regs[0], guest.regs[2], guest.regs[3]) = (SET_DESC_PFN, AT, 4096);
        assert_eq!(guest.trap(esr(0x16, 0)), Next::Vm);
    };
    for n in 1..=300 {
        set(&mut guest);
        assert_eq!(count(&guest, 0), Count::Shares(n.min(100) as u8));
    }
    mistaken(&mut guest, MEM_SHARE, [AT, 0, 0]);
    for n in (0..100).rev() {
        assert_eq!(x0(&mut guest, MEM_UNSHARE, [AT, 0, 0]), 0);
        assert_eq!(count(&guest, 0), Count::Shares(n));
    }
    mistaken(&mut guest, MEM_UNSHARE, [AT, 0, 0]);
}

// ATTACKS 26
// Tests: TD-2, MM-8
#[test]
fn a_page_that_only_a_device_has_is_not_shared() {
    let mut guest = guest_with_memory();
    let pending = crate::memory::S2Page::new(vm(2), Count::DmaPending, Some(ipa(AT).frame().as_u64()));
    world::set_record(&guest.core, RAM, pending);
    mistaken(&mut guest, MEM_SHARE, [AT, 0, 0]);
    mistaken(&mut guest, MEM_UNSHARE, [AT, 0, 0]);
    // Nor one that has become another VM's, were that possible.
    world::set_record(&guest.core, RAM, crate::memory::S2Page::new(vm(3), Count::Shares(0), Some(0)));
    mistaken(&mut guest, MEM_SHARE, [AT, 0, 0]);
    world::set_record(&guest.core, RAM, crate::memory::S2Page::new(vm(2), Count::Shares(0), Some(0)));
}

// Tests: TD-2
#[test]
fn mmio_guard_says_where_the_host_emulates() {
    let mut guest = guest_with_memory();
    guest.core.map_vm_io(vm(2), ipa(0x900_0000), Pa::new(0x900_0000).unwrap(), &mut Held::nothing()).unwrap();
    assert_eq!(x0(&mut guest, MMIO_GUARD, [0x800_0000, 0, 0]), 0);
    assert_eq!(x0(&mut guest, MMIO_GUARD, [GIB - 4096, 0, 0]), 0);
    for place in [0x800_0001, 0x900_0000, GIB, AT, AT + 4 * MIB, u64::MAX] {
        mistaken(&mut guest, MMIO_GUARD, [place, 0, 0]);
    }
}

// Tests: TD-2
#[test]
fn random_numbers_are_corevisors() {
    const VERSION: u32 = 0x8400_0050;
    const RND_32: u32 = 0x8400_0053;
    const RND_64: u32 = 0xC400_0053;
    let mut guest = guest_with_memory();
    guest.core.machine().set_entropy(Some(core::array::from_fn(|i| 0x80 + i as u8)));
    let [low, middle, high] = [0x8786_8584_8382_8180, 0x8F8E_8D8C_8B8A_8988, 0x9796_9594_9392_9190];
    assert_eq!(x0(&mut guest, VERSION, [7; 3]), 0x1_0000);
    for id in [VERSION, 0x8400_0051, 0x8400_0052, RND_32, RND_64] {
        assert_eq!(x0(&mut guest, 0x8400_0051, [id.into(), 0, 0]), 0, "{id:#x}");
    }
    assert_eq!(x0(&mut guest, 0x8400_0051, [0xC400_0052, 0, 0]), NOT_SUPPORTED);
    assert_eq!(answered(&mut guest, 0x8400_0052, [7; 3])[..4], abi::UID.map(u64::from));
    assert_eq!(answered(&mut guest, RND_64, [192, 0, 0])[..4], [0, high, middle, low]);
    assert_eq!(answered(&mut guest, RND_64, [1, 7, 7])[..4], [0, 0, 0, 0]);
    assert_eq!(answered(&mut guest, RND_64, [68, 7, 7])[..4], [0, 0, 8, low]);
    let words = [high, middle, low].map(|word| word & 0xFFFF_FFFF);
    assert_eq!(
        answered(&mut guest, RND_32, [0xBAD << 32 | 96, 7, 7])[..4],
        [0; 1].into_iter().chain(words).collect::<Vec<_>>()
    );
    for (id, bits) in [(RND_64, 0), (RND_64, 193), (RND_64, u64::MAX), (RND_32, 97), (RND_32, 1 << 32)] {
        assert_eq!(x0(&mut guest, id, [bits, 7, 7]), -2);
    }
    guest.core.machine().set_entropy(None);
    for id in [VERSION, 0x8400_0051, 0x8400_0052] {
        assert_eq!(x0(&mut guest, id, [VERSION.into(), 7, 7]), NOT_SUPPORTED);
    }
    assert_eq!(x0(&mut guest, RND_64, [64, 7, 7]), -3, "NO_ENTROPY");
    assert_eq!(x0(&mut guest, RND_64, [0, 7, 7]), NOT_SUPPORTED);
}

// Tests: TD-2
#[test]
fn mitigations_are_the_firmwares() {
    let world = World {
        ram: std::vec![range(GIB, 64 * MIB)],
        firmware: Firmware { smccc_1_1: false, ..World::default().firmware },
        ..World::default()
    };
    let mut guest = Guest::of(&world, vm(2));
    guest.run_with_canaries();
    for id in [0x8000_8000, 0x8000_7FFF, 0x8000_3FFF] {
        assert_eq!(x0(&mut guest, ARCH_FEATURES, [id, 0, 0]), NOT_SUPPORTED, "there is SMCCC 1.0 only");
    }
    assert!(guest.core.machine().take_calls().is_empty());
    let mut guest = guest_with_memory();
    guest.core.machine().on_firmware_call(|[_, id, ..]| [if id == 0x8000_7FFF { 1 } else { 0 }, 9, 9, 9]);
    for id in [0x8000_0000, 0x8000_0001, 0x8000_8000, 0x8000_3FFF] {
        assert_eq!(x0(&mut guest, ARCH_FEATURES, [id, 5, 6]), 0, "{id:#x}");
    }
    assert_eq!(x0(&mut guest, ARCH_FEATURES, [0x8000_7FFF, 5, 6]), 1, "not needed");
    assert_eq!(x0(&mut guest, ARCH_FEATURES, [0x8000_0002, 5, 6]), NOT_SUPPORTED);
    assert_eq!(x0(&mut guest, 0x8000_8000, [5, 6, 7]), 0);
    // No argument of the VM's gets to the firmware.
    let calls = guest.core.machine().take_calls();
    assert!(calls.iter().all(|[_, _, b, c]| (*b, *c) == (0, 0)), "{calls:x?}");
    assert_eq!(calls.last(), Some(&[0x8000_8000, 0, 0, 0]));
    guest.core.machine().on_firmware_call(|_| [0; 4]);
    assert_eq!(x0(&mut guest, ARCH_FEATURES, [0x8000_7FFF, 5, 6]), NOT_SUPPORTED, "can't be switched for a VM alone");
}
