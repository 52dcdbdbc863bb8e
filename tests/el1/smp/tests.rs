// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod hammer;
mod power;
mod psci_calls;
mod suspend;

crate::tests! {
    psci_calls:
        four_cpus,
        psci_version_and_features,
        psci_functions_that_do_not_exist,
        cpu_on_needs_a_known_cpu,
        cpu_on_needs_an_entry_of_the_hosts,
        cpu_on_needs_a_cpu_that_is_off,
        affinity_info;
    power:
        every_cpu_comes_up,
        narrow_cpu_on_takes_narrow_arguments,
        off_and_on_again,
        one_winner_of_two,
        on_while_going_off;
    suspend:
        suspend_needs_an_entry_of_the_hosts,
        standby_returns;
    hammer:
        taken_pages_are_gone_for_all,
        splits_under_use;
}
