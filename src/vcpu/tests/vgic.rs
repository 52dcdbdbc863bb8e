// SPDX-License-Identifier: GPL-2.0-only
//! Interrupts and virtual time of vCPUs, from the host's run page to the simulated CPU's registers and back.

use super::{CANARY, Guest, record, run_page, vcpu, vm, with_context};
use crate::abi::run_page::{CNTV_CTL, CNTV_CVAL, ICH_HCR, ICH_MISR, LIST_REGISTER};
use crate::abi::{INVALID_PARAMETER, exit, host_call};
use crate::addr::Pa;
use crate::lock::Held;
use crate::machine::Machine;
use crate::machine::sim::{self, INTERFACE};
use crate::trap::{Conduit, Exit};
use crate::vcpu::vgic::{ENABLE, Interface, LIST_REGISTERS, Vgic};
use crate::vcpu::{Next, VirtualTimer};
use crate::world::snapshot;

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;

fn list(n: usize) -> u64 {
    LIST_REGISTER + 8 * n as u64
}

impl Guest {
    /// Words of the run page of `vcpu`, as the host reads them.
    fn words<const N: usize>(&self, vcpu: u64, offset: u64) -> [u64; N] {
        let mut words = [0; N];
        self.core.machine().shared_load_words(Pa::low_48(run_page(vcpu).base().as_u64() + offset), &mut words);
        words
    }

    /// VCPU_RUN of `id`.
    fn run_vcpu(&mut self, id: u64) -> Next {
        self.core.host_vcpu_run_handler(vm(2), vcpu(id), &mut self.regs, &mut Held::nothing())
    }

    fn interrupted(&mut self) {
        assert_eq!(self.exit(Exit::Irq, [0; 3]), Next::Host);
    }
}

/// A vCPU's state, other for each `n`.
fn state(n: u64) -> Vgic {
    Vgic { vmcr: n, ap0r: core::array::from_fn(|i| n + 1 + i as u64), ap1r: core::array::from_fn(|i| n + 5 + i as u64) }
}

// Tests: CS-3, CS-4, TR-3, TR-4
#[test]
fn list_registers_come_from_the_run_page_and_go_back_as_the_vcpu_left_them() {
    let mut guest = Guest::new();
    let given = [PENDING | 27 | 1 << 61 | 27 << 32, ACTIVE | 3, 0, PENDING | 8192];
    (0..4).for_each(|n| guest.put(0, list(n), given[n]));
    guest.put(0, ICH_HCR, 0b1010);
    assert_eq!(guest.run(), Next::Vm);
    let cpu = guest.cpu();
    assert_eq!((cpu.ich_hcr, &cpu.list[..4]), (ENABLE | 0b1010, given.as_ref()));
    let left = [27 | 1 << 61 | 27 << 32, 3, 0, PENDING | 8192];
    guest.core.machine().with_cpu(|cpu| {
        cpu.list[..4].copy_from_slice(&left);
        cpu.ich_hcr |= 3 << 27;
        cpu.ich_misr = 0b1010;
    });
    guest.interrupted();
    assert_eq!(guest.words(0, LIST_REGISTER), left);
    assert_eq!(guest.words(0, ICH_MISR), [0b1010 | 3 << 27]);
    assert_eq!(guest.words(0, ICH_HCR), [0b1010], "the host's own");
    let cpu = guest.cpu();
    assert_eq!((cpu.ich_hcr, cpu.list, cpu.ich_misr), (0, [0; LIST_REGISTERS], 0), "nothing for the host");
    // What hardware left can stay as it is.
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().list[..4], left);
    guest.interrupted();
    assert_eq!(guest.words(0, ICH_MISR), [0]);
}

// Tests: CS-4, VO-2, TR-3
#[test]
fn list_registers_that_hardware_can_not_hold_are_refused_and_nothing_changes() {
    let mut guest = Guest::new();
    let cases = [
        (ICH_HCR, 1),
        (ICH_HCR, 1 << 8),
        (ICH_HCR, 1 << 27),
        (list(0), PENDING | 1020),
        (list(1), PENDING | 1 << 16),
        (list(1), ACTIVE | 8192),
        (list(2), PENDING | 40), // as is list register 3
        (list(2), PENDING | ACTIVE | 1 << 61 | 32 << 32 | 32),
        (list(2), PENDING | 32 | 1 << 32),
        (list(3), 1 << 45),
    ];
    // Before the first entry, and before one that takes things over from the host.
    for round in 0..2 {
        for (offset, word) in cases {
            guest.put(0, list(3), PENDING | 40);
            guest.put(0, offset, word);
            let before = (snapshot(&guest.core), guest.context(), guest.cpu());
            let info = record(&guest.core, vm(2), |info| info.clone());
            assert_eq!((guest.run(), guest.regs[0]), (Next::Host, INVALID_PARAMETER as u64), "{offset} {word:#x}");
            assert_eq!((snapshot(&guest.core), guest.context(), guest.cpu()), before);
            assert_eq!(record(&guest.core, vm(2), |info| info.clone()), info);
            assert_eq!(guest.core.current(), None);
            let line = guest.core.machine().take_refusals().remove(0);
            assert!(line.starts_with("vcpu0 of vm2 not run: ") && line.ends_with(" is malformed"), "{line}");
            guest.put(0, offset, 0);
        }
        guest.put(0, list(3), PENDING | 40);
        assert_eq!(guest.run(), Next::Vm, "round {round}");
        assert_eq!(guest.trap(super::esr(0x16, 0)), Next::Host);
    }
}

