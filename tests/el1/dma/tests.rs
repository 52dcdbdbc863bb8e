// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod attack;
mod banks;
mod edu;
mod host;
mod pci;
mod streams;
mod stress;
#[path = "../attacks/victim.rs"]
#[allow(dead_code, reason = "part of it is used")]
mod victim;
mod vms;

crate::tests! {
    host:
        between_its_own_pages,
        across_pages,
        a50_what_is_no_memory,
        a50_corevisors_memory,
        a50_every_refusal_is_told;
    vms:
        a50_a_vms_memory,
        a50_a_vm_that_runs,
        a51_a_page_that_has_left_the_host,
        a51_a_page_that_a_vm_got,
        a51_a_block_that_a_vm_got,
        a51_an_image,
        a51_a_dead_vms_memory,
        what_a_vm_shares,
        a_shared_vms_memory;
    streams:
        a50_a_stream_that_is_detached,
        a50_streams_that_are_none;
    banks:
        a54_a_bank_of_the_hosts,
        a_banks_mappings_are_checked,
        a_bank_of_a_vms;
    stress:
        a51_pages_that_go_to_and_fro;
}
