// SPDX-License-Identifier: GPL-2.0-only
//! Traps from the host and from VMs, called by boot/vectors.S when the general registers of who ran are saved: layers
//! TrapHandlerRaw and TrapHandler (`spec/layers/09-traps.md` §9.4, §9.5). On return those of who is next are loaded.

use super::machine::{Hardware, firmware_call};
use super::{fatal, host_cpu, image, percpu};
use crate::abi::{self, stat};
use crate::addr::Range;
use crate::corevisor::Corevisor;
use crate::lock::{Held, rank};
use crate::platform::discover::Gic;
use crate::trap::inject::{self, Entry, Interrupted};
use crate::trap::{Class, Conduit, Exit, HostAbort, HostAction, Registers, Syndrome, SysregAnswer, Verdict};
use crate::{read_sysreg, write_sysreg};
use spin::Once;

/// PSCI CPU_OFF.
const CPU_OFF: u64 = 0x8400_0002;

/// What boot has made, and all traps use.
pub struct World {
    /// The one instance of the core.
    pub core: Corevisor<Hardware>,
    /// The interrupt controller.
    pub gic: Gic,
    /// Where the stacks of all CPUs lie, each above its guard page.
    pub stacks: Range,
}

static WORLD: Once<World> = Once::new();

/// Keeps `world` for all traps to come.
pub fn install(world: World) -> &'static World {
    WORLD.call_once(|| world)
}

/// Number of CPUs that run the host.
pub fn cpus_on() -> usize {
    WORLD.get().map_or(0, |world| world.core.cpus().on())
}

/// Whether `fp` can be the address of a frame record: aligned, on one of our stacks, and not on a guard page.
pub fn on_a_stack(fp: u64) -> bool {
    use crate::platform::layout::{GUARD_SIZE, STACK_SIZE};
    let record = Range { start: fp, end: fp.saturating_add(16) };
    let in_stacks = WORLD.get().is_some_and(|world| {
        world.stacks.covers(record) && (fp - world.stacks.start) % (GUARD_SIZE + STACK_SIZE) >= GUARD_SIZE
    });
    let in_image = image::boot_stack().covers(record) || image::epitaph_stack().covers(record);
    fp.is_multiple_of(16) && (in_stacks || in_image)
}

/// A synchronous exception from EL1 or EL0.
#[unsafe(no_mangle)]
extern "C" fn lower_sync() {
    let core = core_or_park();
    // SAFETY: the vectors' one call.
    let regs = unsafe { percpu::host_registers() };
    if core.host_runs() {
        host_sync(core, regs);
    } else {
        core.vm_exit_handler(Exit::Trap, regs, &mut Held::nothing());
    }
}

/// An interrupt while a VM ran. It stays pending, for the host to take.
#[unsafe(no_mangle)]
extern "C" fn lower_irq() {
    let core = core_or_park();
    // SAFETY: the vectors' one call.
    let regs = unsafe { percpu::host_registers() };
    assert!(!core.host_runs(), "the host's interrupts do not come to EL2");
    core.vm_exit_handler(Exit::Irq, regs, &mut Held::nothing());
}

/// A physical SError.
#[unsafe(no_mangle)]
extern "C" fn lower_serror() {
    let core = core_or_park();
    if core.current().is_some() {
        // SAFETY: the vectors' one call.
        let regs = unsafe { percpu::host_registers() };
        log::warn!("SError while a VM ran: esr={:#x}", read_sysreg!("esr_el2"));
        core.vm_exit_handler(Exit::SError, regs, &mut Held::nothing());
    } else {
        host_serror(core);
    }
}

/// Apart from the exits of VMs, as its parts are from each other: each keeps as few registers as it must.
#[inline(never)]
fn host_sync(core: &Corevisor<Hardware>, regs: &mut Registers) {
    let syndrome = Syndrome(read_sysreg!("esr_el2"));
    match syndrome.class() {
        Class::Hvc64 => call(core, Conduit::Hvc, syndrome, regs, &mut Held::nothing()),
        class => host_trap(core, class, syndrome, regs),
    }
}

#[inline(never)]
fn host_trap(core: &Corevisor<Hardware>, class: Class, syndrome: Syndrome, regs: &mut Registers) {
    let mut held = Held::nothing();
    match class {
        Class::Smc64 => {
            skip_instruction(syndrome); // a trapped SMC has not been executed
            call(core, Conduit::Smc, syndrome, regs, &mut held);
        }
        class @ (Class::DataAbort | Class::InstructionAbort) => {
            core.count(match class {
                Class::DataAbort => stat::TRAP_DATA_ABORT,
                _ => stat::TRAP_INSTRUCTION_ABORT,
            });
            let abort = HostAbort {
                syndrome,
                far: read_sysreg!("far_el2"),
                hpfar: read_sysreg!("hpfar_el2"),
                pc: read_sysreg!("elr_el2"),
            };
            match core.host_npt_handler(&abort, regs, &mut held) {
                Verdict::Retry => {}
                Verdict::Skip => skip_instruction(syndrome),
                Verdict::ExternalAbort => {
                    // SAFETY: a register of EL1, which is about to take an exception that explains it.
                    unsafe { write_sysreg!("far_el1", abort.far) };
                    enter(inject::external_abort(&interrupted(), syndrome));
                }
            }
        }
        Class::Sys64 => {
            core.count(stat::TRAP_SYSREG);
            match core.host_sysreg(syndrome, regs, || read_sysreg!("actlr_el1")) {
                SysregAnswer::Done => skip_instruction(syndrome),
                SysregAnswer::Undefined => enter(inject::undefined(&interrupted(), syndrome)),
            }
        }
        Class::Wfx | Class::Fp | Class::Hvc32 | Class::Hvc64 | Class::Smc32 | Class::Other(_) => {
            core.count(stat::TRAP_OTHER);
            core.refuse_trap(syndrome, read_sysreg!("elr_el2"));
            enter(inject::undefined(&interrupted(), syndrome));
        }
    }
}

