// SPDX-License-Identifier: GPL-2.0-only
//! A CPU's registers as the host must find them: everything that EL2 could take from it and does not want is given to
//! it (Linux, "Booting AArch64 Linux"), and stage 2 and the traps are on (`spec/layers/13-machine-gaps.md` §13.3).

use super::sysreg::field;
use super::vm_traps;
use crate::addr::Pa;
use crate::platform::BootError;
use crate::platform::discover::Gic;
use crate::trap::inject::PstateFeatures;
use crate::{read_sysreg, write_sysreg};
use bitflags::bitflags;

bitflags! {
    /// HCR_EL2 (Arm ARM D24.2.53), the bits that the host runs with.
    struct Hcr: u64 {
        /// Stage 2 is on.
        const VM = 1 << 0;
        /// SErrors come to EL2, which hands them on.
        const AMO = 1 << 5;
        /// SMC is trapped.
        const TSC = 1 << 19;
        /// Implementation-defined system registers are trapped.
        const TIDCP = 1 << 20;
        /// ACTLR_EL1 is trapped.
        const TACR = 1 << 21;
        /// EL1 is AArch64.
        const RW = 1 << 31;
        /// Pointer authentication keys are the host's.
        const APK = 1 << 40;
        /// Pointer authentication instructions are the host's.
        const API = 1 << 41;
        /// Fault injection into RAS records is the host's.
        const FIEN = 1 << 47;
        /// SCXTNUM_ELx are the host's.
        const EN_SCXT = 1 << 53;
        /// Allocation tags are the host's.
        const ATA = 1 << 56;
    }
}

/// HCR_EL2.VSE: a virtual SError is pending.
pub const HCR_VSE: u64 = 1 << 8;
/// HCR_EL2.E2H: EL2 is a host OS's. Corevisor's is not.
const HCR_E2H: u64 = 1 << 34;

/// VTCR_EL2: write-back inner-shareable walks, 4 KiB granule, RES1 bit 31. T0SZ, SL0 and PS are added.
const VTCR: u64 = (0b01 << 8) | (0b01 << 10) | (0b11 << 12) | (1 << 31);
/// CPTR_EL2 with nothing trapped on a CPU without SVE and SME: the RES1 bits.
pub const CPTR_RES1: u64 = 0x33FF;
/// SVE is trapped.
pub const CPTR_TZ: u64 = 1 << 8;
/// SME is trapped.
pub const CPTR_TSM: u64 = 1 << 12;
/// SCTLR_EL1 with MMU and caches off: the RES1 bits.
const SCTLR_EL1_OFF: u64 = 0x30D0_0800;
/// SPSR_EL2: EL1h, DAIF masked.
const EL1H_MASKED: u64 = 0x3C5;

