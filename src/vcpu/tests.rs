// SPDX-License-Identifier: GPL-2.0-only
//! vCPUs, from the host's call to the simulated CPU's registers and back.

mod calls;
mod context;
mod entry;
mod exits;
mod faults;
mod injection;
mod isolation;
mod power;
mod pvops;
mod shared;
mod states;
mod switch;
mod sysregs;
mod vgic;

use crate::abi::run_page::{ESR, FAR, HPFAR, PC, PSTATE, X};
use crate::addr::{Ipa, Pa, Pfn, VcpuId, Vmid};
use crate::lock::Held;
use crate::machine::Machine;
use crate::machine::sim::Cpu;
use crate::trap::{Exit, Registers, Syndrome};
use crate::vcpu::{Next, ShadowContext};
use crate::vm::{Image, Power, VcpuState, VmInfo, VmState};
use crate::world::{Core, GIB, MIB, World, range};

/// Where the image of the VM is.
const IMAGE: u64 = 0x4000_0000;
/// Bytes of it.
const IMAGE_SIZE: u64 = 0x1234;
/// Below every canary.
const CANARY: u64 = 0xCA11_0000_0000_0000;
/// ISS of a data abort: translation fault at level 3.
const TRANSLATION: u64 = 0b0000_0111;

fn vm(id: u64) -> Vmid {
    Vmid::new_vm(id).unwrap()
}

fn vcpu(id: u64) -> VcpuId {
    VcpuId::new(id).unwrap()
}

/// Looks at, or changes, the record of `v`.
fn record<R>(core: &Core, v: Vmid, f: impl FnOnce(&mut VmInfo) -> R) -> R {
    f(&mut core.acquire_lock_vm(v, &mut Held::nothing()).0)
}

/// Looks at, or changes, a shadow context.
fn with_context<R>(core: &Core, v: Vmid, vcpu: VcpuId, f: impl FnOnce(&mut ShadowContext) -> R) -> R {
    f(&mut core.context(v, vcpu, &mut Held::nothing()).unwrap().0)
}

/// The syndrome of an exception of class `class`.
fn esr(class: u64, iss: u64) -> u64 {
    class << 26 | Syndrome::IL | iss
}

/// A data abort of an access to `register`, `1 << size` bytes wide, with a valid ISS.
fn access(register: u64, size: u64, write: bool) -> u64 {
    let write = if write { Syndrome::WNR } else { 0 };
    esr(0x24, Syndrome::ISV | size << 22 | register << 16 | write | TRANSLATION)
}

/// HPFAR_EL2 for an abort at `ipa`.
fn hpfar(ipa: u64) -> u64 {
    ipa >> 12 << 4
}

/// The page that vCPU `vcpu` shares with the host.
fn run_page(vcpu: u64) -> Pfn {
    Pfn::new((GIB + MIB) / 4096 + vcpu).unwrap()
}

/// A VM with one image and two vCPUs that never ran, and the CPU's general registers.
struct Guest {
    core: Core,
    regs: Registers,
}

impl Guest {
    fn new() -> Self {
        Self::at(vm(2))
    }

    fn at(v: Vmid) -> Self {
        Self::of(&World { ram: std::vec![range(GIB, 64 * MIB)], ..World::default() }, v)
    }

    fn of(world: &World, v: Vmid) -> Self {
        let core = world.boot();
        core.new_npt(v, &mut Held::nothing()).unwrap();
        record(&core, v, |info| {
            info.state = VmState::Verified;
            for id in 0..2 {
                info.vcpu_mut(vcpu(id)).state = VcpuState::Ready;
                info.vcpu_mut(vcpu(id)).run_page = Some(run_page(id));
            }
            let [load_addr, remap_addr] = [IMAGE, 0x200_0000].map(|at| Ipa::new(at).unwrap());
            let image = Image::new(load_addr, IMAGE_SIZE, remap_addr, [0; 64]);
            info.images.push(Image { mapped_pages: 2, ..image });
        });
        let guest = Self { core, regs: core::array::from_fn(|i| 0x0057_0000 + i as u64) };
        for id in 0..2 {
            with_context(&guest.core, v, vcpu(id), |context| context.dirty = ShadowContext::NEVER_RUN);
            guest.put(id, PC, IMAGE);
            guest.put(id, PSTATE, 0x3C5);
        }
        guest
    }

    /// The VM turns vCPU 1 on, where its image begins.
    fn turn_on_other(&self) {
        record(&self.core, vm(2), |info| {
            info.vcpu_mut(vcpu(1)).power = Power::Pending { entry: IMAGE, argument: 0 };
        });
    }

    /// Writes a word of a run page, as the host.
    fn put(&self, vcpu: u64, offset: u64, value: u64) {
        self.core.machine().shared_store(Pa::low_48(run_page(vcpu).base().as_u64() + offset), value);
    }

    fn word(&self, vcpu: u64, offset: u64) -> u64 {
        self.core.machine().shared_load(Pa::low_48(run_page(vcpu).base().as_u64() + offset))
    }

    /// What the last exit said: ESR, HPFAR, FAR.
    fn told(&self) -> [u64; 3] {
        [ESR, HPFAR, FAR].map(|offset| self.word(0, offset))
    }

    /// The general registers in the run page that hold a canary.
    fn shown(&self) -> std::vec::Vec<u64> {
        (0..512).filter(|i| self.word(0, i * 8) >= CANARY).map(|i| i - X / 8).collect()
    }

    fn cpu(&self) -> Cpu {
        self.core.machine().with_cpu(|cpu| cpu.clone())
    }

    fn context(&self) -> ShadowContext {
        with_context(&self.core, vm(2), vcpu(0), |context| context.clone())
    }

    fn vcpu_state(&self) -> VcpuState {
        record(&self.core, vm(2), |info| info.vcpu(vcpu(0)).state)
    }

    fn vm_state(&self) -> VmState {
        record(&self.core, vm(2), |info| info.state)
    }

    /// VCPU_RUN for vCPU 0 of VM 2.
    fn run(&mut self) -> Next {
        self.core.host_vcpu_run_handler(vm(2), vcpu(0), &mut self.regs, &mut Held::nothing())
    }

    /// Runs it, and puts a canary into each of its general registers.
    fn run_with_canaries(&mut self) {
        assert_eq!(self.run(), Next::Vm);
        self.regs = core::array::from_fn(|i| CANARY + i as u64 * 0x0101_0101_0101);
    }

    /// It stops, with these in ESR_EL2, HPFAR_EL2 and FAR_EL2.
    fn exit(&mut self, why: Exit, [esr, hpfar, far]: [u64; 3]) -> Next {
        self.core.machine().with_cpu(|cpu| {
            cpu.registers.esr_el2 = esr;
            cpu.registers.hpfar_el2 = hpfar;
            cpu.registers.far_el2 = far;
        });
        self.core.vm_exit_handler(why, &mut self.regs, &mut Held::nothing())
    }

    /// It traps.
    fn trap(&mut self, esr: u64) -> Next {
        self.exit(Exit::Trap, [esr, 0, 0])
    }
}
