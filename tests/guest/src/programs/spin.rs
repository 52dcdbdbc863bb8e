// SPDX-License-Identifier: GPL-2.0-only
//! Never ends.

use crate::desk;

/// Argument 0: whether to tell the host by result 0, which grows, how far it is now and then. Else that is 1 all along.
pub fn run() {
    let tells = desk::argument(0) != 0;
    for n in 1.. {
        if tells || n == 1 {
            desk::set_result(0, n);
        }
        for _ in 0..100_000 {
            core::hint::spin_loop();
        }
    }
}
