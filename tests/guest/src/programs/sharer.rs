// SPDX-License-Identifier: GPL-2.0-only
//! Shares a page as it may, and all that it may not.

use crate::protocol::{DESK, LARGE_PAGES, SMALL_PAGES};
use crate::{desk, hvc};

const INVALID_PARAMETER: i64 = -3;
/// What the page holds while it is the VM's alone, and shared.
const SECRET: u64 = 0x5EC2_E75E_C2E7_0021;
/// Grants of one page, at most.
const MOST: u64 = 100;

#[repr(C, align(4096))]
struct Page([u64; 512]);

static mut PAGE: Page = Page([0; 512]);

/// Hooks, written with the page's address: 0, it is shared now; 8, it is not. Result 0: answers that were not what they should
/// have been; 1: what the host has left in the page.
pub fn run() {
    let page = (&raw mut PAGE) as u64;
    let word = |n: u64| (page + 8 * n) as *mut u64;
    // SAFETY: a page of this program's own, by raw accesses only.
    unsafe { word(0).write_volatile(SECRET) };
    let mut wrong = 0;
    let mut expect = |answer: i64, wanted: i64| wrong += u64::from(answer != wanted);

    // Not mapped, a device, not aligned, beyond what there is.
    let no_pages = [SMALL_PAGES, LARGE_PAGES, DESK, 0, page + 1, page + 8, page + 0xFFF, 1 << 39, 1 << 48, 1 << 63, !0xFFF, !0];
    for address in no_pages {
        expect(hvc::share(address), INVALID_PARAMETER);
        expect(hvc::unshare(address), INVALID_PARAMETER);
    }
    // Arguments that are reserved.
    for arguments in [[page, 1, 0], [page, 0, 1], [page, u64::MAX, u64::MAX]] {
        expect(hvc::call(0xC600_0003, &arguments)[0] as i64, INVALID_PARAMETER);
    }
    expect(hvc::unshare(page), INVALID_PARAMETER);
    desk::set_hook(8, page);
    for _ in 0..3 {
        expect(hvc::share(page), 0);
        expect(hvc::share(page), INVALID_PARAMETER);
        desk::set_hook(0, page);
        expect(hvc::unshare(page), 0);
        expect(hvc::unshare(page), INVALID_PARAMETER);
        desk::set_hook(8, page);
    }
    // More often than can be counted, by the specification's calls.
    (0..MOST + 5).for_each(|_| hvc::grant(page, 4096));
    desk::set_hook(0, page);
    (1..MOST).for_each(|_| hvc::revoke(page, 4096));
    desk::set_hook(0, page);
    hvc::revoke(page, 4096);
    desk::set_hook(8, page);
    hvc::revoke(page, 4096);
    desk::set_hook(8, page);
    hvc::grant(SMALL_PAGES, 4096);
    hvc::grant(page, u64::MAX);
    hvc::grant(u64::MAX, 4096);
    desk::set_hook(8, page);
    // SAFETY: as above.
    expect(unsafe { word(0).read_volatile() } as i64, SECRET as i64);
    desk::set_result(0, wrong);
    // SAFETY: as above.
    desk::set_result(1, unsafe { word(1).read_volatile() });
}
