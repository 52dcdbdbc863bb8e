// SPDX-License-Identifier: GPL-2.0-only
//! Asks Corevisor for what it has for VMs, and shares a page with the host.

use crate::desk;
use crate::hvc::{self, psci};

const PAGE: usize = 4096;
const INVALID_PARAMETER: i64 = -3;

#[repr(C, align(4096))]
struct Page([u64; PAGE / 8]);

static mut SHARED: Page = Page([0; PAGE / 8]);

/// SMCCC, PSCI, UID, FEATURES, HYP_MEMINFO, TRNG, and a number that is none.
const ASKED: [(u64, u64); 9] = [
    (0x8000_0000, 0),
    (psci::VERSION, 0),
    (psci::FEATURES, psci::CPU_ON_64),
    (psci::FEATURES, 0x8400_00FF),
    (0x8600_FF01, 0),
    (0x8600_0000, 0),
    (0xC600_0002, 0),
    (0x8400_0050, 0),
    (0xC600_0FFF, 0),
];

fn word(place: *mut u64, i: usize) -> u64 {
    // SAFETY: this program's page.
    unsafe { place.add(i).read_volatile() }
}

/// Results 0 to 8: x0 of each call of [`ASKED`]. Argument 0: whether MEM_SHARE is to work. Hook 0 gets the page's address
/// while it is shared, hook 8 after that: the host has answered in the page by then, or could not.
pub fn run() {
    for (i, (id, x1)) in ASKED.into_iter().enumerate() {
        desk::set_result(i, hvc::call(id, &[x1, 0, 0])[0]);
    }
    if desk::argument(0) == 0 {
        return;
    }
    let place = (&raw mut SHARED).cast::<u64>();
    let address = place as u64;
    for i in 0..PAGE / 8 {
        // SAFETY: as above.
        unsafe { place.add(i).write_volatile(address ^ i as u64) };
    }
    for bad in [address + 8, 0x0900_0000, 0x7000_0000_0000] {
        assert_eq!(hvc::share(bad), INVALID_PARAMETER, "{bad:#x}");
    }
    assert_eq!(hvc::unshare(address), INVALID_PARAMETER, "it is not shared");
    assert_eq!(hvc::share(address), 0);
    assert_eq!(hvc::share(address), INVALID_PARAMETER, "it is shared");
    desk::set_hook(0, address);
    assert!((0..PAGE / 8).all(|i| word(place, i) == !(address ^ i as u64)), "the host's answer");
    assert_eq!(hvc::unshare(address), 0);
    desk::set_hook(8, address);
    assert!((0..PAGE / 8).all(|i| word(place, i) == !(address ^ i as u64)), "unchanged");
    assert_eq!(hvc::unshare(address), INVALID_PARAMETER);
}
