// SPDX-License-Identifier: GPL-2.0-only
//! All programs. To add one: a file in `programs/` with a `pub fn run()`, and its name in this list.

macro_rules! programs {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// Names, and what the boot vCPU calls.
        pub const PROGRAMS: &[(&str, fn())] = &[$((stringify!($name), $name::run)),*];
    };
}

programs! {
    burglar,
    caller,
    canaries,
    clock,
    compute,
    edges,
    fault,
    journey,
    keeper,
    memory,
    power,
    registers,
    ring,
    rioter,
    secret,
    sharer,
    shelf,
    sleep,
    spin,
    team,
    traps,
    vault,
    watcher,
    witness,
}
