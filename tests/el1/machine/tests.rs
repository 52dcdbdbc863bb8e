// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod cpu;
mod pages;
mod registers;

crate::tests! {
    pages:
        words_are_loaded_and_stored,
        one_page_is_cleared,
        uncached_views_agree,
        one_page_is_copied,
        fetched_pages_keep_their_content,
        two_cpus_do_not_meet;
    registers:
        device_registers;
    cpu:
        numbers_differ,
        primitives_that_are_none;
}
