// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod code;
mod own;
mod undefined;

crate::tests! {
    own:
        actlr_reads_as_it_is,
        actlr_ignores_writes,
        id_registers_at_el1,
        id_registers_at_el0,
        registers_that_are_the_hosts,
        floating_point_is_the_hosts;
    undefined:
        implementation_defined_registers,
        implementation_defined_instructions,
        implementation_defined_at_el0,
        registers_of_higher_levels,
        instructions_of_el2,
        every_register_has_an_answer,
        calls_of_el0;
}
