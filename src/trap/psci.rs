// SPDX-License-Identifier: GPL-2.0-only
//! PSCI for the host (Arm DEN0022, version 1.1): its calls go on to the firmware, but wherever one names an address at
//! which a CPU shall begin, the firmware is given ours. A CPU thus always comes up in Corevisor at EL2, and enters
//! the host from there.

use super::Registers;
use crate::MAX_CPUS;
use crate::abi::stat;
use crate::addr::{HOSTVISOR, Pa};
use crate::corevisor::Corevisor;
use crate::lock::Held;
use crate::machine::Machine;
use arm_psci::{EntryPoint, ErrorCode, Function, FunctionId, PsciFeature};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The version that the host is told, at most: 1.1.
const VERSION_1_1: u64 = 0x0001_0001;
/// What boot has learnt about the firmware below us.
#[derive(Clone, Copy, Debug, Default)]
pub struct Firmware {
    /// PSCI_VERSION.
    pub psci_version: u32,
    /// CPU_SUSPEND takes the extended state format: bit 30 tells a power-down, else bit 16.
    pub extended_state: bool,
    /// SMCCC 1.1 or later.
    pub smccc_1_1: bool,
}

/// A CPU as the host sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CpuState {
    /// Off, or on its way there.
    Off,
    /// CPU_ON was accepted, the CPU has not entered the host yet.
    OnPending,
    /// Running the host.
    On,
}

/// No entry point: none is aligned to 1.
const NO_ENTRY: u64 = 1;

struct HostCpu {
    mpidr: u64,
    state: AtomicU8,
    /// Where in the host the CPU begins when the firmware starts it, and its x0 there.
    entry: AtomicU64,
    context: AtomicU64,
}

/// All CPUs that the device tree names, and the firmware that switches them.
pub struct HostCpus {
    cpus: ArrayVec<HostCpu, MAX_CPUS>,
    firmware: Firmware,
}

impl HostCpus {
    /// CPUs with these MPIDR affinity values (at most [`MAX_CPUS`]), of which number `boot` is on.
    pub fn new(mpidrs: impl IntoIterator<Item = u64>, boot: usize, firmware: Firmware) -> Self {
        let cpus = mpidrs.into_iter().take(MAX_CPUS).enumerate().map(|(i, mpidr)| HostCpu {
            mpidr,
            state: AtomicU8::new(if i == boot { CpuState::On } else { CpuState::Off } as u8),
            entry: AtomicU64::new(NO_ENTRY),
            context: AtomicU64::new(0),
        });
        Self { cpus: cpus.collect(), firmware }
    }

    /// Number of CPUs.
    pub fn len(&self) -> usize {
        self.cpus.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cpus.is_empty()
    }

    /// Number of CPUs that run the host.
    pub fn on(&self) -> usize {
        self.cpus.iter().filter(|c| c.state.load(Ordering::Relaxed) == CpuState::On as u8).count()
    }

    /// The firmware.
    pub fn firmware(&self) -> Firmware {
        self.firmware
    }

    /// For a CPU that the firmware has just started at our entry: where in the host it begins, and its x0 there. It is
    /// on from here. `None` if nobody asked for it.
    pub fn take_start(&self, cpu: usize) -> Option<(u64, u64)> {
        let me = self.cpus.get(cpu)?;
        let entry = me.entry.swap(NO_ENTRY, Ordering::AcqRel);
        me.state.store(CpuState::On as u8, Ordering::Release);
        (entry != NO_ENTRY).then(|| (entry, me.context.load(Ordering::Relaxed)))
    }

    /// For a CPU that was started and can't run the host.
    pub fn leave_off(&self, cpu: usize) {
        if let Some(me) = self.cpus.get(cpu) {
            me.change(CpuState::OnPending, CpuState::Off);
        }
    }
}

