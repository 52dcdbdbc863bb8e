// SPDX-License-Identifier: GPL-2.0-only
//! What is trapped while a VM runs, and which of the host's instruments are stopped meanwhile
//! (`spec/layers/13-machine-gaps.md` §13.3). What is optional in the architecture is trapped as a whole: the ID registers
//! that VMs see do not offer it.

use super::host_cpu::{CPTR_RES1, CPTR_TSM, CPTR_TZ};
use super::percpu::Own;
use super::sysreg::field;
use crate::{read_sysreg, write_sysreg};
use aarch64_cpu::asm::barrier;
use bitflags::bitflags;
use core::cell::UnsafeCell;

bitflags! {
    /// HCR_EL2 (Arm ARM D24.2.53), the bits that VMs run with.
    struct Hcr: u64 {
        /// Stage 2 is on.
        const VM = 1 << 0;
        /// Invalidation by set and way cleans, too.
        const SWIO = 1 << 1;
        /// Stage-1 walks through device memory fault.
        const PTW = 1 << 2;
        /// FIQs come to EL2, and FIQs of the virtual interface to EL1.
        const FMO = 1 << 3;
        /// The same for IRQs.
        const IMO = 1 << 4;
        /// The same for SErrors.
        const AMO = 1 << 5;
        /// TLB and instruction cache maintenance reaches all CPUs: the vCPU may go on elsewhere.
        const FB = 1 << 9;
        /// Barriers are at least inner shareable, likewise.
        const BSU_INNER = 0b01 << 10;
        /// WFI is trapped.
        const TWI = 1 << 13;
        /// WFE is trapped.
        const TWE = 1 << 14;
        /// REVIDR_EL1, AIDR_EL1, SMIDR_EL1 are trapped.
        const TID1 = 1 << 16;
        /// ID registers are trapped.
        const TID3 = 1 << 18;
        /// SMC is trapped.
        const TSC = 1 << 19;
        /// Implementation-defined system registers are trapped.
        const TIDCP = 1 << 20;
        /// ACTLR_EL1 is trapped.
        const TACR = 1 << 21;
        /// Cache maintenance by set and way is trapped.
        const TSW = 1 << 22;
        /// EL1 is AArch64.
        const RW = 1 << 31;
        /// LORegions are trapped.
        const TLOR = 1 << 35;
        /// RAS error records are trapped.
        const TERR = 1 << 36;
        /// Pointer authentication keys are the VM's.
        const APK = 1 << 40;
        /// Pointer authentication instructions are the VM's.
        const API = 1 << 41;
        /// GMID_EL1 is trapped.
        const TID5 = 1 << 58;
    }
}

bitflags! {
    /// MDCR_EL2 (Arm ARM D24.3.17).
    struct Mdcr: u64 {
        /// PMCR_EL0 is trapped.
        const TPMCR = 1 << 5;
        /// All counters are trapped.
        const TPM = 1 << 6;
        /// Debug registers are trapped.
        const TDA = 1 << 9;
        /// OS lock registers are trapped.
        const TDOSA = 1 << 10;
        /// Debug ROM registers are trapped.
        const TDRA = 1 << 11;
        /// Owner of the profiling buffer: EL2, which does not profile.
        const E2PB = 0b11 << 12;
        /// Profiling registers are trapped.
        const TPMS = 1 << 14;
        /// Trace filters are trapped.
        const TTRF = 1 << 19;
        /// Owner of the trace buffer: EL2, which does not trace.
        const E2TB = 0b11 << 24;
        /// The debug channel is trapped.
        const TDCC = 1 << 27;
    }
}

/// CPTR_EL2: FP and SIMD registers are trapped.
const CPTR_TFP: u64 = 1 << 10;
/// Trace registers.
const CPTR_TTA: u64 = 1 << 20;
/// Activity monitors.
const CPTR_TAM: u64 = 1 << 30;
/// MPAM2_EL2: MPAM0_EL1, MPAM1_EL1 are trapped.
const MPAM_TRAPS: u64 = 0b11 << 48;
/// PMCR_EL0: the counters count.
const PMCR_E: u64 = 1 << 0;
/// ICC_SRE_EL2: SRE, DFB and DIB, without Enable: ICC_SRE_EL1 is trapped.
const ICC_SRE_TRAPPED: u64 = 0b0111;

/// What optional registers this CPU has.
#[derive(Clone, Copy)]
struct Features {
    fine_grained: u64,
    hcrx: bool,
    mpam: bool,
    ras: bool,
    pointer_authentication: bool,
    counters: bool,
    profiling: bool,
    trace_filter: bool,
    branch_records: bool,
    activity_monitors: bool,
    gic_registers: bool,
}

