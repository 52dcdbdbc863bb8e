// SPDX-License-Identifier: GPL-2.0-only
//! Exceptions that a vCPU is made to take: where the host can't serve it, and for what a VM can't have.

use super::{CANARY, Guest, IMAGE, access, esr, hpfar, vm};
use crate::abi::run_page::{FAULT_ADDR, FLAGS, NEW_PAGE, X, inject};
use crate::trap::inject::{Pstate, PstateFeatures};
use crate::trap::{Exit, Syndrome};
use crate::vcpu::{Next, Sys};
use crate::world::GIB;
use proptest::prelude::*;

const VBAR: u64 = 0xFFFF_8000_0000_0000;
/// The GIC of a VM, say.
const DEVICE: u64 = 0x0800_0000;
/// EL1h, EL1t, EL0, and EL0 in AArch32, with the offsets of their vectors.
const MODES: [(u64, u64); 4] = [(0x5, 0x200), (0x4, 0), (0, 0x400), (0x10, 0x600)];
/// FSC of a synchronous external abort, and of one on a stage-1 walk.
const EXTERNAL: u64 = 0x10;
const EXTERNAL_WALK: u64 = 0x17;

/// A VM with canaries in all registers, in `pstate`.
fn running_in(pstate: u64) -> Guest {
    let mut guest = Guest::new();
    guest.run_with_canaries();
    guest.core.machine().with_cpu(|cpu| {
        cpu.registers.sys[Sys::VbarEl1] = VBAR;
        cpu.registers.sys[Sys::EsrEl1] = 77;
        cpu.registers.sys[Sys::FarEl1] = 88;
        cpu.registers.sys[Sys::TpidrEl1] = 99;
        cpu.registers.pstate = pstate;
        cpu.registers.pc = 0x1000;
    });
    guest
}

/// Asserts that the vCPU is at the vector `offset`, with nothing changed but what tells of the exception.
fn assert_taken(guest: &Guest, pstate: u64, offset: u64, esr_el1: u64, far: u64) {
    let r = guest.cpu().registers;
    assert_eq!((r.pc, r.pstate), (VBAR + offset, 0x3C5), "in {pstate:#x}");
    assert_eq!((r.elr_el1, r.spsr_el1), (0x1000, pstate));
    assert_eq!(r.sys[Sys::EsrEl1], esr_el1, "ESR_EL1 {:#x}, not {esr_el1:#x}", r.sys[Sys::EsrEl1]);
    assert_eq!((r.sys[Sys::FarEl1], r.sys[Sys::TpidrEl1]), (far, 99));
    assert!(guest.regs.iter().enumerate().all(|(i, &x)| x == CANARY + i as u64 * 0x0101_0101_0101));
    assert_eq!(guest.core.current().map(|(v, _)| v), Some(vm(2)));
}

