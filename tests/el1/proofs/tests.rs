// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod runner;
mod switches;

crate::tests! {
    switches:
        registers_survive;
}
