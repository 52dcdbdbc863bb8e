// SPDX-License-Identifier: GPL-2.0-only
//! A virtual machine of KVM's, with all that belongs to a guest.

use crate::Problem;
use crate::arguments::ConsoleKind;
use crate::bus::{Bus, Interrupt};
use crate::driver;
use crate::guest::{BootImage, Guest, Signature};
use crate::layout::{
    GIC_DISTRIBUTOR, GIC_INTERRUPTS, GIC_REDISTRIBUTORS, RAM, SERIAL, SERIAL_INTERRUPT, SERIAL_SIZE, VIRTIO,
    VIRTIO_INTERRUPT, VIRTIO_SIZE, VIRTIO_STRIDE,
};
use crate::ram::Ram;
use crate::serial::SerialPort;
use crate::virtio::block::{Block, Image};
use crate::virtio::console::Console;
use crate::virtio::{Backend, Virtio, registers, serve_until};
use kvm_bindings as kvm;
use kvm_ioctls::{Cap, DeviceFd, IoEventAddress, Kvm, VcpuFd, VmFd};
use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use vmm_sys_util::eventfd::EventFd;

/// Registers of KVM_SET_ONE_REG: x0, pc, PSTATE (`struct kvm_regs`, in words of 4 bytes).
const CORE_REGISTER: u64 = kvm::KVM_REG_ARM64 | kvm::KVM_REG_SIZE_U64 | kvm::KVM_REG_ARM_CORE as u64;
const X0: u64 = CORE_REGISTER;
const PC: u64 = CORE_REGISTER | (32 * 2);
const PSTATE: u64 = CORE_REGISTER | (33 * 2);
/// EL1 with its own stack pointer, all interrupts masked.
const EL1H_MASKED: u64 = 0x3C5;
/// The version of the KVM API.
const API_VERSION: i32 = 12;

type Port = Arc<Mutex<SerialPort<Stdout>>>;
type HvcConsole = Arc<Mutex<Virtio<Console<Stdout>>>>;

/// A virtual machine that is ready to run.
pub struct Machine {
    /// KVM's.
    pub vm: Arc<VmFd>,
    /// Its virtual CPUs, the one that boots first.
    pub vcpus: Vec<VcpuFd>,
    /// Its devices.
    pub bus: Arc<Bus>,
    /// What its devices do beside.
    pub workers: Workers,
    /// Where input goes.
    pub input: Input,
    /// Kept as long as it runs.
    _ram: Ram,
    _gic: DeviceFd,
}

/// Where input goes.
#[derive(Clone)]
pub enum Input {
    /// To the serial port.
    Serial(Port),
    /// To the virtio console.
    Virtio(HvcConsole),
}

impl Input {
    /// Gives the guest input.
    pub fn send(&self, bytes: &[u8]) {
        match self {
            Self::Serial(port) => port.lock().unwrap_or_else(PoisonError::into_inner).input(bytes),
            Self::Virtio(console) => {
                let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
                console.backend().input(bytes);
                console.work();
            }
        }
    }
}

/// Threads of devices.
#[derive(Default)]
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<(EventFd, JoinHandle<()>)>,
}

impl Workers {
    /// A thread that works for `device` when `notified` says so.
    fn spawn<B: Backend + 'static>(&mut self, device: Arc<Mutex<Virtio<B>>>, notified: EventFd) -> io::Result<()> {
        let (stop, wake) = (self.stop.clone(), notified.try_clone()?);
        let serve = move || serve_until(&device, &notified, || stop.load(Ordering::SeqCst));
        self.threads.push((wake, thread::Builder::new().name("virtio".into()).spawn(serve)?));
        Ok(())
    }
}

impl Drop for Workers {
    /// Waits until all are at their end.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for (wake, thread) in self.threads.drain(..) {
            let _ = wake.write(1);
            let _ = thread.join();
        }
    }
}

