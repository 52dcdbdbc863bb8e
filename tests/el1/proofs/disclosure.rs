// SPDX-License-Identifier: GPL-2.0-only
//! What the host sees of a VM: at each exit what docs/abi.md lists for it, and nothing else, in any register, in the run
//! page, or in RAM. And what either of them sees of Corevisor.

use super::search::{Found, all_ram, has_seed, is_a_vms};
use super::{registers, runner};
use crate::rt::call::{host, psci, stat};
use crate::rt::tree::is_corevisors;
use crate::say;
use crate::state::{SYS, SYS_NAMES, Vectors, canary};
use crate::world::protocol::{self, DESK, GUEST_MAGIC, HOST_MAGIC, IMAGE, SMALL_PAGES, canaries, desk};
use crate::world::vm::{Vm, set_runner};
use crate::world::{Exit, Setup, gic, memory};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use corevisor::abi::{HOST_CALL_BASE, exit, host_call as n, run_page, stat as id};
use spin::Mutex;

/// An instruction that makes a VM exit.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    instruction: u32,
    /// General registers that are no canaries.
    chosen: &'static [(usize, u64)],
    /// General registers that the exit shows, and how many of their bits.
    shown: &'static [(usize, u32)],
    /// ESR as the host must see it.
    esr: u64,
    /// HPFAR, FAR.
    at: [u64; 2],
    /// General registers that it changes.
    changed: u64,
    /// Whether it ends in an exception.
    handled: bool,
    /// Whether the VM goes on.
    goes_on: bool,
}

const NEW: Case = Case {
    name: "",
    instruction: 0,
    chosen: &[],
    shown: &[],
    esr: 0,
    at: [0; 2],
    changed: 0,
    handled: false,
    goes_on: true,
};

/// A device of the host's: the desk's hook.
const DEVICE: u64 = DESK + desk::HOOK + 0x700;
const AT_DEVICE: [u64; 2] = [DEVICE >> 12 << 4, DEVICE & 0xFFF];
/// Memory that the VM does not have yet.
const NOTHING: u64 = SMALL_PAGES + 0x1238;

const HVC: u32 = 0xD400_0002;
const HVC_ESR: u64 = 0x16 << 26 | IL;
const IL: u64 = 1 << 25;
const ABORT: u64 = 0x24 << 26 | IL;
const ISV: u64 = 1 << 24;
const SF: u64 = 1 << 15;
const WNR: u64 = 1 << 6;
/// ISS.SRT: x5.
const RT_5: u64 = 5 << 16;

/// Everything that makes a VM exit, but for what ends it.
const CASES: &[Case] = &[
    Case { name: "WFI", instruction: 0xD503_207F, esr: 0x01 << 26 | IL, ..NEW },
    Case { name: "HVC, unknown", instruction: HVC, shown: &[(0, 64)], esr: HVC_ESR, changed: 1, ..NEW },
    Case {
        name: "CPU_ON",
        chosen: &[(0, psci::CPU_ON_64 as u64), (1, 1), (2, IMAGE)],
        instruction: HVC,
        shown: &[(0, 64), (1, 64), (2, 64), (3, 64)],
        esr: HVC_ESR,
        changed: 1,
        ..NEW
    },
    Case {
        name: "AFFINITY_INFO",
        chosen: &[(0, psci::AFFINITY_INFO_64 as u64), (1, 1), (2, 0)],
        instruction: HVC,
        shown: &[(0, 64), (1, 64), (2, 64)],
        esr: HVC_ESR,
        changed: 1,
        ..NEW
    },
    Case {
        name: "CPU_SUSPEND",
        chosen: &[(0, psci::CPU_SUSPEND_64 as u64)],
        instruction: HVC,
        shown: &[(0, 64)],
        esr: HVC_ESR,
        changed: 1,
        ..NEW
    },
    Case { name: "LDRB", instruction: 0x3940_00C5, esr: ABORT | ISV | RT_5, ..LOAD },
    Case { name: "LDRH", instruction: 0x7940_00C5, esr: ABORT | ISV | 1 << 22 | RT_5, ..LOAD },
    Case { name: "LDR, 32 bits", instruction: 0xB940_00C5, esr: ABORT | ISV | 2 << 22 | RT_5, ..LOAD },
    Case { name: "LDR, 64 bits", instruction: 0xF940_00C5, esr: ABORT | ISV | 3 << 22 | RT_5 | SF, ..LOAD },
    Case { name: "LDRSB", instruction: 0x3980_00C5, esr: ABORT | ISV | 1 << 21 | RT_5 | SF, ..LOAD },
    Case { name: "STRB", instruction: 0x3900_00C5, shown: &[(5, 8)], esr: ABORT | ISV | RT_5 | WNR, ..STORE },
    Case {
        name: "STRH",
        instruction: 0x7900_00C5,
        shown: &[(5, 16)],
        esr: ABORT | ISV | 1 << 22 | RT_5 | WNR,
        ..STORE
    },
    Case {
        name: "STR, 32 bits",
        instruction: 0xB900_00C5,
        shown: &[(5, 32)],
        esr: ABORT | ISV | 2 << 22 | RT_5 | WNR,
        ..STORE
    },
    Case {
        name: "STR, 64 bits",
        instruction: 0xF900_00C5,
        shown: &[(5, 64)],
        esr: ABORT | ISV | 3 << 22 | RT_5 | SF | WNR,
        ..STORE
    },
    Case { name: "LDP", instruction: 0xA940_1CC5, esr: ABORT, ..NO_SYNDROME },
    Case { name: "STP", instruction: 0xA900_1CC5, esr: ABORT | WNR, ..NO_SYNDROME },
    Case { name: "LDR, post-indexed", instruction: 0xF840_84C5, esr: ABORT, ..NO_SYNDROME },
    Case { name: "load from nothing", instruction: 0xF940_00C5, esr: ABORT, changed: 1 << 5, ..FAULT },
    Case { name: "store to nothing", instruction: 0xF900_00C5, esr: ABORT | WNR, ..FAULT },
];