impl Features {
    const NONE: Self = Self {
        fine_grained: 0,
        hcrx: false,
        mpam: false,
        ras: false,
        pointer_authentication: false,
        counters: false,
        profiling: false,
        trace_filter: false,
        branch_records: false,
        activity_monitors: false,
        gic_registers: false,
    };

    fn read() -> Self {
        let pfr0 = read_sysreg!("id_aa64pfr0_el1");
        let dfr0 = read_sysreg!("id_aa64dfr0_el1");
        let isar1 = read_sysreg!("id_aa64isar1_el1");
        let isar2 = read_sysreg!("S3_0_C0_C6_2"); // ID_AA64ISAR2_EL1: APA3, GPA3
        let pmu = field(dfr0, 8);
        // By any algorithm.
        let pauth =
            [field(isar1, 4), field(isar1, 8), field(isar1, 24), field(isar1, 28), field(isar2, 8), field(isar2, 12)];
        Self {
            fine_grained: field(read_sysreg!("id_aa64mmfr0_el1"), 56),
            hcrx: field(read_sysreg!("id_aa64mmfr1_el1"), 40) != 0,
            mpam: field(pfr0, 40) != 0 || field(read_sysreg!("id_aa64pfr1_el1"), 16) != 0,
            ras: field(pfr0, 28) != 0,
            pointer_authentication: pauth.iter().any(|&field| field != 0),
            counters: pmu != 0 && pmu != 0xF,
            profiling: field(dfr0, 32) != 0,
            trace_filter: field(dfr0, 40) != 0,
            branch_records: field(dfr0, 52) != 0,
            activity_monitors: field(pfr0, 44) != 0,
            gic_registers: field(pfr0, 24) != 0 && read_sysreg!("S3_4_C12_C9_5") & 1 != 0, // ICC_SRE_EL2.SRE
        }
    }

    /// Whether [`trap_rarely`] has anything to do: most CPUs have none of these.
    const fn are_rare(&self) -> bool {
        self.fine_grained != 0 || self.hcrx || self.mpam || self.profiling || self.trace_filter || self.branch_records
    }
}

/// What each CPU changes its traps between.
struct Cpu {
    features: Features,
    /// [`Features::are_rare`].
    rare: bool,
    /// A VM's HCR_EL2, CPTR_EL2 and MDCR_EL2.
    vm: [u64; 3],
    host: Host,
}

/// The host's values of what a VM runs with others of.
struct Host {
    /// Constant from [`set_up`] on, as all of the first group.
    cptr: u64,
    mdcr: u64,
    hcrx: u64,
    mpam: u64,
    /// HFGRTR, HFGWTR, HFGITR, HDFGRTR, HDFGWTR, HAFGRTR.
    fine_grained: [u64; 6],
    /// HFGRTR2, HFGWTR2, HFGITR2, HDFGRTR2, HDFGWTR2.
    fine_grained_2: [u64; 5],
    /// These change while the host runs.
    hcr: u64,
    vdisr: u64,
    pmcr: u64,
    pmscr: u64,
    trfcr: u64,
    brbcr: u64,
}

impl Cpu {
    const ZERO: Self = Self {
        features: Features::NONE,
        rare: false,
        vm: [0; 3],
        host: Host {
            cptr: 0,
            mdcr: 0,
            hcrx: 0,
            mpam: 0,
            fine_grained: [0; 6],
            fine_grained_2: [0; 5],
            hcr: 0,
            vdisr: 0,
            pmcr: 0,
            pmscr: 0,
            trfcr: 0,
            brbcr: 0,
        },
    };
}

static CPU: Own<Cpu> = Own::new([const { UnsafeCell::new(Cpu::ZERO) }; crate::MAX_CPUS]);

/// Notes how the host runs on this CPU, which is complete.
pub fn set_up() {
    let features = Features::read();
    CPU.with(|cpu| {
        let mdcr = read_sysreg!("mdcr_el2");
        cpu.features = features;
        cpu.rare = features.are_rare();
        cpu.vm = [vm_hcr(&features).bits(), vm_cptr(&features) | CPTR_TFP, vm_mdcr(mdcr)];
        let host = &mut cpu.host;
        host.cptr = read_sysreg!("cptr_el2");
        host.mdcr = mdcr;
        if features.hcrx {
            host.hcrx = read_sysreg!("S3_4_C1_C2_2");
        }
        if features.mpam {
            host.mpam = read_sysreg!("S3_4_C10_C5_0");
        }
        if features.fine_grained >= 1 {
            host.fine_grained = [
                read_sysreg!("S3_4_C1_C1_4"),
                read_sysreg!("S3_4_C1_C1_5"),
                read_sysreg!("S3_4_C1_C1_6"),
                read_sysreg!("S3_4_C3_C1_4"),
                read_sysreg!("S3_4_C3_C1_5"),
                if features.activity_monitors { read_sysreg!("S3_4_C3_C1_6") } else { 0 },
            ];
        }
        if features.fine_grained >= 2 {
            host.fine_grained_2 = [
                read_sysreg!("S3_4_C3_C1_2"),
                read_sysreg!("S3_4_C3_C1_3"),
                read_sysreg!("S3_4_C3_C1_7"),
                read_sysreg!("S3_4_C3_C1_0"),
                read_sysreg!("S3_4_C3_C1_1"),
            ];
        }
    });
}

