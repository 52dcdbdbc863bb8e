// SPDX-License-Identifier: GPL-2.0-only
//! A virtual CPU, in a thread of its own.

use crate::bus::Bus;
use crate::{Problem, driver};
use corevisor::vm::Measurement;
use kvm_bindings as kvm;
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// How a guest's run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered off.
    PowerOff,
    /// It asks to be started again.
    Reset,
    /// It can't go on.
    Broken(Problem),
    /// The user ended it.
    Quit,
    /// A signal ended it.
    Signal(i32),
}

/// What the threads of a guest have in common.
pub struct Running {
    /// Signalled when there is an end.
    pub ended: EventFd,
    end: Mutex<Option<End>>,
    stop: AtomicBool,
}

impl Running {
    /// A guest that runs.
    ///
    /// # Errors
    /// If this process has too many files.
    pub fn new() -> Result<Self, Problem> {
        // The signal only interrupts KVM_RUN.
        register_signal_handler(SIGRTMIN(), on_kick).map_err(|why| why.to_string())?;
        let ended = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).map_err(|why| why.to_string())?;
        Ok(Self { ended, end: Mutex::new(None), stop: AtomicBool::new(false) })
    }

    /// Says how the run ends; the first to say so is right.
    pub fn end(&self, end: End) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        // It can be full only if it was signalled.
        let _ = self.ended.write(1);
    }

    /// How it ended.
    pub fn outcome(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has all virtual CPUs leave the guest, and waits for them. A signal may come just before a CPU enters it, so it is
    /// repeated.
    pub fn stop(&self, mut threads: Vec<JoinHandle<()>>) {
        self.stop.store(true, Ordering::SeqCst);
        while !threads.is_empty() {
            threads.retain(|thread| !thread.is_finished());
            for thread in &threads {
                let _ = thread.kill(SIGRTMIN());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// What a virtual CPU needs.
pub struct Context {
    /// The guest.
    pub running: Arc<Running>,
    /// Its devices.
    pub bus: Arc<Bus>,
    /// KVM's virtual machine, for the CPU that boots it, with the measurement that is expected, if one is.
    pub measure: Option<(Arc<VmFd>, Measurement)>,
}

/// Runs the virtual CPU until the guest's end.
pub fn run(mut vcpu: VcpuFd, mut context: Context) {
    while !context.running.stop.load(Ordering::SeqCst) {
        let end = match vcpu.run() {
            Ok(exit) => {
                if let Some((vm, expected)) = context.measure.take() {
                    check_measurement(&vm, &expected);
                }
                handle(&context.bus, exit)
            }
            Err(why) if matches!(why.errno(), libc::EINTR | libc::EAGAIN) => None,
            Err(why) => Some(Broken::Refused(why.errno())),
        };
        match end {
            None => {}
            Some(Broken::InternalError) => return context.running.end(End::Broken(internal_error(&mut vcpu))),
            Some(Broken::Refused(errno)) => return context.running.end(End::Broken(explain_run(errno))),
            Some(Broken::Ended(end)) => return context.running.end(end),
        }
    }
}

/// Why a virtual CPU does not go on.
enum Broken {
    Ended(End),
    InternalError,
    Refused(i32),
}

/// Does what the guest asks for.
fn handle(bus: &Bus, exit: VcpuExit<'_>) -> Option<Broken> {
    let broken = |why: Problem| Some(Broken::Ended(End::Broken(why)));
    match exit {
        VcpuExit::MmioRead(address, data) => bus.read(address, data),
        VcpuExit::MmioWrite(address, data) => bus.write(address, data),
        VcpuExit::Intr => {}
        VcpuExit::SystemEvent(kvm::KVM_SYSTEM_EVENT_SHUTDOWN, _) => return Some(Broken::Ended(End::PowerOff)),
        VcpuExit::SystemEvent(kvm::KVM_SYSTEM_EVENT_RESET, _) => return Some(Broken::Ended(End::Reset)),
        VcpuExit::SystemEvent(kvm::KVM_SYSTEM_EVENT_CRASH, _) => return broken("the guest has crashed".into()),
        VcpuExit::FailEntry(reason, cpu) => {
            return broken(format!("CPU {cpu} could not enter the guest, reason {reason:#x}; see dmesg"));
        }
        VcpuExit::InternalError => return Some(Broken::InternalError),
        other => return broken(format!("the guest has stopped in a way that is not understood: {other:?}")),
    }
    None
}

/// Tells the measurement, and whether it is what this program has computed.
fn check_measurement(vm: &VmFd, expected: &Measurement) {
    match driver::measurement(vm) {
        Ok(found) if found == *expected => {
            eprint!("corevisor-vm: measurement {}\r\n", corevisor_sign::hex(&found));
        }
        Ok(found) => eprint!(
            "corevisor-vm: measurement {}, but it should be {}\r\n",
            corevisor_sign::hex(&found),
            corevisor_sign::hex(expected)
        ),
        Err(why) => eprint!("corevisor-vm: the guest's measurement can't be read: {why}\r\n"),
    }
}

fn internal_error(vcpu: &mut VcpuFd) -> Problem {
    // SAFETY: the exit is KVM_EXIT_INTERNAL_ERROR, which has filled this part of the union.
    let suberror = unsafe { vcpu.get_kvm_run().__bindgen_anon_1.internal.suberror };
    format!("KVM can't go on with the guest (suberror {suberror}); see dmesg, and Corevisor's log")
}

fn explain_run(errno: i32) -> Problem {
    let why = std::io::Error::from_raw_os_error(errno);
    match errno {
        libc::EPERM | libc::EACCES | libc::EKEYREJECTED => {
            format!(
                "the guest does not start: {why}; does Corevisor trust the key that signed it, and are the options the same?"
            )
        }
        libc::ENOMEM => format!("the guest stops: {why}; this machine has too little memory, or see ulimit -l"),
        libc::EOPNOTSUPP => {
            format!("the guest does not start: {why}; does Corevisor trust any key? See make image IMAGE_KEYS=")
        }
        _ => format!("the guest stops: {why}"),
    }
}