const LOAD: Case = Case { chosen: &[(6, DEVICE)], at: AT_DEVICE, changed: 1 << 5, ..NEW };
const STORE: Case = Case { chosen: &[(6, DEVICE)], at: AT_DEVICE, ..NEW };
const NO_SYNDROME: Case = Case { chosen: &[(6, DEVICE)], at: [AT_DEVICE[0], 0], handled: true, ..NEW };
const FAULT: Case = Case { chosen: &[(6, NOTHING)], at: [NOTHING >> 12 << 4, 0], ..NEW };

/// The same where there is a GICv3's virtual interface.
const SGI: Case = Case {
    name: "ICC_SGI1R_EL1",
    instruction: 0xD518_CBA5,
    shown: &[(5, 64)],
    esr: 0x18 << 26 | IL | 3 << 20 | 5 << 17 | 12 << 10 | 5 << 5 | 11 << 1,
    ..NEW
};

/// What ends the VM.
const LAST: &[Case] = &[
    Case {
        name: "SYSTEM_OFF",
        chosen: &[(0, psci::SYSTEM_OFF as u64)],
        instruction: HVC,
        shown: &[(0, 64)],
        esr: HVC_ESR,
        goes_on: false,
        ..NEW
    },
    Case {
        name: "SYSTEM_RESET",
        chosen: &[(0, psci::SYSTEM_RESET as u64)],
        instruction: HVC,
        shown: &[(0, 64)],
        esr: HVC_ESR,
        goes_on: false,
        ..NEW
    },
    Case {
        name: "CPU_OFF",
        chosen: &[(0, psci::CPU_OFF as u64)],
        instruction: HVC,
        shown: &[(0, 64)],
        esr: HVC_ESR,
        goes_on: false,
        ..NEW
    },
    // x7 is a canary, and never becomes zero.
    Case { name: "an interrupt", instruction: 0xB500_0007, goes_on: false, ..NEW },
];

/// What [`watch`] has seen of the exit that counts.
struct Seen {
    before: [u64; WORDS],
    after: [u64; WORDS],
    everywhere: Found,
    code: i64,
}

const WORDS: usize = 512;

static SEEN: Mutex<Seen> = Mutex::new(Seen { before: [0; WORDS], after: [0; WORDS], everywhere: Found::NONE, code: 0 });
static CASE: Mutex<Case> = Mutex::new(NEW);
static SEED: AtomicU64 = AtomicU64::new(0);
/// The next exit is the one that counts.
static ARMED: AtomicBool = AtomicBool::new(false);
/// A run page was not as it must be.
static BAD: AtomicBool = AtomicBool::new(false);
static PAGE: AtomicU64 = AtomicU64::new(0);