/// Whether this CPU has pointer authentication.
#[inline(always)]
pub fn has_pointer_authentication() -> bool {
    CPU.with(|cpu| cpu.features.pointer_authentication)
}

/// Replaces a register by `$value`, and gives its old value.
macro_rules! swap_sysreg {
    ($name:literal, $value:expr) => {{
        let old = read_sysreg!($name);
        write_sysreg!($name, $value);
        old
    }};
}

/// AM-108 `activate_traps`.
#[inline(always)]
pub fn activate() {
    CPU.with(|Cpu { features, rare, vm: [hcr, cptr, mdcr], host }| {
        // SAFETY: traps and instruments of EL1 and EL0, which do not run now; E2H and TGE stay clear. Each register exists
        // where its feature does.
        unsafe {
            host.hcr = swap_sysreg!("hcr_el2", *hcr);
            write_sysreg!("cptr_el2", *cptr);
            write_sysreg!("mdcr_el2", *mdcr);
            if features.ras {
                host.vdisr = swap_sysreg!("S3_4_C12_C1_1", 0); // VDISR_EL2
            }
            if features.gic_registers {
                write_sysreg!("S3_4_C12_C9_5", ICC_SRE_TRAPPED);
            }
            if features.counters {
                // The host's counters see nothing of a VM.
                host.pmcr = read_sysreg!("pmcr_el0");
                if host.pmcr & PMCR_E != 0 {
                    write_sysreg!("pmcr_el0", host.pmcr & !PMCR_E);
                }
            }
            if *rare {
                trap_rarely(host, features);
            }
        }
    });
}

/// AM-109 `deactivate_traps`.
#[inline(always)]
pub fn deactivate() {
    CPU.with(|Cpu { features, rare, host, .. }| {
        // SAFETY: as in `activate`: what was there before.
        unsafe {
            write_sysreg!("hcr_el2", host.hcr);
            write_sysreg!("cptr_el2", host.cptr);
            write_sysreg!("mdcr_el2", host.mdcr);
            if features.ras {
                write_sysreg!("S3_4_C12_C1_1", host.vdisr);
            }
            if features.gic_registers {
                write_sysreg!("S3_4_C12_C9_5", 0xF);
            }
            if features.counters && host.pmcr & PMCR_E != 0 {
                write_sysreg!("pmcr_el0", host.pmcr);
            }
            if *rare {
                release_rarely(host, features);
            }
        }
    });
    barrier::isb(barrier::SY);
}

/// Lets EL2, and who runs next, use FP and SIMD registers, and SVE if `sve`; the other traps of a VM stay.
///
/// # Safety
/// Nothing of who ran before may be in the registers if a VM runs next.
pub unsafe fn let_fp_through(sve: bool) {
    let cptr = read_sysreg!("cptr_el2") & !(CPTR_TFP | CPTR_TZ);
    let tz = if sve { 0 } else { CPTR_TZ };
    // SAFETY: passed on.
    unsafe { write_sysreg!("cptr_el2", cptr | tz) };
}

fn vm_hcr(features: &Features) -> Hcr {
    let base = Hcr::VM | Hcr::SWIO | Hcr::PTW | Hcr::FMO | Hcr::IMO | Hcr::AMO | Hcr::FB | Hcr::BSU_INNER | Hcr::RW;
    let traps = Hcr::TWI | Hcr::TWE | Hcr::TID1 | Hcr::TID3 | Hcr::TID5 | Hcr::TSC | Hcr::TIDCP | Hcr::TACR | Hcr::TSW;
    let keys = if features.pointer_authentication { Hcr::APK | Hcr::API } else { Hcr::empty() };
    base | traps | Hcr::TLOR | Hcr::TERR | keys
}

fn vm_cptr(features: &Features) -> u64 {
    let monitors = if features.activity_monitors { CPTR_TAM } else { 0 };
    CPTR_RES1 | CPTR_TZ | CPTR_TSM | CPTR_TTA | monitors
}

