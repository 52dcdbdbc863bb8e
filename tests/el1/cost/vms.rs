// SPDX-License-Identifier: GPL-2.0-only
//! What VMs cost: exits, faults, sharing, making and destroying them.

use super::calls::{BLOCK, GUEST, announce, block, destroy, register_kvm, verify};
use super::guest::{BLOCKS, CALLS, PAGES, Program};
use super::{TIMES, report};
use crate::rt::call::host;
use crate::rt::{PAGE, machine, tree};
use core::arch::asm;
use corevisor::abi::{HOST_CALL_BASE, exit, host_call as n, run_page};

/// The class of an exit for a trap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Wfx = 0x01,
    Hvc = 0x16,
    DataAbort = 0x24,
}

/// A VM with one vCPU, which has stopped once.
struct Vm {
    v: u64,
    run_page: u64,
}

impl Vm {
    /// Its image is in block 2, the run page in block 1.
    fn new(program: Program) -> Self {
        let (image, run_page) = (block(2), block(1));
        program.load(image);
        let v = register_kvm();
        let vm = Self { v, run_page };
        for offset in (0..PAGE).step_by(8) {
            vm.set(offset, 0);
        }
        vm.set(run_page::PC, GUEST);
        vm.set(run_page::PSTATE, 0x3C5);
        assert_eq!(host(n::REGISTER_VCPU, &[v, 0, run_page]), 0);
        announce(v, GUEST, image, 2);
        assert_eq!(verify(v), 0);
        vm
    }

    fn set(&self, offset: u64, value: u64) {
        // SAFETY: a page of ours that nobody else uses.
        unsafe { ((self.run_page + offset) as *mut u64).write_volatile(value) };
    }

    /// Runs it until it stops; the reason.
    fn run(&self) -> u64 {
        let (mut x0, mut x1, mut x2) = (u64::from(HOST_CALL_BASE + n::VCPU_RUN), self.v, 0u64);
        // SAFETY: a call of ours, which keeps all registers but x0, and memory.
        unsafe { asm!("hvc #0", inout("x0") x0, inout("x1") x1, inout("x2") x2, clobber_abi("C")) };
        let _ = (x1, x2);
        x0
    }

    /// Runs it until it stops for a trap of this class.
    fn expect(&self, class: Class) {
        assert_eq!(self.run(), exit::TRAP);
        // SAFETY: as in `set`.
        let esr = unsafe { ((self.run_page + run_page::ESR) as *const u64).read_volatile() };
        assert_eq!(esr >> 26, class as u64, "ESR {esr:#x}");
    }

    /// Runs it [`TIMES`] times, after a few; the ticks.
    fn time(&self, mut once: impl FnMut(&Self)) -> u64 {
        (0..4).for_each(|_| once(self));
        let start = machine::now();
        (0..TIMES).for_each(|_| once(self));
        machine::now() - start
    }
}

fn exits(what: &str, program: Program, class: Class) -> u64 {
    let vm = Vm::new(program);
    let ticks = vm.time(|vm| vm.expect(class));
    report(what, ticks, TIMES);
    destroy(vm.v);
    ticks / TIMES
}

pub fn exits_to_the_host() {
    let exit = exits("VM's call to the host, and back", Program::HostCall, Class::Hvc);
    exits("VM's load from a device, and back", Program::Load, Class::DataAbort);
    exits("VM's store to a device, and back", Program::Store, Class::DataAbort);
    exits("VM's WFI, and back", Program::Wait, Class::Wfx);
    exits("VM's call to the host with FP registers in use, and back", Program::Fp, Class::Hvc);
    in_corevisor("VM's call that Corevisor answers", Program::Calls, exit);
    in_corevisor("page shared and unshared by a VM (MM-6, MM-7)", Program::Sharing, exit);
}

/// Calls that the host sees nothing of: [`CALLS`] in a row, and one exit.
fn in_corevisor(what: &str, program: Program, exit: u64) {
    let vm = Vm::new(program);
    vm.expect(Class::Hvc);
    let rounds = 8;
    let start = machine::now();
    (0..rounds).for_each(|_| vm.expect(Class::Hvc));
    report(what, machine::now() - start - rounds * exit, rounds * CALLS);
    destroy(vm.v);
}

/// With an interrupt that the host does not take.
pub fn interrupts() {
    pend_an_interrupt();
    let vm = Vm::new(Program::Spin);
    let ticks = vm.time(|vm| assert_eq!(vm.run(), exit::IRQ));
    report("VM's entry, and exit by an interrupt", ticks, TIMES);
    destroy(vm.v);
}

pub fn faults() {
    let offer = |vm: &Vm, first: u64, memory: u64, level: u64| {
        vm.expect(Class::DataAbort);
        vm.set(run_page::FAULT_ADDR, first);
        vm.set(run_page::NEW_PAGE, memory);
        vm.set(run_page::NEW_LEVEL, level);
    };
    let vm = Vm::new(Program::TouchPages);
    let (pages, mut next) = (block(3), 0);
    let ticks = vm.time(|vm| {
        offer(vm, PAGES + next, pages + next, 3);
        next += PAGE;
    });
    report("VM's fault on a page that the host gives (4 KiB)", ticks, TIMES);
    destroy(vm.v);

    let rounds = 8;
    let with_blocks = |rounds: u64| {
        let vm = Vm::new(Program::TouchBlocks);
        let start = machine::now();
        for i in 0..rounds {
            offer(&vm, BLOCKS + i * BLOCK, block(5) + i * BLOCK, 2);
        }
        // What was offered last is taken at the next entry.
        vm.expect(Class::DataAbort);
        let ran = machine::now() - start;
        let start = machine::now();
        destroy(vm.v);
        (ran, machine::now() - start)
    };
    let (few, many) = (with_blocks(0), with_blocks(rounds));
    report("VM's fault on a block that the host gives (2 MiB)", many.0 - few.0, rounds);
    report("page scrubbed at a VM's end", many.1 - few.1, rounds * BLOCK / PAGE);
}

/// Makes SGI 0 pending at this CPU's interface, for good.
fn pend_an_interrupt() {
    let gic = tree::compatible("arm,gic-v3").expect("a GICv3");
    let mut ranges = tree::ranges(gic);
    let (gicd, gicr) = (ranges.next().expect("distributor").start, ranges.next().expect("redistributors").start);
    let sgis = gicr + 0x1_0000;
    let registers = [
        (gicd, 0x13),            // GICD_CTLR: ARE, groups
        (gicr + 0x14, 0),        // GICR_WAKER: awake
        (sgis + 0x80, u32::MAX), // GICR_IGROUPR0: group 1
        (sgis + 0x100, 1),       // GICR_ISENABLER0
        (sgis + 0x200, 1),       // GICR_ISPENDR0
    ];
    for (at, value) in registers {
        // SAFETY: registers of the GIC, which nobody else uses.
        unsafe { (at as *mut u32).write_volatile(value) };
    }
    machine::write!("icc_sre_el1", 7);
    machine::write!("icc_pmr_el1", 0xFF);
    machine::write!("icc_igrpen1_el1", 1);
}