fn seed() -> u8 {
    SEED.load(Ordering::SeqCst) as u8
}

/// The hook of the program `canaries`.
fn hook(_: &Vm, _: usize, offset: u64, _: Option<u64>) -> u64 {
    let mut case = CASE.lock();
    match offset {
        canaries::INSTRUCTION => core::mem::take(&mut case.instruction).into(),
        canaries::SEED => seed().into(),
        canaries::CHOSEN => case.chosen.iter().map(|(n, _)| 1 << n).sum(),
        canaries::HANDLED => case.handled.into(),
        canaries::CHANGED => {
            ARMED.store(true, Ordering::SeqCst);
            case.changed
        }
        _ => {
            let n = offset.wrapping_sub(canaries::X) / 8;
            case.chosen.iter().find(|(chosen, _)| *chosen as u64 == n).map_or(0, |(_, value)| *value)
        }
    }
}

fn page() -> [u64; WORDS] {
    let page = PAGE.load(Ordering::SeqCst);
    core::array::from_fn(|i| memory::read(page + 8 * i as u64))
}

/// VCPU_RUN with all of the host's registers checked, and, after the exit that counts, all else that there is to see.
fn watch(v: u64, vcpu: u64) -> i64 {
    if !ARMED.swap(false, Ordering::SeqCst) {
        return runner::run(v, vcpu);
    }
    let mut seen = SEEN.lock();
    seen.before = page();
    seen.code = runner::run(v, vcpu);
    seen.everywhere = all_ram(|word| has_seed(word, seed()));
    seen.after = page();
    registers::each(|register, before, now| {
        assert!(!is_a_vms(now), "register {register:#x} is {now:#x}");
        assert!(!is_corevisors(now) || now == before, "register {register:#x} is {now:#x}");
    });
    seen.code
}

/// That the host saw of `case` what it may see, and nothing else.
fn check(case: &Case) {
    const TIMER: [u64; 2] = [57 * 8, 58 * 8];
    let seen = SEEN.lock();
    let word = |offset: u64| offset as usize / 8;
    let code = if case.esr == 0 { exit::IRQ } else { exit::TRAP };
    assert_eq!(seen.code, code as i64, "{}", case.name);
    let mut wanted = seen.before;
    let [esr, hpfar, far] = [run_page::ESR, run_page::HPFAR, run_page::FAR].map(word);
    // The level of a translation fault is as it is.
    let level = if case.at == [0; 2] { 0 } else { 4 | seen.after[esr] & 3 };
    (wanted[esr], wanted[hpfar], wanted[far]) = (case.esr | level, case.at[0], case.at[1]);
    for &(n, bits) in case.shown {
        let chosen = case.chosen.iter().find(|(chosen, _)| *chosen == n).map(|(_, value)| *value);
        let value = chosen.unwrap_or(canary(GUEST_MAGIC, seed(), n as u64));
        wanted[word(run_page::X) + n] = value & u64::MAX >> (64 - bits);
    }
    wanted[word(TIMER[0])] = 2;
    wanted[word(TIMER[1])] = canary(GUEST_MAGIC, seed(), canaries::TIMER);
    for (i, (wanted, found)) in wanted.iter().zip(&seen.after).enumerate() {
        if wanted != found {
            say!("{}: word {i} of the run page is {found:#x}, not {wanted:#x}", case.name);
            BAD.store(true, Ordering::SeqCst);
        }
    }
    let in_page = seen.after.iter().filter(|&&word| has_seed(word, seed())).count() as u64;
    assert_eq!(seen.everywhere.words, in_page, "{}: {:x?}", case.name, seen.everywhere);
}

/// A VM that executes the instruction of `case`, stopped there; and the exit.
fn execute(case: &Case) -> (&'static Vm, Exit) {
    SEED.fetch_add(2, Ordering::SeqCst);
    SEED.fetch_or(1, Ordering::SeqCst);
    *CASE.lock() = *case;
    let vm = Setup::new("canaries").vcpus(2).start();
    vm.set_hook(hook);
    PAGE.store(vm.vcpus[0].page(), Ordering::SeqCst);
    set_runner(Some(watch));
    loop {
        let is_it = ARMED.load(Ordering::SeqCst);
        if is_it && case.esr == 0 {
            // Time enough to get to the instruction, on a machine that has much else to do.
            gic::set_alarm(100_000);
        }
        let exit = vm.enter(0).expect("VCPU_RUN");
        if is_it {
            set_runner(None);
            return (vm, exit);
        }
        vm.serve(0, exit);
    }
}