fn vm_mdcr(host: u64) -> u64 {
    let traps = Mdcr::TPMCR | Mdcr::TPM | Mdcr::TDA | Mdcr::TDOSA | Mdcr::TDRA | Mdcr::TPMS | Mdcr::TTRF | Mdcr::TDCC;
    host & !(Mdcr::E2PB | Mdcr::E2TB).bits() | traps.bits()
}

/// What few CPUs have. Of the fine-grained trap bits, those that trap when clear are of optional registers. The host's
/// profilers and traces see nothing of a VM.
///
/// # Safety
/// EL1 must not be running.
#[cold]
unsafe fn trap_rarely(host: &mut Host, features: &Features) {
    // SAFETY: passed on; the registers exist with FEAT_HCX, FEAT_MPAM, FEAT_FGT, FEAT_AMUv1, FEAT_FGT2, FEAT_SPE, FEAT_TRF
    // and FEAT_BRBE. PSB and TSB are hints.
    unsafe {
        if features.hcrx {
            write_sysreg!("S3_4_C1_C2_2", 0);
        }
        if features.mpam {
            write_sysreg!("S3_4_C10_C5_0", MPAM_TRAPS);
        }
        if features.fine_grained >= 1 {
            write_sysreg!("S3_4_C1_C1_4", 0);
            write_sysreg!("S3_4_C1_C1_5", 0);
            write_sysreg!("S3_4_C1_C1_6", 0);
            write_sysreg!("S3_4_C3_C1_4", 0);
            write_sysreg!("S3_4_C3_C1_5", 0);
            if features.activity_monitors {
                write_sysreg!("S3_4_C3_C1_6", 0);
            }
        }
        if features.fine_grained >= 2 {
            write_sysreg!("S3_4_C3_C1_2", 0);
            write_sysreg!("S3_4_C3_C1_3", 0);
            write_sysreg!("S3_4_C3_C1_7", 0);
            write_sysreg!("S3_4_C3_C1_0", 0);
            write_sysreg!("S3_4_C3_C1_1", 0);
        }
        if features.profiling {
            host.pmscr = swap_sysreg!("S3_0_C9_C9_0", 0); // PMSCR_EL1
            core::arch::asm!("isb", "hint #17", "dsb nsh", options(nostack, preserves_flags)); // PSB CSYNC
        }
        if features.trace_filter {
            host.trfcr = swap_sysreg!("S3_0_C1_C2_1", 0); // TRFCR_EL1
            core::arch::asm!("isb", "hint #18", "dsb nsh", options(nostack, preserves_flags)); // TSB CSYNC
        }
        if features.branch_records {
            host.brbcr = swap_sysreg!("S2_1_C9_C0_0", 0); // BRBCR_EL1
        }
    }
}

/// # Safety
/// EL1 must not be running.
#[cold]
unsafe fn release_rarely(host: &Host, features: &Features) {
    // SAFETY: passed on; as in `trap_rarely`.
    unsafe {
        if features.hcrx {
            write_sysreg!("S3_4_C1_C2_2", host.hcrx);
        }
        if features.mpam {
            write_sysreg!("S3_4_C10_C5_0", host.mpam);
        }
        if features.fine_grained >= 1 {
            write_sysreg!("S3_4_C1_C1_4", host.fine_grained[0]);
            write_sysreg!("S3_4_C1_C1_5", host.fine_grained[1]);
            write_sysreg!("S3_4_C1_C1_6", host.fine_grained[2]);
            write_sysreg!("S3_4_C3_C1_4", host.fine_grained[3]);
            write_sysreg!("S3_4_C3_C1_5", host.fine_grained[4]);
            if features.activity_monitors {
                write_sysreg!("S3_4_C3_C1_6", host.fine_grained[5]);
            }
        }
        if features.fine_grained >= 2 {
            write_sysreg!("S3_4_C3_C1_2", host.fine_grained_2[0]);
            write_sysreg!("S3_4_C3_C1_3", host.fine_grained_2[1]);
            write_sysreg!("S3_4_C3_C1_7", host.fine_grained_2[2]);
            write_sysreg!("S3_4_C3_C1_0", host.fine_grained_2[3]);
            write_sysreg!("S3_4_C3_C1_1", host.fine_grained_2[4]);
        }
        if features.profiling {
            write_sysreg!("S3_0_C9_C9_0", host.pmscr);
        }
        if features.trace_filter {
            write_sysreg!("S3_0_C1_C2_1", host.trfcr);
        }
        if features.branch_records {
            write_sysreg!("S2_1_C9_C0_0", host.brbcr);
        }
    }
}
