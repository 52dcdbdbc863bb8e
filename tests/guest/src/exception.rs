// SPDX-License-Identifier: GPL-2.0-only
//! Exceptions: those that a program expects, interrupts, and all others, which end the program.

#![allow(dead_code, reason = "for programs to come")]

use crate::protocol::VCPUS;
use crate::{gic, smp};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// All that vectors.S saves.
#[repr(C)]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    pub elr: u64,
    pub spsr: u64,
    pub esr: u64,
    pub far: u64,
    /// The vector's number, 0 to 15.
    pub vector: u64,
}

/// An exception that a program has caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    /// The vector's number: its offset / 0x80.
    pub vector: u64,
    pub esr: u64,
    pub far: u64,
    pub elr: u64,
    pub spsr: u64,
}

impl Exception {
    /// ESR_EL1.EC.
    pub fn class(&self) -> u64 {
        (self.esr >> 26) & 0x3F
    }

    /// Whether it says that an instruction is undefined: class 0, and nothing else.
    pub fn is_undefined(&self) -> bool {
        self.esr == 1 << 25
    }
}

/// What a vCPU keeps of exceptions that it expects.
struct Caught {
    expected: AtomicBool,
    count: AtomicU64,
    /// vector, ESR, FAR, ELR, SPSR of the first.
    first: [AtomicU64; 5],
}

static CAUGHT: [Caught; VCPUS] = [const {
    Caught { expected: AtomicBool::new(false), count: AtomicU64::new(0), first: [const { AtomicU64::new(0) }; 5] }
}; VCPUS];

/// Calls `f`, in which instructions may be refused: each is left out, or, if it was a branch to where nothing can be
/// executed, counts as a call that has returned. The first exception, if there was one.
pub fn catch(f: impl FnOnce()) -> Option<Exception> {
    let caught = &CAUGHT[smp::this()];
    caught.count.store(0, Ordering::SeqCst);
    caught.expected.store(true, Ordering::SeqCst);
    f();
    caught.expected.store(false, Ordering::SeqCst);
    let [vector, esr, far, elr, spsr] = [0, 1, 2, 3, 4].map(|i| caught.first[i].load(Ordering::SeqCst));
    (caught.count.load(Ordering::SeqCst) > 0).then_some(Exception { vector, esr, far, elr, spsr })
}

/// Called by vectors.S.
pub extern "C" fn handle(frame: &mut Frame) {
    const IRQ_EL1H: u64 = 5;
    if frame.vector == IRQ_EL1H {
        gic::handle();
        return;
    }
    let caught = &CAUGHT[smp::this()];
    if !frame.vector.is_multiple_of(4) || !caught.expected.load(Ordering::SeqCst) {
        caught.expected.store(false, Ordering::SeqCst);
        panic!(
            "exception {}: esr {:#x} far {:#x} elr {:#x} spsr {:#x} lr {:#x}",
            frame.vector, frame.esr, frame.far, frame.elr, frame.spsr, frame.x[30]
        );
    }
    if caught.count.fetch_add(1, Ordering::SeqCst) == 0 {
        let values = [frame.vector, frame.esr, frame.far, frame.elr, frame.spsr];
        caught.first.iter().zip(values).for_each(|(to, value)| to.store(value, Ordering::SeqCst));
    }
    let is_fetch = matches!(frame.esr >> 26, 0x20 | 0x21);
    frame.elr = if is_fetch { frame.x[30] } else { frame.elr + 4 };
}

/// Lets interrupts in from now on.
pub fn unmask_interrupts() {
    // SAFETY: the handler keeps all registers.
    unsafe { asm!("msr daifclr, #2", "isb", options(nostack)) };
}

/// Keeps interrupts out from now on.
pub fn mask_interrupts() {
    // SAFETY: only delays interrupts.
    unsafe { asm!("msr daifset, #2", options(nostack)) };
}

/// Has those interrupts handled that are pending now.
pub fn take_interrupts() {
    unmask_interrupts();
    mask_interrupts();
}
