// SPDX-License-Identifier: GPL-2.0-only
//! Random numbers: the CPU's (FEAT_RNG), else the firmware's (Arm True Random Number Generator Firmware Interface,
//! DEN0098).

use super::machine::firmware_call;
use super::sysreg::field;
use crate::read_sysreg;

/// How often a source that has nothing at the moment is asked.
const ATTEMPTS: u32 = 1000;

/// 32 bytes that nobody can guess; `None` if there is no source of them.
pub fn fresh() -> Option<[u8; 32]> {
    let draw: fn() -> Option<u64> = if field(read_sysreg!("id_aa64isar0_el1"), 60) != 0 {
        reseeded
    } else if firmware_has_trng() {
        firmware_word
    } else {
        return None;
    };
    let mut bytes = [0; 32];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = (0..ATTEMPTS).find_map(|_| draw())?.to_le_bytes();
    }
    Some(bytes)
}

/// RNDRRS: a number of a generator that was just reseeded by the true source. Z is set if there is none now.
fn reseeded() -> Option<u64> {
    let (number, failed): (u64, u64);
    // SAFETY: reads a register, which exists (`fresh`), and changes flags.
    unsafe {
        core::arch::asm!("mrs {}, S3_3_C2_C4_1", "cset {}, eq", out(reg) number, out(reg) failed, options(nomem, nostack));
    }
    (failed == 0).then_some(number)
}

/// Whether the firmware serves TRNG_RND64. By DEN0098 it may be asked only where SMCCC is 1.1 or later.
fn firmware_has_trng() -> bool {
    const TRNG_VERSION: u64 = 0x8400_0050;
    const TRNG_FEATURES: u64 = 0x8400_0051;
    let supported = |[x0, ..]: [u64; 4]| x0 as i32 >= 0;
    super::boot::firmware().smccc_1_1
        && supported(firmware_call([TRNG_VERSION, 0, 0, 0]))
        && supported(firmware_call([TRNG_FEATURES, TRNG_RND64, 0, 0]))
}

const TRNG_RND64: u64 = 0xC400_0053;

/// 64 bits of the firmware's, if it has that many now.
fn firmware_word() -> Option<u64> {
    let [status, _, _, low] = firmware_call([TRNG_RND64, 64, 0, 0]);
    (status == 0).then_some(low)
}
