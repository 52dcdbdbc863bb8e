// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod host_calls;
mod log;
mod owners;
mod services;
mod stats;

crate::tests! {
    services:
        version,
        features,
        uid_and_revision,
        smccc_version_and_features,
        upper_half_of_x0_is_ignored,
        sve_hint_is_ignored,
        reserved_bits_are_unknown,
        other_immediates_are_unknown,
        unknown_ids;
    host_calls:
        numbers_that_are_no_host_calls,
        calls_in_range,
        calls_out_of_range,
        the_hosts_counter_stays;
    stats:
        every_counter,
        no_counter,
        machine_in_numbers,
        calls_are_counted,
        refused_calls_are_counted,
        refused_accesses_are_counted;
    owners:
        every_page_has_an_owner,
        a_page_that_changes_hands,
        pages_that_nobody_can_ask_for,
        id_registers_that_are_none;
    log:
        boot_log,
        log_in_pieces,
        log_end,
        refusals_are_logged,
        refusals_are_limited;
}
