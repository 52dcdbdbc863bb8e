// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod hardware;
mod lpis;
mod tables;

crate::tests! {
    tables:
        an_its_of_the_tree_is_checked,
        tables_in_memory_of_others,
        tables_that_are_named_stay_the_hosts,
        lpi_tables_in_memory_of_others,
        accesses_that_are_no_register,
        the_rest_of_the_registers;
    lpis:
        an_lpi_arrives,
        an_lpi_arrives_by_a_message,
        itts_in_memory_of_others,
        what_is_in_use_stays_the_hosts,
        commands_for_virtual_interrupts,
        all_is_free_again;
}
