// SPDX-License-Identifier: GPL-2.0-only
//! FP, SIMD and SVE registers, switched lazily: the host's stay where they are until the vCPU that runs touches its own.
//!
//! VMs have no SVE (CPTR_EL2.TZ), but the host's vectors share their registers with the VM's q registers, so all of them
//! are kept.

use super::percpu::Own;
use super::sysreg::field;
use super::vm_traps;
use crate::read_sysreg;
use crate::vcpu::Fp;
use aarch64_cpu::asm::barrier;
use core::cell::UnsafeCell;

/// Whose registers they are on this CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// The host's, which runs.
    Host,
    /// The host's, while a vCPU runs that did not touch them yet.
    HostAway,
    /// The vCPU's that runs.
    Vcpu,
    /// Nobody's: the vCPU's are saved, the host's are not back yet.
    Nobody,
}

/// z0 to z31, p0 to p15, FFR, FPSR and FPCR, with room for vectors of 2048 bits; boot/fpsimd.S knows the layout.
#[repr(C, align(16))]
struct Sve([u8; SVE_SIZE]);

const SVE_SIZE: usize = 32 * 256 + 16 * 32 + 32 + 16;

#[repr(C)]
struct State {
    owner: Owner,
    /// The host's, while they are away. The first part of it, as an [`Fp`], on a CPU without SVE.
    host: Sve,
}

static STATE: Own<State> =
    Own::new([const { UnsafeCell::new(State { owner: Owner::Host, host: Sve([0; SVE_SIZE]) }) }; crate::MAX_CPUS]);

unsafe extern "C" {
    fn fpsimd_store(to: *mut Fp);
    fn fpsimd_load(from: *const Fp);
    fn sve_store(to: *mut Sve);
    fn sve_load(from: *const Sve);
}

fn has_sve() -> bool {
    field(read_sysreg!("id_aa64pfr0_el1"), 32) != 0
}

/// AM-106: of a vCPU that stops, to `fp`, if it had them; nothing for the host.
#[inline(always)]
pub fn save(fp: &mut Fp) {
    STATE.with(|state| {
        if state.owner == Owner::HostAway {
            state.owner = Owner::Host;
        } else if state.owner == Owner::Vcpu {
            // SAFETY: `fp` has the layout, and since `access` nothing traps.
            unsafe { fpsimd_store(fp) };
            state.owner = Owner::Nobody;
        }
    });
}

/// AM-107: those of who runs next. A vCPU, if `for_vcpu`, has to ask ([`access`]).
#[inline(always)]
pub fn restore(for_vcpu: bool) {
    STATE.with(|state| {
        if state.owner == Owner::Nobody {
            bring_back(state);
        }
        if for_vcpu && state.owner == Owner::Host {
            state.owner = Owner::HostAway;
        }
    });
}

/// The host's registers, which are away.
#[inline(never)]
fn bring_back(state: &mut State) {
    let host = &raw const state.host;
    // SAFETY: what `access` stored; the host's traps, which are none, are in force again.
    unsafe {
        if has_sve() {
            sve_load(host);
        } else {
            fpsimd_load(host.cast());
        }
    }
    state.owner = Owner::Host;
}

/// The vCPU that runs touched the registers: they become `fp`.
pub fn access(fp: &Fp) {
    STATE.with(|state| {
        if state.owner != Owner::HostAway {
            return;
        }
        let host = &raw mut state.host;
        let sve = has_sve();
        // SAFETY: nothing of FP or SVE traps at EL2 in between; both areas have their layout.
        unsafe {
            vm_traps::let_fp_through(sve);
            barrier::isb(barrier::SY);
            if sve {
                sve_store(host);
            } else {
                fpsimd_store(host.cast());
            }
            fpsimd_load(fp);
            vm_traps::let_fp_through(false);
        }
        state.owner = Owner::Vcpu;
    });
}
