// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod lives;
mod runner;
mod scrub;
mod search;
mod switches;

crate::tests! {
    switches:
        registers_survive;
    lives:
        many_lives_leave_no_trace,
        no_life_ends_while_it_is_lived;
    scrub:
        nothing_is_left_after_destroy,
        secrets_of_granted_pages_are_found,
        nothing_is_left_after_power_off_and_clear;
}