/// An HVC or SMC instruction of the host.
#[inline(always)]
fn call(
    core: &Corevisor<Hardware>,
    conduit: Conduit,
    syndrome: Syndrome,
    regs: &mut Registers,
    held: &mut Held<'_, { rank::NONE }>,
) {
    match core.host_hvc_handler(conduit, syndrome.immediate(), regs, held) {
        HostAction::Resume => {}
        HostAction::Run { .. } if in_streaming_mode() => {
            // Its vectors can't be kept, and a VM must not run in this mode.
            core.count(stat::REFUSED_CALL);
            regs[0] = abi::DENIED as u64;
        }
        HostAction::Run { v, vcpu } => {
            core.host_vcpu_run_handler(v, vcpu, regs, held);
        }
    }
}

/// Whether this CPU is in SME's streaming mode.
fn in_streaming_mode() -> bool {
    super::sysreg::field(read_sysreg!("id_aa64pfr1_el1"), 24) != 0 && read_sysreg!("S3_3_C4_C2_2") & 1 != 0 // SVCR.SM
}

/// A physical SError while the host ran: it becomes the host's, as a virtual one with the same syndrome.
fn host_serror(core: &Corevisor<Hardware>) {
    core.count(stat::TRAP_SERROR);
    let esr = read_sysreg!("esr_el2");
    log::warn!("SError handed to the host: esr={esr:#x} pc={:#x}", read_sysreg!("elr_el2"));
    // SAFETY: makes a virtual SError pending for EL1; VSESR_EL2 exists with FEAT_RAS.
    unsafe {
        if super::sysreg::field(read_sysreg!("id_aa64pfr0_el1"), 28) != 0 {
            write_sysreg!("S3_4_C5_C2_3", esr & 0x1FF_FFFF); // VSESR_EL2: IDS and ISS
        }
        write_sysreg!("hcr_el2", read_sysreg!("hcr_el2") | host_cpu::HCR_VSE);
    }
}

/// The state that the host was interrupted in.
fn interrupted() -> Interrupted {
    Interrupted {
        pc: read_sysreg!("elr_el2"),
        pstate: read_sysreg!("spsr_el2"),
        vbar: read_sysreg!("vbar_el1"),
        sctlr: read_sysreg!("sctlr_el1"),
        features: host_cpu::pstate_features(),
    }
}

/// Returns to the host's vector instead of to where it was.
fn enter(entry: Entry) {
    // SAFETY: EL1's exception registers, and those that ERET uses: the host continues at its own vector.
    unsafe {
        write_sysreg!("esr_el1", entry.esr);
        write_sysreg!("elr_el1", entry.elr);
        write_sysreg!("spsr_el1", entry.spsr);
        write_sysreg!("elr_el2", entry.pc);
        write_sysreg!("spsr_el2", entry.pstate);
    }
}

/// Moves ELR_EL2 past the trapped instruction (AM-133, D-41).
fn skip_instruction(syndrome: Syndrome) {
    let length = if syndrome.0 & Syndrome::IL != 0 { 4 } else { 2 };
    // SAFETY: used by the next ERET only.
    unsafe { write_sysreg!("elr_el2", read_sysreg!("elr_el2").wrapping_add(length)) };
}

/// A CPU that the firmware has started at `secondary_entry`, with the map, the stack and TPIDR_EL2 set.
#[unsafe(no_mangle)]
extern "C" fn secondary_main() -> ! {
    core_or_park();
    let Some(world) = WORLD.get() else { fatal::park() };
    let cpu = percpu::index();
    let cpus = world.core.cpus();
    let too_small = host_cpu::physical_address_bits() < world.core.ipa_bits() || !world.core.machine().vgic.is_here();
    if too_small || host_cpu::check_e2h().is_err() {
        log::error!(
            "left off: this CPU has no EL2 without VHE, or fewer physical address bits or list registers than the boot CPU"
        );
        cpus.leave_off(cpu);
        firmware_call([CPU_OFF, 0, 0, 0]);
        fatal::park();
    }
    let Some((entry, context)) = cpus.take_start(cpu) else {
        log::error!("the firmware started a CPU that nobody asked for");
        fatal::park()
    };
    super::boot::enter_host_at(world, cpu, entry, context)
}

/// The core, for a CPU that has just come to EL2; it stays here if another has met its end.
fn core_or_park() -> &'static Corevisor<Hardware> {
    match WORLD.get() {
        Some(world) if !fatal::is_halted() => &world.core,
        _ => fatal::park(),
    }
}