/// log2 of the physical addresses of this CPU, at most 48.
pub fn physical_address_bits() -> u32 {
    match read_sysreg!("id_aa64mmfr0_el1") & 0xF {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Affinity fields of this CPU's MPIDR_EL1.
pub fn mpidr() -> u64 {
    read_sysreg!("mpidr_el1") & 0xFF_00FF_FFFF
}

/// Checks that EL2 can be what it must: without VHE.
pub fn check_e2h() -> Result<(), BootError> {
    // SAFETY: no E2H, nothing routed or translated: EL2's own execution does not depend on the rest.
    unsafe { write_sysreg!("hcr_el2", Hcr::RW.bits()) };
    aarch64_cpu::asm::barrier::isb(aarch64_cpu::asm::barrier::SY);
    if read_sysreg!("hcr_el2") & HCR_E2H == 0 { Ok(()) } else { Err(BootError::FixedE2h) }
}

/// Which bits of PSTATE an exception into the host must set.
pub fn pstate_features() -> PstateFeatures {
    let pfr1 = read_sysreg!("id_aa64pfr1_el1");
    PstateFeatures {
        pan: field(read_sysreg!("id_aa64mmfr1_el1"), 20) != 0,
        ssbs: field(pfr1, 4) != 0,
        mte: field(pfr1, 8) >= 2,
        nmi: field(pfr1, 36) != 0,
    }
}

/// Sets up this CPU for the host whose stage-2 table starts at `root` and translates `ipa_bits` bits.
pub fn set_up(root: Pa, ipa_bits: u32, gic: Gic) {
    let pfr0 = read_sysreg!("id_aa64pfr0_el1");
    let pfr1 = read_sysreg!("id_aa64pfr1_el1");
    let isar1 = read_sysreg!("id_aa64isar1_el1");
    // SAFETY: these registers act on EL1 and EL0, which do not run yet, and on stage 2, of which the same holds.
    unsafe {
        stage2(root, ipa_bits);
        features(pfr0, pfr1);
        fine_grained_traps(pfr1);
        debug_and_counters();
        let vector_interface = field(pfr0, 24) != 0;
        if gic == Gic::V3 && vector_interface {
            // SRE for EL2 and, by Enable, for EL1; bypasses off.
            write_sysreg!("S3_4_C12_C9_5", 0xF); // ICC_SRE_EL2
            write_sysreg!("S3_4_C12_C11_0", 0); // ICH_HCR_EL2
        }
        write_sysreg!("cnthctl_el2", 0b11); // EL1PCTEN, EL1PCEN: counter and timer are the host's
        write_sysreg!("cntvoff_el2", 0);
        write_sysreg!("vpidr_el2", read_sysreg!("midr_el1"));
        write_sysreg!("vmpidr_el2", read_sysreg!("mpidr_el1"));
        write_sysreg!("hstr_el2", 0);
        write_sysreg!("hacr_el2", 0);
        write_sysreg!("sctlr_el1", SCTLR_EL1_OFF);
    }
    let mut hcr = Hcr::VM | Hcr::AMO | Hcr::TSC | Hcr::TIDCP | Hcr::TACR | Hcr::RW;
    let pauth = field(isar1, 4) | field(isar1, 8) | field(isar1, 24) | field(isar1, 28);
    let pauth_isar2 = read_sysreg!("S3_0_C0_C6_2"); // ID_AA64ISAR2_EL1: APA3, GPA3
    if pauth | field(pauth_isar2, 8) | field(pauth_isar2, 12) != 0 {
        hcr |= Hcr::API | Hcr::APK;
    }
    if field(pfr1, 8) >= 2 {
        hcr |= Hcr::ATA;
    }
    if field(pfr0, 28) >= 2 {
        hcr |= Hcr::FIEN;
    }
    if field(pfr0, 56) >= 2 || field(pfr1, 32) >= 2 {
        hcr |= Hcr::EN_SCXT;
    }
    // SAFETY: E2H and TGE stay clear; the rest acts on EL1 and EL0.
    unsafe {
        write_sysreg!("hcr_el2", hcr.bits());
        core::arch::asm!("isb", "tlbi alle1", "dsb nsh", "isb", options(nostack));
    }
    vm_traps::set_up();
}

/// Points ELR_EL2 and SPSR_EL2 at the host's `entry`, at EL1 with everything masked.
pub fn begin_at(entry: u64) {
    // SAFETY: used by the next ERET only.
    unsafe {
        write_sysreg!("elr_el2", entry);
        write_sysreg!("spsr_el2", EL1H_MASKED);
    }
}

/// # Safety
/// EL1 must not be running.
unsafe fn stage2(root: Pa, ipa_bits: u32) {
    // SL0: the walk starts at level 0 for more than 42 bits, else at level 1.
    let sl0 = if ipa_bits > 42 { 0b10 } else { 0b01 };
    let parange = (read_sysreg!("id_aa64mmfr0_el1") & 0xF).min(0b0101);
    let vtcr = VTCR | (64 - u64::from(ipa_bits)) | (sl0 << 6) | (parange << 16);
    // SAFETY: passed on.
    unsafe {
        write_sysreg!("vtcr_el2", vtcr);
        write_sysreg!("vttbr_el2", root.as_u64()); // VMID 0
    }
}

/// Vectors, matrices and other optional state: the host's, with all their length.
///
/// # Safety
/// EL1 must not be running.
unsafe fn features(pfr0: u64, pfr1: u64) {
    let sve = field(pfr0, 32) != 0;
    let sme = field(pfr1, 24) != 0;
    let mut cptr = CPTR_RES1;
    if sve {
        cptr &= !CPTR_TZ;
    }
    if sme {
        cptr &= !CPTR_TSM;
    }
    // SAFETY: passed on; each register exists where its feature does.
    unsafe {
        write_sysreg!("cptr_el2", cptr);
        core::arch::asm!("isb");
        if sve {
            write_sysreg!("S3_4_C1_C2_0", 0xF); // ZCR_EL2.LEN
        }
        if sme {
            let smfr0 = read_sysreg!("S3_0_C0_C4_5"); // ID_AA64SMFR0_EL1
            let fa64 = smfr0 & (1 << 63) != 0;
            let zt0 = field(smfr0, 56) != 0;
            let smcr = 0xF | (u64::from(fa64) << 31) | (u64::from(zt0) << 30);
            write_sysreg!("S3_4_C1_C2_6", smcr); // SMCR_EL2
        }
        let mpam = field(pfr0, 40) != 0 || field(pfr1, 16) != 0;
        if mpam {
            write_sysreg!("S3_4_C10_C5_0", 0); // MPAM2_EL2: nothing trapped
        }
        if field(read_sysreg!("id_aa64mmfr1_el1"), 40) != 0 {
            write_sysreg!("S3_4_C1_C2_2", hcrx(pfr1)); // HCRX_EL2
        }
        if field(read_sysreg!("id_aa64mmfr0_el1"), 60) >= 2 {
            write_sysreg!("S3_4_C14_C0_6", 0); // CNTPOFF_EL2
        }
    }
}

/// HCRX_EL2: bits that let EL1 use a feature, each where the feature exists.
fn hcrx(pfr1: u64) -> u64 {
    let isar1 = read_sysreg!("id_aa64isar1_el1");
    let isar2 = read_sysreg!("S3_0_C0_C6_2");
    let mmfr3 = read_sysreg!("S3_0_C0_C7_3");
    let pfr2 = read_sysreg!("S3_0_C0_C4_2");
    let ls64 = field(isar1, 60);
    let bits = [
        (0, ls64 >= 3),              // EnAS0
        (1, ls64 >= 1),              // EnALS
        (2, ls64 >= 2),              // EnASR
        (11, field(isar2, 16) != 0), // MSCEn
        (14, field(mmfr3, 0) != 0),  // TCR2En
        (15, field(mmfr3, 4) != 0),  // SCTLR2En
        (17, field(mmfr3, 32) != 0), // D128En
        (22, field(pfr1, 44) != 0),  // GCSEn
        (23, field(pfr2, 32) != 0),  // EnFPM
    ];
    bits.iter().filter(|(_, there)| *there).fold(0, |hcrx, (bit, _)| hcrx | (1 << bit))
}

/// The fine-grained trap registers: nothing is trapped. Most of their bits trap when set; those whose names begin with n
/// trap when clear.
///
/// # Safety
/// EL1 must not be running.
unsafe fn fine_grained_traps(pfr1: u64) {
    let fgt = field(read_sysreg!("id_aa64mmfr0_el1"), 56);
    if fgt == 0 {
        return;
    }
    let mmfr3 = read_sysreg!("S3_0_C0_C7_3"); // ID_AA64MMFR3_EL1
    let dfr0 = read_sysreg!("id_aa64dfr0_el1");
    let sme = field(pfr1, 24) != 0;
    let gcs = field(pfr1, 44) != 0;
    let brbe = field(dfr0, 52) != 0;
    let mask = |there: bool, bits: u64| if there { bits } else { 0 };
    let registers = mask(field(mmfr3, 24) != 0, 0b11 << 62) // nAMAIR2_EL1, nMAIR2_EL1
        | mask(field(mmfr3, 20) != 0, 1 << 61) // nS2POR_EL1
        | mask(field(mmfr3, 16) != 0, 0b11 << 59) // nPOR_EL1, nPOR_EL0
        | mask(field(mmfr3, 8) != 0, 0b11 << 57) // nPIR_EL1, nPIRE0_EL1
        | mask(field(pfr1, 48) != 0, 1 << 56) // nRCWMASK_EL1
        | mask(sme, 0b11 << 54) // nTPIDR2_EL0, nSMPRI_EL1
        | mask(gcs, 0b11 << 52) // nGCS_EL1, nGCS_EL0
        | mask(field(read_sysreg!("id_aa64isar1_el1"), 60) >= 3, 1 << 50); // nACCDATA_EL1
    let instructions = mask(gcs, 0b111 << 57) // nGCSEPP, nGCSSTR_EL1, nGCSPUSHM_EL1
        | mask(brbe, 0b11 << 55); // nBRBIALL, nBRBINJ
    let debug = mask(field(dfr0, 32) >= 3, 1 << 62) // nPMSNEVFR_EL1
        | mask(brbe, 0b111 << 59); // nBRBDATA, nBRBCTL, nBRBIDR
    // SAFETY: passed on; the registers exist with FEAT_FGT, FEAT_AMUv1 and FEAT_FGT2.
    unsafe {
        write_sysreg!("S3_4_C1_C1_4", registers); // HFGRTR_EL2
        write_sysreg!("S3_4_C1_C1_5", registers); // HFGWTR_EL2
        write_sysreg!("S3_4_C1_C1_6", instructions); // HFGITR_EL2
        write_sysreg!("S3_4_C3_C1_4", debug); // HDFGRTR_EL2
        write_sysreg!("S3_4_C3_C1_5", debug); // HDFGWTR_EL2
        if field(read_sysreg!("id_aa64pfr0_el1"), 44) != 0 {
            write_sysreg!("S3_4_C3_C1_6", 0); // HAFGRTR_EL2
        }
        if fgt >= 2 {
            const ALL_N: u64 = (1 << 25) - 1; // every field of these is of the n kind
            write_sysreg!("S3_4_C3_C1_0", ALL_N); // HDFGRTR2_EL2
            write_sysreg!("S3_4_C3_C1_1", ALL_N); // HDFGWTR2_EL2
            write_sysreg!("S3_4_C3_C1_2", ALL_N); // HFGRTR2_EL2
            write_sysreg!("S3_4_C3_C1_3", ALL_N); // HFGWTR2_EL2
            write_sysreg!("S3_4_C3_C1_7", ALL_N); // HFGITR2_EL2
        }
    }
}

/// Debug, counters, profiling and trace are the host's, but see nothing of EL2.
///
/// # Safety
/// EL1 must not be running.
unsafe fn debug_and_counters() {
    let dfr0 = read_sysreg!("id_aa64dfr0_el1");
    let pmu = match field(dfr0, 8) {
        0xF => 0,
        version => version,
    };
    let mut mdcr = 0;
    if pmu != 0 {
        mdcr |= (read_sysreg!("pmcr_el0") >> 11) & 0x1F; // HPMN := all counters
    }
    if pmu >= 4 {
        mdcr |= 1 << 17; // HPMD: no event counting at EL2
    }
    if pmu >= 6 {
        mdcr |= 1 << 23; // HCCD: no cycle counting at EL2
    }
    if field(dfr0, 32) != 0 {
        mdcr |= 0b11 << 12; // E2PB: the profiling buffer is EL1's
    }
    if field(dfr0, 44) != 0 {
        mdcr |= 0b11 << 24; // E2TB: the trace buffer is EL1's
    }
    // SAFETY: passed on.
    unsafe {
        write_sysreg!("mdcr_el2", mdcr);
        if field(dfr0, 32) != 0 {
            write_sysreg!("S3_4_C9_C9_0", 0); // PMSCR_EL2: EL2 is not profiled
        }
        if field(dfr0, 52) != 0 {
            write_sysreg!("S2_4_C9_C0_0", 0); // BRBCR_EL2: nor are its branches recorded
        }
        if field(dfr0, 40) != 0 {
            write_sysreg!("S3_4_C1_C2_1", 0); // TRFCR_EL2: EL2 is not traced
        }
    }
}