impl Machine {
    /// Makes one for `guest`, with its images in memory, and for a protected one announced with their signatures.
    ///
    /// # Errors
    /// What KVM refuses, and what to do about it.
    pub fn new(
        kvm: &Kvm,
        guest: &Guest,
        images: &[BootImage<'_>],
        signatures: &[Signature],
        disks: &[Image],
    ) -> Result<Self, Problem> {
        let options = &guest.options;
        let vm = Arc::new(create(kvm, options.kind.protected)?);
        let ram = Ram::new(options.mem)?;
        let slot = kvm::kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: RAM,
            memory_size: ram.size(),
            userspace_addr: ram.host_address(),
        };
        // SAFETY: the memory lives in the result, as long as the VM does.
        unsafe { vm.set_user_memory_region(slot) }.map_err(|why| format!("memory of the guest: {why}"))?;
        let vcpus = vcpus(&vm, options.cpus)?;
        let gic = interrupt_controller(&vm).map_err(|why| format!("interrupt controller of the guest: {why}"))?;
        let mut devices = Devices { vm: &vm, ram: &ram, bus: Bus::default(), workers: Workers::default(), virtio: 0 };
        let input = devices.make(disks, options.console)?;
        let Devices { bus, workers, .. } = devices;
        for image in images {
            ram.write(image.address, &image.bytes).map_err(|why| format!("{}: {why}", image.name))?;
        }
        for (image, signature) in images.iter().zip(signatures) {
            driver::add_image(vm.as_ref(), image.address, image.bytes.len() as u64, *signature)
                .map_err(|why| format!("{}: {}", image.name, explain_image(&why)))?;
        }
        let registers = [(PC, guest.place.kernel), (X0, guest.place.fdt), (PSTATE, EL1H_MASKED)];
        for (register, value) in registers {
            let done = vcpus[0].set_one_reg(register, &value.to_le_bytes());
            done.map_err(|why| format!("registers of the guest: {why}"))?;
        }
        Ok(Self { vm, vcpus, bus: Arc::new(bus), workers, input, _ram: ram, _gic: gic })
    }
}

/// Opens KVM.
///
/// # Errors
/// If it is not there, or another version.
pub fn open() -> Result<Kvm, Problem> {
    let kvm = Kvm::new().map_err(|why| driver::explain_open(&why.into()))?;
    match kvm.get_api_version() {
        API_VERSION => Ok(kvm),
        other => Err(format!("{}: version {other} of the API instead of {API_VERSION}", driver::DEVICE)),
    }
}

fn create(kvm: &Kvm, protected: bool) -> Result<VmFd, Problem> {
    kvm.create_vm_with_type(if protected { driver::PROTECTED } else { 0 }).map_err(|why| match why.errno() {
        libc::EINVAL if protected => format!("{}: {why}; this driver makes no protected guests", driver::DEVICE),
        libc::ENOSPC | libc::EBUSY | libc::ENOMEM => format!("{}: {why}; are there too many guests?", driver::DEVICE),
        _ => format!("{}: no new guest: {why}", driver::DEVICE),
    })
}

/// The virtual CPUs; all but the first wait until the guest turns them on.
fn vcpus(vm: &VmFd, count: u32) -> Result<Vec<VcpuFd>, Problem> {
    let mut target = kvm::kvm_vcpu_init::default();
    vm.get_preferred_target(&mut target).map_err(|why| format!("what CPUs this machine has: {why}"))?;
    target.features[0] |= 1 << kvm::KVM_ARM_VCPU_PSCI_0_2;
    let make = |number: u32| {
        let vcpu = vm.create_vcpu(u64::from(number))?;
        let mut init = target;
        if number > 0 {
            init.features[0] |= 1 << kvm::KVM_ARM_VCPU_POWER_OFF;
        }
        vcpu.vcpu_init(&init)?;
        Ok(vcpu)
    };
    (0..count)
        .map(|number| make(number).map_err(|why: kvm_ioctls::Error| format!("virtual CPU {number}: {why}")))
        .collect()
}