impl HostCpu {
    fn change(&self, from: CpuState, to: CpuState) -> bool {
        self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn set_start(&self, entry: u64, context: u64) {
        self.context.store(context, Ordering::Relaxed);
        self.entry.store(entry, Ordering::Release);
    }
}

/// The result of a call: x0 of success, or an error.
type Outcome = Result<u64, ErrorCode>;

/// Whether the host may call a function. The others change what Corevisor has no view of, or would have to undo.
fn is_served(id: FunctionId) -> bool {
    use FunctionId as Id;
    matches!(
        id,
        Id::PsciVersion
            | Id::PsciFeatures
            | Id::CpuSuspend32
            | Id::CpuSuspend64
            | Id::CpuOff
            | Id::CpuOn32
            | Id::CpuOn64
            | Id::AffinityInfo32
            | Id::AffinityInfo64
            | Id::MigrateInfoType
            | Id::SystemOff
            | Id::SystemReset
            | Id::SystemReset232
            | Id::SystemReset264
            | Id::CpuDefaultSuspend32
            | Id::CpuDefaultSuspend64
            | Id::NodeHwState32
            | Id::NodeHwState64
            | Id::SystemSuspend32
            | Id::SystemSuspend64
            | Id::PsciStatResidency32
            | Id::PsciStatResidency64
            | Id::PsciStatCount32
            | Id::PsciStatCount64
    )
}

impl<M: Machine> Corevisor<M> {
    /// Carries out the PSCI function `id` with its arguments in `regs`; the result goes to x0. SYSTEM_OFF, CPU_OFF and
    /// the like return only if the firmware refuses.
    pub(super) fn psci<const OUTER: u8>(&self, id: u32, regs: &mut Registers, outer: &mut Held<'_, OUTER>) {
        self.drain_dma_events(outer);
        let args = [id.into(), regs[1], regs[2], regs[3]];
        let outcome = match FunctionId::try_from(id) {
            // Before its arguments are looked at: what does not exist has none that could be wrong.
            Ok(id) if is_served(id) => Function::try_from(&args)
                .map_err(ErrorCode::from)
                .and_then(|function| self.psci_function(function, &args, outer)),
            _ => Err(ErrorCode::NotSupported),
        };
        regs[0] = outcome.unwrap_or_else(|error| {
            self.count(stat::REFUSED_CALL);
            i64::from(i32::from(error)) as u64
        });
    }

    fn psci_function<const OUTER: u8>(
        &self,
        function: Function,
        args: &[u64; 4],
        outer: &mut Held<'_, OUTER>,
    ) -> Outcome {
        match function {
            Function::Version => Ok(VERSION_1_1.min(self.cpus().firmware.psci_version.into())),
            Function::Features { psci_func_id } => self.psci_features(psci_func_id),
            Function::CpuOn { target_cpu, entry } => self.cpu_on(target_cpu.into(), entry, outer),
            Function::CpuOff => self.cpu_off(),
            Function::CpuSuspend { entry, .. } => {
                let power_down = if self.cpus().firmware.extended_state { 1 << 30 } else { 1 << 16 };
                self.suspend(args[0], Some(args[1] & 0xFFFF_FFFF), args[1] & power_down != 0, entry, outer)
            }
            Function::CpuDefaultSuspend { entry } | Function::SystemSuspend { entry } => {
                self.suspend(args[0], None, true, entry, outer)
            }
            Function::SystemOff | Function::SystemReset | Function::SystemReset2 { .. } => {
                self.say_farewell(function.function_id(), outer);
                self.ask_firmware(args)
            }
            // These take no address and change nothing but the power state of what they name.
            Function::AffinityInfo { .. }
            | Function::MigrateInfoType
            | Function::NodeHwState { .. }
            | Function::StatResidency { .. }
            | Function::StatCount { .. } => self.ask_firmware(args),
            _ => Err(ErrorCode::NotSupported),
        }
    }

    /// Hands a call on; 32-bit functions with 32-bit arguments.
    fn ask_firmware(&self, args: &[u64; 4]) -> Outcome {
        let width = if args[0] & (1 << 30) == 0 { u64::from(u32::MAX) } else { u64::MAX };
        let [id, a, b, c] = *args;
        Ok(self.machine().firmware_call([id, a & width, b & width, c & width])[0])
    }

    fn psci_features(&self, feature: PsciFeature) -> Outcome {
        let asked = match feature {
            PsciFeature::SmcccVersion => return Ok(0),
            PsciFeature::PsciFunction(id) => id,
        };
        match asked {
            FunctionId::PsciVersion | FunctionId::PsciFeatures => Ok(0),
            asked if is_served(asked) => {
                self.ask_firmware(&[u32::from(FunctionId::PsciFeatures).into(), u32::from(asked).into(), 0, 0])
            }
            _ => Err(ErrorCode::NotSupported),
        }
    }