// Tests: VA-7, VO-2
// ATTACKS 45: what the exception says is the trusted syndrome's, whatever the host asks for.
#[test]
fn after_an_abort_the_host_can_have_an_exception_taken() {
    const FAR: u64 = 0x5678;
    let no_isv = access(3, 3, true) & !Syndrome::ISV;
    let walk = no_isv | Syndrome::S1PTW;
    let fetch = esr(0x20, super::TRANSLATION);
    for (pstate, offset) in MODES {
        let same_level = u64::from(pstate & 0x1F != 0 && pstate & 0x1F != 0x10);
        let aborts = [
            (access(3, 3, true), 0x24, Syndrome::WNR | EXTERNAL),
            (access(3, 3, false), 0x24, EXTERNAL),
            (no_isv, 0x24, Syndrome::WNR | EXTERNAL), // a pair, SIMD, DC ZVA
            (walk, 0x24, Syndrome::WNR | EXTERNAL_WALK),
            (fetch, 0x20, EXTERNAL),
        ];
        for (abort, class, status) in aborts {
            for flag in [inject::DATA_ABORT, inject::INSTRUCTION_ABORT, 0b111 << 33] {
                let mut guest = running_in(pstate);
                assert_eq!(guest.exit(Exit::Trap, [abort, hpfar(DEVICE), FAR]), Next::Host);
                guest.put(0, FLAGS, flag | 0xFFFF);
                // A load that ends so has loaded nothing, whatever the host wrote (D-133).
                (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
                assert_eq!(guest.run(), Next::Vm);
                // At the vector's first instruction (D-96), with the old state where EL1 finds it (D-94).
                assert_taken(&guest, pstate, offset, esr(class + same_level, status), FAR);
            }
            let mut guest = running_in(pstate);
            assert_eq!(guest.exit(Exit::Trap, [abort, hpfar(DEVICE), FAR]), Next::Host);
            guest.put(0, FLAGS, inject::UNDEFINED);
            (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
            assert_eq!(guest.run(), Next::Vm);
            assert_taken(&guest, pstate, offset, Syndrome::IL, 88);
        }
    }
}

// Tests: VA-6, VO-2
// ATTACKS 45: a pair, a SIMD register, DC ZVA.
#[test]
fn a_device_access_without_a_register_changes_none() {
    let mut guest = running_in(5);
    let no_isv = access(3, 3, false) & !Syndrome::ISV;
    let before = guest.regs;
    assert_eq!(guest.exit(Exit::Trap, [no_isv, hpfar(DEVICE), CANARY]), Next::Host);
    assert_eq!(guest.told(), [no_isv & Syndrome::FAULT, hpfar(DEVICE), 0]);
    // Neither can the host put anything into a register, nor skip it, nor offer a page.
    (0..31).for_each(|i| guest.put(0, X + i * 8, 0xBAD));
    guest.put(0, FAULT_ADDR, DEVICE);
    guest.put(0, NEW_PAGE, GIB);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!((guest.regs, guest.cpu().registers.pc), (before, 0x1000));
    assert!(guest.core.machine().walk(vm(2), crate::addr::Ipa::new(DEVICE).unwrap()).is_err());
}

// Tests: TD-2, VA-7
// ATTACKS 46: no host can serve these, and none is asked.
#[test]
fn an_abort_that_nobody_can_serve_is_the_vms_own() {
    const FAR: u64 = 0xFFFF_0000_0000_0FFC;
    let status = |fsc: u64| access(3, 3, true) & !0x3F | fsc;
    let top = 1u64 << 40; // the simulated machine's input size is less
    let cases = [
        (status(0b00_1111), hpfar(DEVICE)),                   // permission, level 3
        (status(0b00_1101) | Syndrome::S1PTW, hpfar(DEVICE)), // permission of a walk: HCR_EL2.PTW
        (status(0b00_1010), hpfar(GIB)),                      // access flag
        (status(0b00_0000), hpfar(GIB)),                      // address size, level 0
        (status(0b01_0000), hpfar(GIB)),                      // external
        (status(0b01_0110), hpfar(GIB)),                      // external, on the stage-2 walk
        (status(0b10_0001), hpfar(GIB)),                      // alignment
        (status(0b11_0000), hpfar(GIB)),                      // TLB conflict
        (status(0b11_0101), hpfar(GIB)),                      // unsupported exclusive
        (status(0b00_0100), hpfar(top)),                      // translation, level 0: beyond what the table translates
        (status(0b00_0100), hpfar(top - 4096 + (1 << 47))),
        (status(0b00_0100), u64::MAX), // wider than 48 bits
    ];
    for (abort, hpfar) in cases {
        for fetch in [false, true] {
            let abort = if fetch { abort & !(Syndrome::CLASS | Syndrome::ISV) | 0x20 << 26 } else { abort };
            let mut guest = running_in(5);
            let page = guest.told();
            assert_eq!(guest.exit(Exit::Trap, [abort, hpfar, FAR]), Next::Vm, "{abort:#x} {hpfar:#x}");
            let walk = abort & Syndrome::S1PTW != 0;
            let write = if fetch { 0 } else { Syndrome::WNR };
            let expected = esr(if fetch { 0x21 } else { 0x25 }, write | if walk { EXTERNAL_WALK } else { EXTERNAL });
            assert_taken(&guest, 5, 0x200, expected, FAR);
            assert_eq!((guest.told(), guest.context().flags), (page, 0));
        }
    }
}

// Tests: TD-2, VA-6
// ATTACKS 46: an access across the end of a page tells of the page that is missing.
#[test]
fn an_access_across_pages_is_about_the_one_that_is_missing() {
    let mut guest = running_in(5);
    let abort = access(3, 3, true) & !Syndrome::ISV;
    assert_eq!(guest.exit(Exit::Trap, [abort, hpfar(IMAGE + 0x7000), 0xFFF_FFFC]), Next::Host);
    assert_eq!(guest.told(), [abort & Syndrome::FAULT, hpfar(IMAGE + 0x7000), 0]);
    guest.put(0, FAULT_ADDR, IMAGE + 0x6FFC); // the page before it
    assert_eq!(guest.run(), Next::Host);
    guest.put(0, FAULT_ADDR, 0);
    assert_eq!(guest.run(), Next::Vm);
}

// Tests: TD-2, VA-7
// ATTACKS 43, 44: SMC (which never was executed: ELR_EL1 is its own address), SVE, SME, debug, and what does not exist.
#[test]
fn what_a_vm_can_not_have_is_undefined_to_it() {
    const OTHERS: [u64; 7] = [0x01, 0x07, 0x12, 0x16, 0x18, 0x20, 0x24];
    for class in (0..64).filter(|class| !OTHERS.contains(class)) {
        for ((pstate, offset), long) in MODES.into_iter().flat_map(|mode| [(mode, true), (mode, false)]) {
            let mut guest = running_in(pstate);
            let page = guest.told();
            let il = if long { Syndrome::IL } else { 0 };
            assert_eq!(guest.trap(class << 26 | il), Next::Vm);
            assert_taken(&guest, pstate, offset, il, 88);
            assert_eq!((guest.shown(), guest.told()), (std::vec![], page));
        }
    }
}

// Tests: TD-2, VA-4
#[test]
fn a_wait_with_a_timeout_is_undefined() {
    for (ti, next) in [(0, Next::Host), (1, Next::Host), (2, Next::Vm), (3, Next::Vm)] {
        let mut guest = running_in(5);
        assert_eq!(guest.trap(esr(0x01, ti)), next);
        if next == Next::Vm {
            assert_taken(&guest, 5, 0x200, Syndrome::IL, 88);
        }
    }
}

// Tests: VA-7
#[test]
fn an_exception_sets_the_bits_of_pstate_that_hardware_would() {
    const SPAN: u64 = 1 << 23;
    const DSSBS: u64 = 1 << 44;
    const FLAGS: u64 = 0b1010 << 28;
    let cases =
        [(0, Pstate::PAN | Pstate::TCO | Pstate::ALLINT), (SPAN | DSSBS, Pstate::SSBS | Pstate::TCO | Pstate::ALLINT)];
    for (sctlr, expected) in cases {
        let btype_and_step = 0b11 << 10 | Pstate::SS.bits();
        let mut guest = running_in(FLAGS | Pstate::DIT.bits() | btype_and_step | 5);
        guest.core.machine().with_features(|features| {
            features.pstate = PstateFeatures { pan: true, ssbs: true, mte: true, nmi: true };
        });
        guest.core.machine().with_cpu(|cpu| cpu.registers.sys[Sys::SctlrEl1] = sctlr);
        assert_eq!(guest.trap(esr(0x17, 0)), Next::Vm);
        assert_eq!(guest.cpu().registers.pstate, FLAGS | (expected | Pstate::DIT).bits() | 0x3C5);
    }
}

proptest! {
    // Tests: TD-2, VO-1, VO-2, VA-7
    // ATTACKS 43: whatever the syndrome, a VM or the host goes on, and both still can.
    #[test]
    fn every_trap_has_an_outcome(
        class in 0u64..64,
        iss in 0u64..1 << 37,
        hpfar: u64,
        far: u64,
        pstate: u64,
        claims in proptest::collection::vec(any::<u64>(), 40),
        gic: bool,
    ) {
        let mut guest = running_in(pstate);
        guest.core.machine().with_features(|features| features.gic_registers = gic);
        let done = guest.exit(Exit::Trap, [iss & !Syndrome::CLASS | class << 26, hpfar, far]);
        prop_assert_eq!(done == Next::Vm, guest.core.current().is_some());
        if done == Next::Host {
            (0..40).for_each(|i| guest.put(0, i * 8, claims[i as usize]));
            // What the host claims may be refused, and then it can try again.
            if guest.run() == Next::Host {
                guest.put(0, FAULT_ADDR, 0);
                guest.run();
            }
        }
        guest.core.machine().check();
    }
}