/// Serves exits until the VM is off.
fn finish(vm: &Vm, first: Exit) {
    let mut exit = first;
    loop {
        vm.serve(0, exit);
        if vm.is_off() {
            return;
        }
        exit = vm.enter(0).expect("VCPU_RUN");
    }
}

fn show(case: &Case) {
    let (vm, exit) = execute(case);
    check(case);
    if case.goes_on {
        finish(vm, exit);
        assert_eq!((vm.finished(), vm.result(0)), (0, 1), "{}", case.name);
        assert_eq!(vm.result(1), case.handled.into(), "{}", case.name);
    }
    gic::quiet();
    vm.destroy();
}

pub fn exits_show_what_they_must_and_nothing_else() {
    gic::set_up();
    gic::set_up_cpu();
    say!("{} readable system registers", registers::count());
    let sgi = (gic::list_register_count() > 0 && gic::is_v3()).then_some(&SGI);
    for case in CASES.iter().chain(sgi).chain(LAST) {
        show(case);
        say!("  {}", case.name);
    }
    assert!(!BAD.load(Ordering::SeqCst), "a run page is not as it must be: see above");
}

/// What registers without a defined reset value have.
const UNKNOWN: u64 = 0x1DE7_EC7E_DBAD_C0DE;

/// A VM's registers before its first instruction: zero, or what docs/abi.md says.
pub fn a_vm_begins_with_nothing_of_corevisors() {
    let setup = Setup::new("witness");
    let vm = Vm::register(&setup);
    vm.load(&setup);
    assert_eq!(vm.verify(), 0);
    vm.power_on(IMAGE + protocol::WITNESS);
    set_runner(Some(runner::run));
    let first = vm.enter(0).expect("VCPU_RUN");
    assert!(!matches!(first, Exit::Hvc(_)), "x1 to x30 are not all zero");
    finish(vm, first);
    set_runner(None);
    assert_eq!(vm.finished(), 0);
    assert_eq!(vm.result(0), 0, "x0");
    for i in 1..1 + SYS + 5 {
        let (name, value) = (SYS_NAMES.get(i - 1).unwrap_or(&"key, PSTATE, SP, timer or FP"), vm.result(i));
        assert!(!is_corevisors(value), "{name}: {value:#x}");
        let wanted = match (*name, i - 1) {
            ("sctlr_el1", _) => vm.result(i) & 0x30D0_0800,
            (_, i) if i == SYS => 0x3C0,
            _ if value == UNKNOWN => UNKNOWN,
            _ => 0,
        };
        assert_eq!(value, wanted, "{name}, result {i}");
    }
    vm.destroy();
}

/// No call leaves anything of Corevisor's in a register of the host's.
pub fn calls_leave_nothing_of_corevisors() {
    let before = stat(id::VMS);
    let calls = (13..=39).filter(|&call| call != n::LOG_READ).map(|call| HOST_CALL_BASE + call);
    let others = [0x8000_0000, 0x8600_FF01, 0x8600_FF03, psci::VERSION, psci::MIGRATE_INFO_TYPE, 0xC600_1FFF];
    for call in calls.chain(others) {
        for argument in [0, 1, 16, 1 << 40, u64::MAX] {
            let state = runner::state();
            crate::state::let_vectors_through(runner::vectors() == Vectors::Sve);
            state.fill(HOST_MAGIC, call as u8 | 1, runner::vectors());
            state.x[0] = call.into();
            for x in 1..12 {
                state.x[x] = argument;
            }
            state.hvc();
            // Results go up to x6 at most.
            assert_eq!(state.difference(0x7F), None, "{call:#x}");
            for x in 0..7 {
                let value = state.x_out[x];
                let is_ours = value == state.x[x];
                assert!(is_ours || !is_corevisors(value), "x{x} after {call:#x}: {value:#x}");
            }
            if call == HOST_CALL_BASE + n::REGISTER_KVM && (state.x_out[0] as i64) > 0 {
                assert_eq!(host(n::DESTROY_VM, &[state.x_out[0]]), 0);
            }
        }
        registers::each(|register, before, now| {
            assert!(!is_corevisors(now) || now == before, "register {register:#x} after {call:#x}: {now:#x}");
        });
    }
    assert_eq!(stat(id::VMS), before);
}
