// SPDX-License-Identifier: GPL-2.0-only
//! The list of tests.

mod calls;
mod first;
mod images;
mod life;
mod save;

crate::tests! {
    life:
        vms_come_and_go,
        run_pages_are_in_use,
        all_ids_are_used_and_come_back,
        calls_on_no_vm,
        device_memory;
    images:
        without_a_key_no_signed_image_is_taken,
        an_accepted_image_is_the_vms,
        images_that_are_not_whole,
        pages_that_are_not_the_hosts;
    first:
        a_vm_runs;
    save:
        pages_are_sealed;
    life:
        two_cpus_make_vms,
        nothing_is_left;
}