/// The GICv3, in the kernel.
fn interrupt_controller(vm: &VmFd) -> Result<DeviceFd, kvm_ioctls::Error> {
    let mut gic = kvm::kvm_create_device { type_: kvm::kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, ..Default::default() };
    let gic = vm.create_device(&mut gic)?;
    let set = |group: u32, attr: u32, value: Option<&u64>| {
        let addr = value.map_or(0, |value| &raw const *value as u64);
        gic.set_device_attr(&kvm::kvm_device_attr { group, attr: u64::from(attr), addr, flags: 0 })
    };
    set(kvm::KVM_DEV_ARM_VGIC_GRP_ADDR, kvm::KVM_VGIC_V3_ADDR_TYPE_DIST, Some(&GIC_DISTRIBUTOR))?;
    set(kvm::KVM_DEV_ARM_VGIC_GRP_ADDR, kvm::KVM_VGIC_V3_ADDR_TYPE_REDIST, Some(&GIC_REDISTRIBUTORS))?;
    set(kvm::KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, Some(&u64::from(GIC_INTERRUPTS)))?;
    set(kvm::KVM_DEV_ARM_VGIC_GRP_CTRL, kvm::KVM_DEV_ARM_VGIC_CTRL_INIT, None)?;
    Ok(gic)
}

/// The devices, while they are made.
struct Devices<'a> {
    vm: &'a VmFd,
    ram: &'a Ram,
    bus: Bus,
    workers: Workers,
    virtio: u32,
}

impl Devices<'_> {
    fn make(&mut self, disks: &[Image], console: ConsoleKind) -> Result<Input, Problem> {
        let port = Arc::new(Mutex::new(SerialPort::new(self.interrupt(SERIAL_INTERRUPT)?, io::stdout())));
        self.bus.add(SERIAL, SERIAL_SIZE, port.clone())?;
        for disk in disks {
            self.virtio(Block::new(disk.clone()))?;
        }
        match console {
            ConsoleKind::Serial => Ok(Input::Serial(port)),
            ConsoleKind::Virtio => Ok(Input::Virtio(self.virtio(Console::new(io::stdout()))?)),
        }
    }

    /// The next virtio device.
    fn virtio<B: Backend + 'static>(&mut self, backend: B) -> Result<Arc<Mutex<Virtio<B>>>, Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("virtio device {}: {why}", self.virtio);
        let address = VIRTIO + u64::from(self.virtio) * VIRTIO_STRIDE;
        let queues = backend.queues() as u32;
        let interrupt = self.interrupt(VIRTIO_INTERRUPT + self.virtio)?;
        let device = Virtio::new(backend, self.ram.memory().clone(), interrupt).map_err(|why| problem(&why))?;
        let device = Arc::new(Mutex::new(device));
        let notified = EventFd::new(libc::EFD_CLOEXEC).map_err(|why| problem(&why))?;
        // Where KVM has no such events the guest's notification is a store like any other.
        if self.vm.check_extension(Cap::Ioeventfd) {
            let at = IoEventAddress::Mmio(address + registers::QUEUE_NOTIFY);
            for queue in 0..queues {
                self.vm.register_ioevent(&notified, &at, queue).map_err(|why| problem(&why))?;
            }
        }
        self.workers.spawn(device.clone(), notified).map_err(|why| problem(&why))?;
        self.bus.add(address, VIRTIO_SIZE, device.clone())?;
        self.virtio += 1;
        Ok(device)
    }

    fn interrupt(&self, number: u32) -> Result<Interrupt, Problem> {
        let problem = |why: &dyn std::fmt::Display| format!("interrupt {number} of the guest: {why}");
        let event = EventFd::new(libc::EFD_CLOEXEC).map_err(|why| problem(&why))?;
        self.vm.register_irqfd(&event, number).map_err(|why| problem(&why))?;
        Ok(Interrupt::new(event))
    }
}

/// Why an image was refused.
fn explain_image(why: &io::Error) -> Problem {
    match why.raw_os_error() {
        Some(libc::EOPNOTSUPP) => {
            format!(
                "{why}; Corevisor trusts no key: build it with make image IMAGE_KEYS=FILE, or have its loader give it one"
            )
        }
        Some(libc::ENOMEM) => format!("{why}; this machine has no room for it in contiguous memory, or see ulimit -l"),
        _ => why.to_string(),
    }
}