    fn cpu_on<const OUTER: u8>(&self, target: u64, entry: EntryPoint, outer: &mut Held<'_, OUTER>) -> Outcome {
        let cpus = &self.cpus().cpus;
        let index = cpus.iter().position(|c| c.mpidr == target).ok_or(ErrorCode::InvalidParameters)?;
        let cpu = &cpus[index];
        self.check_entry(&entry, outer)?;
        if !cpu.change(CpuState::Off, CpuState::OnPending) {
            return Err(match cpu.state.load(Ordering::Acquire) {
                state if state == CpuState::OnPending as u8 => ErrorCode::OnPending,
                _ => ErrorCode::AlreadyOn,
            });
        }
        cpu.set_start(entry.entry_point_address(), entry.context_id());
        let (at, context) = self.machine().cpu_entry(index);
        let id = u32::from(FunctionId::CpuOn64).into();
        let [result, ..] = self.machine().firmware_call([id, target, at.as_u64(), context]);
        if result as i32 != 0 {
            // E.g. ALREADY_ON: on its way off, but not there yet.
            cpu.change(CpuState::OnPending, CpuState::Off);
        }
        Ok(i64::from(result as i32) as u64)
    }

    fn cpu_off(&self) -> Outcome {
        let me = &self.cpus().cpus[self.machine().cpu()];
        // From here on another CPU may start us again; the firmware tells it if that is too early.
        me.change(CpuState::On, CpuState::Off);
        let result = self.ask_firmware(&[u32::from(FunctionId::CpuOff).into(), 0, 0, 0]);
        // Refused. We run, whatever a CPU_ON that found us off, and is with the firmware now, has made of the state.
        me.state.store(CpuState::On as u8, Ordering::Release);
        result
    }

    /// CPU_SUSPEND (with its state), CPU_DEFAULT_SUSPEND and SYSTEM_SUSPEND. The firmware always gets our entry, whether
    /// or not it will use one.
    fn suspend<const OUTER: u8>(
        &self,
        id: u64,
        state: Option<u64>,
        power_down: bool,
        entry: EntryPoint,
        outer: &mut Held<'_, OUTER>,
    ) -> Outcome {
        let index = self.machine().cpu();
        let me = &self.cpus().cpus[index];
        if power_down {
            self.check_entry(&entry, outer)?;
            me.set_start(entry.entry_point_address(), entry.context_id());
        }
        let (at, context) = self.machine().cpu_entry(index);
        let args = match state {
            Some(state) => [id | (1 << 30), state, at.as_u64(), context],
            None => [id | (1 << 30), at.as_u64(), context, 0],
        };
        let [result, ..] = self.machine().firmware_call(args);
        me.set_start(NO_ENTRY, 0);
        Ok(i64::from(result as i32) as u64)
    }

    /// An entry point must be an instruction of the host's own memory.
    fn check_entry<const OUTER: u8>(&self, entry: &EntryPoint, outer: &mut Held<'_, OUTER>) -> Result<(), ErrorCode> {
        let pa = Pa::new(entry.entry_point_address()).filter(|pa| pa.is_aligned(4));
        let pa = pa.ok_or(ErrorCode::InvalidAddress)?;
        let (s2page, _) = self.acquire_lock_s2page(outer);
        match s2page.get_pfn_owner(pa.frame()) {
            Some(HOSTVISOR) => Ok(()),
            _ => Err(ErrorCode::InvalidAddress),
        }
    }

    /// The last line of a life: what it was made of.
    fn say_farewell<const OUTER: u8>(&self, id: FunctionId, outer: &mut Held<'_, OUTER>) {
        let stat = |id| self.stats().sum(id);
        let tables = self.stat(stat::HOST_TABLE_PAGES, outer).unwrap_or_default();
        log::info!(
            "stats: hvc={} smc={} data-aborts={} instruction-aborts={} sysreg={} serror={} other={} \
             host-device-faults={} host-ram-faults={} refused-accesses={} refused-calls={} splits={} \
             tlb-invalidations={} host-table-pages={tables}",
            stat(stat::TRAP_HVC),
            stat(stat::TRAP_SMC),
            stat(stat::TRAP_DATA_ABORT),
            stat(stat::TRAP_INSTRUCTION_ABORT),
            stat(stat::TRAP_SYSREG),
            stat(stat::TRAP_SERROR),
            stat(stat::TRAP_OTHER),
            stat(stat::HOST_FAULT_DEVICE),
            stat(stat::HOST_FAULT_RAM),
            stat(stat::REFUSED_ACCESS),
            stat(stat::REFUSED_CALL),
            stat(stat::BLOCK_SPLIT),
            stat(stat::TLB_INVALIDATIONS),
        );
        log::info!("host asks for {id:?}");
    }
}
