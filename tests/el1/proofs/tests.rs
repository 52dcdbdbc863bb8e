// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod disclosure;
mod lives;
mod registers;
mod runner;
mod saved;
mod scrub;
mod search;
mod switches;

crate::tests! {
    switches:
        registers_survive,
        streaming_mode;
    lives:
        many_lives_leave_no_trace,
        no_life_ends_while_it_is_lived;
    disclosure:
        exits_show_what_they_must_and_nothing_else,
        a_vm_begins_with_nothing_of_corevisors,
        calls_leave_nothing_of_corevisors;
    saved:
        a_vm_goes_on_after_it_was_saved;
    scrub:
        nothing_is_left_after_destroy,
        secrets_of_granted_pages_are_found,
        nothing_is_left_after_power_off_and_clear;
}
