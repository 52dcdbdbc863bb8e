// SPDX-License-Identifier: GPL-2.0-only
//! What a VM is trapped at: the program `traps` checks most of it itself.

use crate::rt::call::{Conduit, with_canaries};
use crate::rt::machine;
use crate::world::vm::Vm;
use crate::world::{Setup, scheduler};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use corevisor::abi::{HOST_CALL_BASE, host_call};
use corevisor::trap::IdRegister::{self, Dfr0, Isar0, Isar1, Isar2, Mmfr0, Mmfr1, Mmfr2, Pfr0, Pfr1};

const IL: u64 = 1 << 25;
const WNR: u64 = 1 << 6;
/// EC of a data abort from EL1.
const DATA_ABORT: u64 = 0x25 << 26;

/// The VM's ID registers, by CRm and Op2.
static ID: [AtomicU64; 64] = [const { AtomicU64::new(!0) }; 64];

fn keep(_: &Vm, _: usize, offset: u64, written: Option<u64>) -> u64 {
    if let (Some(value), Some(register)) = (written, ID.get(offset as usize % 0x800 / 8)) {
        register.store(value, Ordering::SeqCst);
    }
    0
}

macro_rules! mrs {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads an ID register.
        unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value) };
        value
    }};
}

/// Those of which a VM sees something: CRm and Op2, and the host's own.
fn shown() -> [(usize, IdRegister, u64); 9] {
    [
        (0o40, Pfr0, mrs!("id_aa64pfr0_el1")),
        (0o41, Pfr1, mrs!("id_aa64pfr1_el1")),
        (0o50, Dfr0, mrs!("id_aa64dfr0_el1")),
        (0o60, Isar0, mrs!("id_aa64isar0_el1")),
        (0o61, Isar1, mrs!("id_aa64isar1_el1")),
        (0o62, Isar2, mrs!("S3_0_C0_C6_2")),
        (0o70, Mmfr0, mrs!("id_aa64mmfr0_el1")),
        (0o71, Mmfr1, mrs!("id_aa64mmfr1_el1")),
        (0o72, Mmfr2, mrs!("id_aa64mmfr2_el1")),
    ]
}

// ATTACKS 43, 44, 45, 46, 47.
pub fn what_a_vm_is_trapped_at() {
    const NOWHERE: u64 = 0x0B00_0000;
    let gic = mrs!("id_aa64pfr0_el1") >> 24 & 0xF != 0;
    let vm = Setup::new("traps").arguments(&[gic.into()]).start();
    vm.set_hook(keep);
    scheduler::run(&[vm], 1);
    assert_eq!(vm.finished(), 0);
    assert!(vm.result(0) > 40_000, "only {} accesses were undefined", vm.result(0));
    // A pair loaded, a SIMD register loaded, a pair stored, a walk, a register loaded: the abort is the access's own.
    let expected = [
        (0x10, NOWHERE + 0x10),
        (0x10, NOWHERE + 0x20),
        (WNR | 0x10, NOWHERE + 0x30),
        (0x17, 0xFFFF_FFFF_FFFF_F008),
        (0x10, NOWHERE + 0x40),
    ];
    for (i, (status, far)) in expected.into_iter().enumerate() {
        let (esr, wanted) = (vm.result(1 + 2 * i), DATA_ABORT | IL | status);
        assert_eq!((esr, vm.result(2 + 2 * i)), (wanted, far), "{i}: {esr:#x}, not {wanted:#x}");
    }
    vm.destroy();
    let seen = |register: usize| ID[register].load(Ordering::SeqCst);
    let shown = shown();
    for register in 0o10..0o100 {
        let value = seen(register);
        // VM_ID_REGISTER says the same: op0 3, and all others 0.
        let id = (HOST_CALL_BASE + host_call::VM_ID_REGISTER).into();
        let told = with_canaries(Conduit::Hvc, id, &[3 << 14 | register as u64], 2);
        assert_eq!([told[0], told[1]], [0, value], "ID register {register:o}");
        match shown.iter().find(|(at, ..)| *at == register) {
            Some(&(_, id, host)) => {
                let expected = id.shown(host, machine::physical_address_bits(), gic);
                assert_eq!(value, expected, "{id:?}: {value:#x}, not {expected:#x}");
            }
            None => assert_eq!(value, 0, "ID register {register:o}"),
        }
    }
    // SVE, AMU, MPAM, RAS, EL3, EL2; AArch64 only.
    assert_eq!((seen(0o40) >> 28 & 0xF_FFFF, seen(0o40) & 0xFFFF), (0, 0x11));
    // SME, MTE; PMU; physical addresses as stage 2 has them.
    assert_eq!((seen(0o41) & 0xFFFF_FF00, seen(0o50) >> 8 & 0xF), (0, 0));
}