// Attack 55. Tests: CS-3, CS-4
#[test]
fn vcpus_on_one_cpu_find_nothing_of_each_others_interrupts() {
    let mut guest = Guest::new();
    guest.turn_on_other();
    let given = |id: u64| [PENDING | (40 + id), ACTIVE | 50];
    for id in 0..2 {
        (0..2).for_each(|n| guest.put(id, list(n), given(id)[n]));
    }
    for round in 0..3 {
        for id in 0..2 {
            assert_eq!(guest.run_vcpu(id), Next::Vm);
            let cpu = guest.cpu();
            assert_eq!((&cpu.list[..2], &cpu.list[2..]), (given(id).as_ref(), [0; 14].as_ref()));
            let expected = if round == 0 { Vgic::RESET } else { state(CANARY + 100 * id) };
            assert_eq!(cpu.registers.vgic, expected, "{id} in round {round}");
            guest.core.machine().with_cpu(|cpu| cpu.registers.vgic = state(CANARY + 100 * id));
            guest.interrupted();
            assert_eq!(guest.cpu().registers.vgic, Vgic::RESET, "the host finds nothing");
            assert!(
                guest
                    .words::<512>(id, 0)
                    .iter()
                    .all(|&word| word < CANARY || word == given(id)[0] || word == given(id)[1])
            );
        }
    }
    // On another CPU, too.
    sim::set_cpu(1);
    assert_eq!(guest.run_vcpu(1), Next::Vm);
    assert_eq!(guest.cpu().registers.vgic, state(CANARY + 100));
    guest.interrupted();
    sim::set_cpu(0);
}

// Tests: CS-3, CS-4, VA-2
#[test]
fn without_an_interface_vms_run_without_interrupts() {
    let mut guest = Guest::new();
    guest.core.machine().set_virtual_interface(Interface::NONE);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().ich_hcr, 0);
    guest.interrupted();
    for (offset, word) in [(ICH_HCR, 2), (list(0), PENDING | 40)] {
        guest.put(0, offset, word);
        assert_eq!(guest.run(), Next::Vm);
        assert_eq!((guest.cpu().ich_hcr, guest.cpu().list), (0, [0; LIST_REGISTERS]), "not looked at");
        guest.interrupted();
        assert_eq!(guest.words(0, offset), [word]);
    }
    guest.core.machine().set_virtual_interface(INTERFACE);
    assert_eq!(guest.run(), Next::Vm);
}

// Tests: CS-3, CS-4, VA-2
#[test]
fn the_virtual_timer_is_the_vcpus_and_the_host_is_told_of_it() {
    let mut guest = Guest::new();
    guest.turn_on_other();
    with_context(&guest.core, vm(2), vcpu(0), |context| context.timer = VirtualTimer { ctl: 1, cval: 2 });
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().registers.timer, VirtualTimer::default(), "reset");
    let timer = VirtualTimer { ctl: 0b101, cval: 0x1234_5678_9ABC };
    guest.core.machine().with_cpu(|cpu| cpu.registers.timer = timer);
    assert_eq!(guest.trap(super::esr(0x01, 0)), Next::Host);
    assert_eq!((guest.words(0, CNTV_CTL), guest.words(0, CNTV_CVAL)), ([timer.ctl], [timer.cval]));
    assert_eq!(guest.cpu().registers.timer, VirtualTimer::default(), "it does not go on in the host");
    // The host can't set it.
    guest.put(0, CNTV_CTL, 3);
    guest.put(0, CNTV_CVAL, 5);
    assert_eq!(guest.run_vcpu(1), Next::Vm);
    assert_eq!(guest.cpu().registers.timer, VirtualTimer::default(), "another's");
    guest.interrupted();
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().registers.timer, timer);
    guest.interrupted();
}

// Tests: TD-1, CS-2, CS-4
#[test]
fn the_counters_offset_is_that_of_a_vms_first_entry_and_never_the_hosts() {
    let mut guest = Guest::new();
    guest.turn_on_other();
    let set = |guest: &Guest, offset: u64| {
        let mut regs = [0; 31];
        let id = crate::abi::HOST_CALL_BASE + host_call::TIMER_SET_CNTVOFF;
        regs[..3].copy_from_slice(&[id.into(), offset & 0xFFFF_FFFF, offset >> 32]);
        guest.core.host_hvc_handler(Conduit::Hvc, 0, &mut regs, &mut Held::nothing());
        assert_eq!(regs[0], 0);
        assert_eq!(guest.cpu().cntvoff, 0, "the host's");
    };
    set(&guest, 7);
    sim::set_cpu(1);
    set(&guest, 0x8000_0000_0000_0009);
    sim::set_cpu(0);
    guest.put(0, list(0), PENDING | 1023);
    assert_eq!(guest.run(), Next::Host);
    assert_eq!(record(&guest.core, vm(2), |info| info.cntvoff), None, "it was not entered");
    guest.put(0, list(0), 0);
    sim::set_cpu(1);
    assert_eq!(guest.run(), Next::Vm);
    assert_eq!(guest.cpu().cntvoff, 0x8000_0000_0000_0009);
    guest.interrupted();
    assert_eq!(guest.cpu().cntvoff, 0);
    // Whatever is set after that, and wherever its vCPUs run.
    set(&guest, 11);
    for cpu in [0, 1] {
        sim::set_cpu(cpu);
        for id in [0, 1] {
            assert_eq!(guest.run_vcpu(id), Next::Vm);
            assert_eq!(guest.cpu().cntvoff, 0x8000_0000_0000_0009);
            guest.interrupted();
            assert_eq!((guest.cpu().cntvoff, guest.regs[0]), (0, exit::IRQ));
        }
    }
    sim::set_cpu(0);
}
