// SPDX-License-Identifier: GPL-2.0-only
//! Runs a payload's tests and tells how they went, in the form of Rust's test programs.

use super::cpu::{self, CPUS};
use super::{call, console, tree};
use crate::say;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A test: its name, and what it does; it fails by a panic.
pub type Test = (&'static str, fn());

/// Makes a payload's list of tests of modules' names and their functions'.
#[macro_export]
macro_rules! tests {
    ($($module:ident: $($name:ident),*;)*) => {
        /// All tests, in the order in which they run.
        pub const TESTS: &[$crate::rt::harness::Test] =
            &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*),*];
    };
}

/// The device tree's address.
static TREE: AtomicU64 = AtomicU64::new(0);
/// Whether a CPU other than the first has panicked.
static BROKEN: AtomicBool = AtomicBool::new(false);
/// The test that runs, for [`panicked`] and the compiler's sake: `catch` takes a function, no closure.
static CURRENT: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn catch(f: extern "C" fn()) -> u64;
    fn throw() -> !;
}

/// The device tree's address.
pub fn tree_address() -> u64 {
    TREE.load(Ordering::Relaxed)
}

/// Whether a CPU other than the first has panicked.
pub fn is_broken() -> bool {
    BROKEN.load(Ordering::Relaxed)
}

/// From rt/entry.S.
pub extern "C" fn start(tree: u64) -> ! {
    TREE.store(tree, Ordering::Relaxed);
    CPUS[cpu::index()].learn_features();
    if let Some(uart) = tree::console() {
        console::use_uart(uart);
    }
    let tests = crate::tests::TESTS;
    say!("\nrunning {} tests", tests.len());
    let (mut ran, mut failed) = (0, 0);
    let wanted = |name: &str| {
        let mut parts = tree::options().filter_map(|option| option.strip_prefix("only=")).peekable();
        parts.peek().is_none() || parts.any(|part| name.contains(part))
    };
    for (number, (name, _)) in tests.iter().enumerate().filter(|(_, (name, _))| wanted(name)) {
        say!("begin {name}");
        CURRENT.store(number as u64, Ordering::Relaxed);
        // SAFETY: a test that does not come back leaves nothing that later ones rely on, but for machine state, which
        // makes them fail, too.
        let ok = unsafe { catch(run) } == 0;
        ran += 1;
        failed += usize::from(!ok);
        say!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let (passed, others) = (ran - failed, tests.len() - ran);
    say!("\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {others} filtered out");
    console::exit((failed != 0).into())
}

/// How often a test is to do what it does: `short`, or in its long form `long`.
pub fn rounds(short: u64, long: u64) -> u64 {
    if tree::options().any(|option| option == "long") { long } else { short }
}

/// The current test, and what must hold after each.
extern "C" fn run() {
    let (_, test) = crate::tests::TESTS[CURRENT.load(Ordering::Relaxed) as usize];
    test();
    call::still_alive();
    assert!(!is_broken(), "another CPU has failed");
}

/// A test has failed; or the harness itself.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    let me = cpu::this();
    say!("cpu{}: {info}", cpu::index());
    if me.jump[12].load(Ordering::Relaxed) != 0 {
        // SAFETY: in `catch`.
        unsafe { throw() }
    }
    if cpu::index() == 0 {
        console::exit(1);
    }
    BROKEN.store(true, Ordering::Relaxed);
    loop {
        core::hint::spin_loop();
    }
}
