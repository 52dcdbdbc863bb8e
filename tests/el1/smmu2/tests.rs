// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests. Each is about one of the machines; on the others there is nothing to see.

mod banks;
mod global;
mod policy;
mod window;

crate::tests! {
    policy:
        what_stats_say,
        vms_that_need_protection;
    global:
        what_boot_has_left,
        identification,
        configuration,
        streams,
        descriptions_of_banks,
        the_rest;
    banks:
        registers_of_a_bank,
        banks_that_are_nobodys,
        the_life_of_a_bank,
        a_vms_bank;
    window:
        accesses_that_are_none_of_a_register,
        another_layout;
}
