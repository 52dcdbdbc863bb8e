// SPDX-License-Identifier: GPL-2.0-only
//! Takes exceptions and goes on.

use crate::desk;
use crate::exception::{Exception, catch};
use core::arch::asm;

/// One instruction, which is refused.
macro_rules! refused {
    ($($asm:tt)*) => {
        // SAFETY: the exception is caught, and the instruction left out.
        catch(|| unsafe { asm!($($asm)*) }).expect("an exception")
    };
}

/// Results: ESR_EL1 of 0, an undefined instruction; 1, an SVC; 2, a read where stage 1 has nothing; 3, a branch there.
/// Argument 0: an address that the host answers by an exception; result 4 is ESR_EL1, 5 FAR_EL1 of that, 6 whether the
/// register that was to be loaded was kept.
pub fn run() {
    const NOWHERE: u64 = 1 << 45;
    let caught: [Exception; 4] = [
        refused!("udf #7"),
        refused!("svc #5"),
        refused!("ldr {}, [{}]", out(reg) _, in(reg) NOWHERE),
        refused!("blr {}", in(reg) NOWHERE, out("x30") _),
    ];
    for (i, exception) in caught.iter().enumerate() {
        desk::set_result(i, exception.esr);
    }
    let address = desk::argument(0);
    if address != 0 {
        let (mut kept, expected) = (0x5EED_u64, 0x5EED_u64);
        let exception = refused!("ldr {}, [{}]", inout(reg) kept, in(reg) address);
        desk::set_result(4, exception.esr);
        desk::set_result(5, exception.far);
        desk::set_result(6, (kept == expected).into());
    }
}
