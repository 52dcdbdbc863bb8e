// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod fuzz;
mod life;
mod pages;
mod races;
mod ranges;
mod vcpu;
mod victim;

crate::tests! {
    ranges:
        a01_wrapping_sums,
        a02_sizes,
        a03_frames_that_are_no_ram,
        a04_address_bits,
        a32_numbers_of_vms,
        a33_numbers_of_vcpus;
    pages:
        a05_corevisors_frames,
        a06_frames_of_others,
        a07_frames_in_use,
        a08_devices_as_memory,
        a09_registers_that_are_withheld,
        a10_the_same_page_twice,
        a11_half_way,
        a12_blocks_over_pages,
        a14_tables_run_out,
        a15_pages_that_were_the_hosts,
        a16_reclaimed,
        a19_edges_of_memory;
    life:
        a17_lives_leave_nothing,
        a27_an_image_altered_after_it_was_handed_over,
        a29_out_of_order,
        a30_images,
        a37_a_number_that_is_used_again,
        a49_pointers;
    vcpu:
        a21_what_a_vm_shares,
        a27_a_run_page_that_changes_all_the_time,
        a38_from_cpu_to_cpu,
        a40_where_a_vcpu_starts,
        a40_registers_that_are_not_asked_for,
        a42_where_a_vcpu_goes_on,
        a46_accesses_across_pages,
        a48_exits_without_end;
    races:
        a18_pages_that_a_vcpu_still_sees,
        a34_a_vcpu_on_two_cpus,
        a35_destroyed_while_it_is_run,
        a36_run_while_it_is_made;
    fuzz:
        any_call_at_any_time,
        a_vm_that_tries_everything;
}
